"""Log-in, the application and its commands, guilds, users, direct channels."""

from dataclasses import dataclass

from aiohttp import web

from playground import cast
from playground.rest.bodies import read_body
from playground.rest.replies import UNKNOWN_GUILD, UNKNOWN_USER, answer
from playground.world import Event, Object, World


@dataclass
class ShardAdvice:
    """How many shards the gateway recommends, and how many may identify in five seconds."""

    shards: int = 1
    max_concurrency: int = 1


class GeneralRoutes:
    """Everything outside channels and interactions."""

    def __init__(self, world: World, gateway_url: str, advice: ShardAdvice) -> None:
        self._world = world
        self._gateway_url = gateway_url
        self._advice = advice

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        commands = "/applications/{application}/commands"
        return [
            web.get("/gateway", self.gateway),
            web.get("/gateway/bot", self.gateway_for_bots),
            web.get("/users/@me", self.me),
            web.get("/users/{user}", self.user),
            web.get("/applications/@me", self.application),
            web.get("/oauth2/applications/@me", self.application),
            web.post("/users/@me/channels", self.open_direct),
            web.get("/users/@me/guilds", self.own_guilds),
            web.get("/guilds/{guild}", self.guild),
            web.get("/guilds/{guild}/channels", self.guild_channels),
            web.get("/guilds/{guild}/members/{user}", self.member),
            web.get(commands, self.list_commands),
            web.put(commands, self.replace_commands),
        ]

    async def gateway(self, _request: web.Request) -> web.Response:
        """Where the gateway is."""
        return answer({"url": self._gateway_url})

    async def gateway_for_bots(self, _request: web.Request) -> web.Response:
        """The same, with how many shards to make of it."""
        limit = {
            "total": 1000,
            "remaining": 999,
            "reset_after": 0,
            "max_concurrency": self._advice.max_concurrency,
        }
        return answer(
            {
                "url": self._gateway_url,
                "shards": self._advice.shards,
                "session_start_limit": limit,
            }
        )

    async def me(self, _request: web.Request) -> web.Response:
        """The bot itself."""
        return answer(self._world.bot)

    async def user(self, request: web.Request) -> web.Response:
        """Somebody."""
        user = self._world.users.get(request.match_info["user"])
        if user is None:
            raise UNKNOWN_USER
        return answer(user)

    async def application(self, _request: web.Request) -> web.Response:
        """The bot's application; Camille owns it."""
        return answer(
            {
                "id": cast.BOT_ID,
                "name": "Perroquet",
                "icon": None,
                "description": "",
                "bot_public": True,
                "bot_require_code_grant": False,
                "verify_key": "",
                "owner": self._world.users[cast.CAMILLE],
                "team": None,
                "flags": 1 << 19,
                "hook": True,
                "bot": self._world.bot,
            }
        )

    async def open_direct(self, request: web.Request) -> web.Response:
        """The bot opens a direct channel."""
        body = await read_body(request)
        user_id = str(body.data["recipient_id"])
        if user_id not in self._world.users:
            raise UNKNOWN_USER
        return answer(self._world.open_direct(user_id))

    async def own_guilds(self, _request: web.Request) -> web.Response:
        """The guilds the bot is in."""
        return answer(
            [
                {
                    "id": guild["id"],
                    "name": guild["name"],
                    "permissions": str(self._world.permissions(guild["id"], cast.BOT_ID)),
                }
                for guild in self._world.bot_guilds()
            ]
        )

    async def guild(self, request: web.Request) -> web.Response:
        """A guild."""
        return answer(self._guild(request))

    async def guild_channels(self, request: web.Request) -> web.Response:
        """Its channels."""
        guild = self._guild(request)
        return answer(
            [c for c in self._world.channels.values() if c.get("guild_id") == guild["id"]]
        )

    async def member(self, request: web.Request) -> web.Response:
        """A member."""
        guild = self._guild(request)
        user_id = request.match_info["user"]
        if not self._world.is_member(guild["id"], user_id):
            raise UNKNOWN_USER
        return answer(self._world.member(guild["id"], user_id))

    async def list_commands(self, _request: web.Request) -> web.Response:
        """The commands as registered."""
        return answer(self._world.commands)

    async def replace_commands(self, request: web.Request) -> web.Response:
        """Register all commands anew; names keep their ids."""
        body = await read_body(request)
        known = {c["name"]: c["id"] for c in self._world.commands}
        registered: list[Object] = list(body.data)  # type: ignore[arg-type]  # a bulk body is a list
        self._world.commands = [
            {
                "type": 1,
                "default_member_permissions": None,
                "nsfw": False,
                **command,
                "id": known.get(command["name"]) or self._world.new_id(),
                "application_id": cast.BOT_ID,
                "version": self._world.new_id(),
            }
            for command in registered
        ]
        self._world.emit(Event("PAGE_COMMANDS", {"commands": self._world.commands}))
        return answer(self._world.commands)

    def _guild(self, request: web.Request) -> Object:
        """One of the bot's own; of others Discord says no more than of none."""
        guild_id = request.match_info["guild"]
        guild = self._world.guilds.get(guild_id)
        if guild is None or not self._world.is_member(guild_id, cast.BOT_ID):
            raise UNKNOWN_GUILD
        return guild
