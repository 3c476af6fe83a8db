"""Interaction callbacks and the webhooks of their follow-ups."""

from aiohttp import web

from playground.interactions import Interactions
from playground.rest.bodies import Body, keep_files, message_fields, read_body
from playground.rest.replies import UNKNOWN_MESSAGE, answer, nothing
from playground.world import Object, World


class InteractionRoutes:
    """The routes that need no bot token, only the interaction's."""

    def __init__(self, world: World, interactions: Interactions, base: str) -> None:
        self._world = world
        self._interactions = interactions
        self._base = base

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        webhook = "/webhooks/{application}/{token}"
        return [
            web.post("/interactions/{interaction}/{token}/callback", self.respond),
            web.post(webhook, self.follow_up),
            web.get(webhook + "/messages/{message}", self.get),
            web.patch(webhook + "/messages/{message}", self.edit),
            web.delete(webhook + "/messages/{message}", self.delete),
        ]

    async def respond(self, request: web.Request) -> web.Response:
        """The first answer."""
        body = await read_body(request)
        token = request.match_info["token"]
        data = body.data.get("data") or {}
        channel_id = self._interactions.pending(token).channel_id
        made = self._fields(channel_id, Body(data, body.files))
        return answer(
            self._interactions.respond(request.match_info["interaction"], token, body.data, made)
        )

    async def follow_up(self, request: web.Request) -> web.Response:
        """A further message."""
        token = request.match_info["token"]
        body = await read_body(request)
        made = self._fields(self._interactions.pending(token).channel_id, body)
        return answer(self._interactions.follow_up(token, made, int(body.data.get("flags", 0))))

    async def get(self, request: web.Request) -> web.Response:
        """A message of the interaction."""
        return answer(self._message(request))

    async def edit(self, request: web.Request) -> web.Response:
        """Change one."""
        message = self._message(request)
        body = await read_body(request)
        return answer(self._interactions.edit(message, self._fields(message["channel_id"], body)))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete one."""
        message = self._message(request)
        self._world.delete(message["channel_id"], message["id"])
        return nothing()

    def _fields(self, channel_id: str, body: Body) -> Object:
        return message_fields(body.data, keep_files(self._world, self._base, channel_id, body))

    def _message(self, request: web.Request) -> Object:
        pending = self._interactions.pending(request.match_info["token"])
        message = self._interactions.message(pending, request.match_info["message"])
        if message is None:
            raise UNKNOWN_MESSAGE
        return message
