"""Messages, typing, reactions, threads: what the bot does in channels."""

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from playground import cast
from playground.rest.bodies import check_not_empty, keep_files, message_fields, read_body
from playground.rest.replies import (
    INVALID_FORM,
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
    NOT_OWN_MESSAGE,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    answer,
    nothing,
)
from playground.world import Event, Object, World

_MAX_HISTORY = 100


class MessageRoutes:
    """The routes below ``/channels/{channel}``."""

    def __init__(self, world: World, base: str) -> None:
        self._world = world
        self._base = base

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        messages = "/channels/{channel}/messages"
        return [
            web.get("/channels/{channel}", self.get_channel),
            web.get(messages, self.list_messages),
            web.post(messages, self.create),
            web.get(messages + "/{message}", self.get),
            web.patch(messages + "/{message}", self.edit),
            web.delete(messages + "/{message}", self.delete),
            web.post("/channels/{channel}/typing", self.type),
            web.put(messages + "/{message}/reactions/{emoji}/@me", self.react),
            web.delete(messages + "/{message}/reactions/{emoji}/@me", self.unreact),
            web.post("/channels/{channel}/threads", self.open_thread),
            web.post(messages + "/{message}/threads", self.open_thread),
        ]

    async def get_channel(self, request: web.Request) -> web.Response:
        """A channel."""
        return answer(self._channel(request))

    async def list_messages(self, request: web.Request) -> web.Response:
        """History, newest first; ``before``, ``after``, ``limit``."""
        channel = self._channel(request)
        limit = min(int(request.query.get("limit", 50)), _MAX_HISTORY)
        before = int(request.query.get("before", 2**63))
        after = int(request.query.get("after", 0))
        seen = self._world.history(channel["id"], cast.BOT_ID)
        found = [m for m in seen if after < int(m["id"]) < before]
        # With "after" Discord gives the oldest ones past it.
        kept = found[:limit] if "after" in request.query else found[-limit:]
        return answer(kept[::-1])

    async def create(self, request: web.Request) -> web.Response:
        """Post; a nonce seen before gives the first message again."""
        channel = self._writable(request)
        body = await read_body(request)
        fields = message_fields(body.data, keep_files(self._world, self._base, channel["id"], body))
        check_not_empty(fields)
        message = self._world.post(
            channel["id"],
            cast.BOT_ID,
            fields.pop("content", ""),
            nonce=body.data.get("nonce"),
            is_nonce_enforced=body.data.get("enforce_nonce", False),
            **fields,
            **self._reference(channel, body.data.get("message_reference")),
        )
        return answer(message)

    async def get(self, request: web.Request) -> web.Response:
        """One message."""
        return answer(self._message(request))

    async def edit(self, request: web.Request) -> web.Response:
        """Change one of the bot's own messages."""
        message = self._message(request)
        self._writable(request)
        if message["author"]["id"] != cast.BOT_ID:
            raise NOT_OWN_MESSAGE
        body = await read_body(request)
        files = keep_files(self._world, self._base, message["channel_id"], body)
        kept = message["attachments"]
        if "attachments" in body.data:
            wanted = {str(a["id"]) for a in body.data["attachments"]}
            kept = [a for a in kept if a["id"] in wanted]
        changes = {**message_fields(body.data, files, kept), "attachments": [*kept, *files]}
        check_not_empty({**message, **changes})
        return answer(self._world.edit(message, changes))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a message."""
        message = self._message(request)
        self._world.delete(message["channel_id"], message["id"])
        return nothing()

    async def type(self, request: web.Request) -> web.Response:
        """Show the bot as typing."""
        channel = self._writable(request)
        data = {"channel_id": channel["id"], "user_id": cast.BOT_ID, "timestamp": 0}
        self._world.emit(Event("TYPING_START", data, channel.get("guild_id"), channel["id"]))
        return nothing()

    async def react(self, request: web.Request) -> web.Response:
        """Add the bot's reaction."""
        message = self._message(request)
        react(self._world, message, cast.BOT_ID, unquote(request.match_info["emoji"]))
        return nothing()

    async def unreact(self, request: web.Request) -> web.Response:
        """Take the bot's reaction back."""
        message = self._message(request)
        emoji = unquote(request.match_info["emoji"])
        react(self._world, message, cast.BOT_ID, emoji, is_added=False)
        return nothing()

    async def open_thread(self, request: web.Request) -> web.Response:
        """Open a public thread, from a message or by itself."""
        channel = self._writable(request)
        body = await read_body(request)
        from_id = request.match_info.get("message")
        name = str(body.data.get("name", "thread"))
        return answer(self._world.open_thread(channel["id"], cast.BOT_ID, name, from_id), 201)

    def _channel(self, request: web.Request) -> Object:
        channel = self._world.channels.get(request.match_info["channel"])
        if channel is None:
            raise UNKNOWN_CHANNEL
        if not self._world.may_see(cast.BOT_ID, channel):
            raise MISSING_ACCESS
        return channel

    def _writable(self, request: web.Request) -> Object:
        channel = self._channel(request)
        if not self._world.bot_may_write(channel):
            raise MISSING_PERMISSIONS
        return channel

    def _message(self, request: web.Request) -> Object:
        channel = self._channel(request)
        message = self._world.find(channel["id"], request.match_info["message"])
        if message is None:
            raise UNKNOWN_MESSAGE
        return message

    def _reference(self, channel: Object, reference: Object | None) -> dict[str, Any]:
        if not reference:
            return {}
        replied = self._world.find(channel["id"], str(reference["message_id"]))
        if replied is None:
            if reference.get("fail_if_not_exists", True):
                raise INVALID_FORM
            return {}
        return {
            "message_reference": {"message_id": replied["id"], "channel_id": channel["id"]},
            "referenced_message": {**replied, "referenced_message": None},
        }


def react(
    world: World, message: Object, user_id: str, emoji: str, *, is_added: bool = True
) -> None:
    """Add or take back a reaction, and tell everybody."""
    channel = world.channels[message["channel_id"]]
    reactions = {r["emoji"]["name"]: set(r["users"]) for r in message["reactions"]}
    users = reactions.setdefault(emoji, set())
    (users.add if is_added else users.discard)(user_id)
    message["reactions"] = [
        {"emoji": {"id": None, "name": name}, "count": len(who), "users": sorted(who), "me": False}
        for name, who in reactions.items()
        if who
    ]
    data = {
        "user_id": user_id,
        "channel_id": channel["id"],
        "message_id": message["id"],
        "emoji": {"id": None, "name": emoji},
    }
    name = "MESSAGE_REACTION_ADD" if is_added else "MESSAGE_REACTION_REMOVE"
    world.emit(Event(name, data, channel.get("guild_id"), channel["id"]))
