"""What the page asks of the playground: events over a WebSocket, deeds over POST."""

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

from playground import cast
from playground.gateway import Gateway
from playground.interactions import AUTOCOMPLETE, COMPONENT, MODAL, Interactions
from playground.rest.bodies import Body, keep_files, read_body
from playground.rest.messages import react
from playground.rest.replies import (
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    answer,
    nothing,
    refuse,
)
from playground.rest.replies import RestError as _RestError
from playground.world import DIRECT, EPHEMERAL, Event, Object, World

_HISTORY = 50
# The people here have what Discord calls Nitro; the bot has not.
_MAX_CONTENT = 4000
_ANSWER_SECONDS = 3.0
_SHOWN = {
    "MESSAGE_CREATE",
    "MESSAGE_UPDATE",
    "MESSAGE_DELETE",
    "TYPING_START",
    "CHANNEL_CREATE",
    "THREAD_CREATE",
    "MESSAGE_REACTION_ADD",
    "MESSAGE_REACTION_REMOVE",
}


class PageApi:
    """The page's side of the playground. Whoever opens the page may speak as anybody in it."""

    def __init__(
        self, world: World, gateway: Gateway, interactions: Interactions, base: str
    ) -> None:
        self._world = world
        self._gateway = gateway
        self._interactions = interactions
        self._base = base
        self._pages: set[tuple[str, asyncio.Queue[str]]] = set()
        world.listen(self._on_event)

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        channel = "/page-api/channels/{channel}"
        return [
            web.get("/page-api/ws", self.connect),
            web.post(channel + "/messages", self.say),
            web.delete(channel + "/messages/{message}", self.delete),
            web.put(channel + "/messages/{message}/reactions/{emoji}", self.react),
            web.delete(channel + "/messages/{message}/reactions/{emoji}", self.unreact),
            web.post(channel + "/threads", self.open_thread),
            web.post("/page-api/dms", self.open_direct),
            web.post("/page-api/interactions", self.interact),
            web.post("/page-api/guilds/{guild}/bot", self.set_bot),
        ]

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """A page: all it may see, then every event it may see."""
        user_id = request.query.get("user", cast.ALICE)
        if user_id not in self._world.users:
            raise web.HTTPNotFound
        socket = web.WebSocketResponse(heartbeat=20)
        await socket.prepare(request)
        outbox: asyncio.Queue[str] = asyncio.Queue()
        page = (user_id, outbox)
        self._pages.add(page)
        outbox.put_nowait(json.dumps({"t": "HELLO", "d": self._hello(user_id)}))
        pump = asyncio.create_task(_pump(socket, outbox))
        try:
            async for frame in socket:
                if frame.type is WSMsgType.ERROR:
                    break
        finally:
            self._pages.discard(page)
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return socket

    async def say(self, request: web.Request) -> web.Response:
        """Say something as somebody."""
        body = await read_body(request)
        user_id, channel = self._person_in(request, body)
        content = str(body.data.get("content", ""))
        if len(content) > _MAX_CONTENT:
            return refuse(_RestError(400, 50035, f"At most {_MAX_CONTENT} characters."))
        attachments = keep_files(self._world, self._base, channel["id"], body)
        if not content.strip() and not attachments:
            return refuse(_RestError(400, 50006, "Cannot send an empty message"))
        more: Object = {"attachments": attachments}
        replied = self._world.find(channel["id"], str(body.data.get("reply_to", "")))
        if replied is not None:
            more["message_reference"] = {"message_id": replied["id"], "channel_id": channel["id"]}
            more["referenced_message"] = {**replied, "referenced_message": None}
        return answer(self._world.say(user_id, channel["id"], content, **more))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete one's own message, or put an ephemeral one away."""
        channel_id, message_id = request.match_info["channel"], request.match_info["message"]
        message = self._world.find(channel_id, message_id)
        user_id = request.query.get("user_id", "")
        if message is None:
            return refuse(UNKNOWN_MESSAGE)
        if user_id not in (message["author"]["id"], message.get("only_user_id")):
            return refuse(MISSING_ACCESS)
        self._world.delete(channel_id, message_id)
        return nothing()

    async def react(self, request: web.Request) -> web.Response:
        """React as somebody."""
        return self._react(request, is_added=True)

    async def unreact(self, request: web.Request) -> web.Response:
        """Take a reaction back."""
        return self._react(request, is_added=False)

    async def open_thread(self, request: web.Request) -> web.Response:
        """Open a thread as somebody."""
        body = await read_body(request)
        user_id, channel = self._person_in(request, body)
        name = str(body.data.get("name") or "thread")
        return answer(
            self._world.open_thread(channel["id"], user_id, name, body.data.get("message_id"))
        )

    async def open_direct(self, request: web.Request) -> web.Response:
        """Open one's direct channel with the bot."""
        body = await read_body(request)
        return answer(self._world.open_direct(str(body.data["user_id"])))

    async def set_bot(self, request: web.Request) -> web.Response:
        """Invite the bot into a guild, or remove it: what who manages the guild may do."""
        body = await read_body(request)
        guild_id, user_id = request.match_info["guild"], str(body.data.get("user_id", ""))
        if guild_id not in self._world.guilds or not self._world.is_member(guild_id, user_id):
            raise MISSING_ACCESS
        if not self._world.permissions(guild_id, user_id) & cast.MANAGE_GUILD:
            raise MISSING_PERMISSIONS
        if body.data.get("is_there"):
            self._world.invite_bot(guild_id)
        else:
            self._world.remove_bot(guild_id)
        return nothing()

    async def interact(self, request: web.Request) -> web.Response:
        """Use a command, a button, a field with suggestions, a modal."""
        body = await read_body(request)
        user_id, channel = self._person_in(request, body)
        if not self._world.may_see(cast.BOT_ID, channel):
            raise MISSING_ACCESS
        data = body.data["data"]
        if body.files:
            attachments = keep_files(self._world, self._base, channel["id"], body)
            data["resolved"] = {"attachments": {a["id"]: a for a in attachments}}
            _point_to(data, [a["id"] for a in attachments])
        source = self._world.find(channel["id"], str(body.data.get("message_id", "")))
        kind = int(body.data["type"])
        pending = self._interactions.begin(
            kind,
            user_id,
            channel["id"],
            data,
            locale=str(body.data.get("locale", "en-US")),
            nonce=str(body.data.get("nonce", "")),
            source=source if kind in (COMPONENT, MODAL) else None,
        )
        if kind != AUTOCOMPLETE:
            asyncio.get_running_loop().call_later(
                _ANSWER_SECONDS, self._expect_answer, pending.token
            )
        return nothing()

    def _expect_answer(self, token: str) -> None:
        pending = self._interactions.pending(token)
        if not pending.is_acknowledged:
            data = {"nonce": pending.nonce, "reason": "timeout"}
            event = Event(
                "PAGE_INTERACTION_FAILED",
                data,
                channel_id=pending.channel_id,
                only_user_id=pending.user_id,
            )
            self._world.emit(event)

    def _react(self, request: web.Request, *, is_added: bool) -> web.Response:
        message = self._world.find(request.match_info["channel"], request.match_info["message"])
        if message is None:
            return refuse(UNKNOWN_MESSAGE)
        user_id = request.query.get("user_id", "")
        react(self._world, message, user_id, request.match_info["emoji"], is_added=is_added)
        return nothing()

    def _person_in(self, request: web.Request, body: Body) -> tuple[str, Object]:
        channel_id = request.match_info.get("channel") or str(body.data.get("channel_id", ""))
        channel = self._world.channels.get(channel_id)
        user_id = str(body.data.get("user_id", ""))
        if channel is None:
            raise UNKNOWN_CHANNEL
        if user_id not in self._world.users or not self._world.may_see(user_id, channel):
            raise MISSING_ACCESS
        return user_id, channel

    def _hello(self, user_id: str) -> Object:
        world = self._world
        channels = world.visible_channels(user_id)
        guilds = [
            {
                "id": guild["id"],
                "name": guild["name"],
                "permissions": str(world.permissions(guild["id"], user_id)),
                "has_bot": world.is_member(guild["id"], cast.BOT_ID),
                "channels": [c for c in channels if c.get("guild_id") == guild["id"]],
            }
            for guild in world.guilds.values()
            if world.is_member(guild["id"], user_id)
        ]
        return {
            "me": world.users[user_id],
            "users": [{**u, "is_admin": cast.is_admin(u["id"])} for u in world.users.values()],
            "guilds": guilds,
            "dms": [c for c in channels if c["type"] == DIRECT],
            "commands": world.commands,
            "bot_online": self._gateway.is_bot_online,
            "history": {c["id"]: self._history(c["id"], user_id) for c in channels},
        }

    def _history(self, channel_id: str, user_id: str) -> list[Object]:
        """What a client shows that starts now: it knows no ephemeral message any more."""
        seen = self._world.history(channel_id, user_id)
        return [m for m in seen if not m["flags"] & EPHEMERAL][-_HISTORY:]

    def _on_event(self, event: Event) -> None:
        if event.name not in _SHOWN and not event.name.startswith("PAGE_"):
            return
        frame = json.dumps({"t": event.name.removeprefix("PAGE_"), "d": event.data})
        for user_id, outbox in self._pages:
            if self._may_know(user_id, event):
                outbox.put_nowait(frame)

    def _may_know(self, user_id: str, event: Event) -> bool:
        if event.only_user_id is not None:
            return event.only_user_id == user_id
        if event.channel_id is None and event.guild_id is not None:
            return self._world.is_member(event.guild_id, user_id)
        channel = self._world.channels.get(event.channel_id or "")
        return channel is None or self._world.may_see(user_id, channel)


async def _pump(socket: web.WebSocketResponse, outbox: asyncio.Queue[str]) -> None:
    while True:
        await socket.send_str(await outbox.get())


def _point_to(data: Any, attachment_ids: list[str]) -> None:
    """Put the ids of the uploaded files where the page wrote ``file:<number>``."""
    if isinstance(data, list):
        for item in data:
            _point_to(item, attachment_ids)
    elif isinstance(data, dict):
        for key, value in data.items():
            if isinstance(value, str) and value.startswith("file:"):
                data[key] = attachment_ids[int(value[5:])]
            elif key == "values" and isinstance(value, list):
                data[key] = [
                    attachment_ids[int(v[5:])] if str(v).startswith("file:") else v for v in value
                ]
            else:
                _point_to(value, attachment_ids)
