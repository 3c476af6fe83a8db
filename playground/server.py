"""The playground's server: Discord's REST and gateway, and the page, on loopback only."""

import asyncio
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from core.errors import ServiceUnavailableError, SettingsError
from core.settings import Settings
from playground.faults import Faults
from playground.gateway import Gateway
from playground.interactions import Interactions
from playground.limits import RateLimiter
from playground.page_api import PageApi
from playground.rest.gate import make_gate
from playground.rest.general import GeneralRoutes, ShardAdvice
from playground.rest.interactions import InteractionRoutes
from playground.rest.messages import MessageRoutes
from playground.rest.replies import RestError, refuse
from playground.world import World

log = structlog.get_logger(__name__)

_HOST = "127.0.0.1"
_PAGE = Path(__file__).parent / "page"
_MAX_BODY_BYTES = 130 * 2**20
_SAVE_SECONDS = 2.0
# How a browser on this machine may name us.
_OWN_NAMES = (_HOST, "localhost")


class PlaygroundServer:
    """A Discord for one bot and a few people, in this process.

    Args:
        settings: the installation's; with a Discord token the playground refuses to be.
        state_file: where channels and messages outlive a restart; None for nowhere.
        rate_limits: whether Discord's limits hold; off only for measuring.

    Raises:
        SettingsError: there is a Discord token, so the real Discord is meant.
    """

    def __init__(
        self, settings: Settings, *, state_file: Path | None = None, rate_limits: bool = True
    ) -> None:
        if settings.discord_token:
            raise SettingsError(
                "There is a DISCORD_TOKEN, so the bot belongs in Discord itself; unset it to use "
                "the playground.",
                key="DISCORD_TOKEN",
            )
        self._wished_port = settings.playground.port
        self._limiter = RateLimiter(is_on=rate_limits)
        self._runner: web.AppRunner | None = None
        self._saving: asyncio.Task[None] | None = None
        self.world = World(state_file)
        self.faults = Faults()
        self.shard_advice = ShardAdvice()
        self.port = 0

    @property
    def base(self) -> str:
        """The page's address, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    @property
    def rest_base(self) -> str:
        """Where REST is."""
        return f"{self.base}/api/v10"

    @property
    def gateway_url(self) -> str:
        """Where the gateway is."""
        return f"ws://{_HOST}:{self.port}/gateway"

    async def start(self) -> int:
        """Listen.

        Returns:
            The port; with port 0 in the settings the system chooses.

        Raises:
            ServiceUnavailableError: the port is taken.
        """
        listener = await self._listen()
        self.port = listener.sockets[0].getsockname()[1]
        self._saving = asyncio.create_task(self._save_now_and_then())
        return self.port

    async def stop(self) -> None:
        """Save, close every connection, stop listening."""
        if self._saving is not None:
            self._saving.cancel()
        self.world.save()
        if self._runner is not None:
            self._listener.close()
            await self.gateway.drop_connections()
            await self._runner.cleanup()

    async def _listen(self) -> asyncio.Server:
        # The application must know its own address before it is made, so the socket comes first.
        loop = asyncio.get_running_loop()
        holder: list[web.Server] = []
        try:
            probe = await loop.create_server(
                lambda: holder[0](), _HOST, self._wished_port, start_serving=False
            )
        except OSError as exc:
            raise ServiceUnavailableError(
                f"The playground cannot listen on port {self._wished_port}: {exc.strerror}.",
                service="playground",
            ) from exc
        self.port = probe.sockets[0].getsockname()[1]
        application = self._make_application()
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - set up above
        holder.append(server)
        await probe.start_serving()
        self._listener = probe
        return probe

    def _make_application(self) -> web.Application:
        interactions = self.interactions = Interactions(self.world)
        self.gateway = Gateway(self.world, self.gateway_url)
        rest = web.Application(
            middlewares=[make_gate(self._limiter, self.faults)], client_max_size=_MAX_BODY_BYTES
        )
        rest.add_routes(GeneralRoutes(self.world, self.gateway_url, self.shard_advice).routes())
        rest.add_routes(MessageRoutes(self.world, self.base).routes())
        rest.add_routes(InteractionRoutes(self.world, interactions, self.base).routes())
        application = web.Application(
            middlewares=[self._only_own_page, _refusals], client_max_size=_MAX_BODY_BYTES
        )
        application.add_subapp("/api/v10", rest)
        page = PageApi(self.world, self.gateway, interactions, self.base)
        application.add_routes(page.routes())
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/gateway", self.gateway.handle),
                web.get("/gateway/", self.gateway.handle),
                web.get("/attachments/{channel}/{id}/{name}", self._attachment),
                web.static("/page", _PAGE),
            ]
        )
        return application

    @web.middleware
    async def _only_own_page(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other sites that are open in the same browser, and names that lead here.

        A browser says in Origin which site asks; a site whose name was made to lead to loopback
        (DNS rebinding) is in Host. The bot sends no Origin.
        """
        own = {f"{name}:{self.port}" for name in _OWN_NAMES}
        origin = request.headers.get("Origin")
        if request.host not in own or (origin and origin.removeprefix("http://") not in own):
            raise web.HTTPForbidden(text="The playground answers only its own page.")
        return await handler(request)

    async def _index(self, _request: web.Request) -> web.StreamResponse:
        return web.FileResponse(_PAGE / "index.html")

    async def _attachment(self, request: web.Request) -> web.StreamResponse:
        kept = self.world.files.get(request.path)
        if kept is None:
            raise web.HTTPNotFound
        content, content_type = kept
        # What somebody uploaded is shown or saved, never run as a page of ours.
        headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=content, content_type=content_type, headers=headers)

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            state = self.world.take_changes()
            if state is None:
                continue
            try:
                await asyncio.to_thread(self.world.write, state)
                self.world.drop_unused_files()
            except OSError as exc:
                log.warning("state_not_saved", error=str(exc))


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RestError as exc:
        return refuse(exc)
