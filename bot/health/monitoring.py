"""What the bot process tells an operator's tools."""

import asyncio
import math
import threading
from types import SimpleNamespace

import aiohttp
from discord.ext import commands
from sqlalchemy import Engine

from core.errors import ServiceUnavailableError
from core.monitoring.figures.bot import DISCORD_REQUESTS, GATEWAY_LATENCY
from core.monitoring.server import MonitoringServer, redis_check
from core.settings import Settings
from migrations.runner import require_schema

_LOOP_SECONDS = 5.0


def make_request_trace() -> aiohttp.TraceConfig:
    """Counts every REST request to Discord by method and status."""
    trace = aiohttp.TraceConfig()

    async def ended(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        DISCORD_REQUESTS.labels(params.method, params.response.status).inc()

    async def failed(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        DISCORD_REQUESTS.labels(params.method, 0).inc()

    trace.on_request_end.append(ended)
    trace.on_request_exception.append(failed)
    return trace


class BotMonitoring:
    """The bot's :class:`MonitoringServer`: ready once the gateway, SQL and Redis are there, alive
    while the event loop turns."""

    def __init__(self, settings: Settings, engine: Engine, bot: commands.AutoShardedBot) -> None:
        self._bot = bot
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server = MonitoringServer(
            settings.monitoring,
            ready={
                "discord": self._check_gateway,
                "database": lambda: require_schema(engine),
                "redis": redis_check(settings.redis.url),
            },
            alive={"loop": self._check_loop},
            before=self._renew_figures,
        )

    def start(self) -> None:
        """Listen; call within the running loop.

        Raises:
            SettingsError: the port is taken.
        """
        self._loop = asyncio.get_running_loop()
        self._server.start()

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.to_thread(self._server.close)

    def _check_gateway(self) -> None:
        if self._bot.is_closed() or not self._bot.is_ready():
            raise ServiceUnavailableError("The gateway is not connected.", service="Discord")

    def _check_loop(self) -> None:
        turned = threading.Event()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(turned.set)
        if not turned.wait(_LOOP_SECONDS):
            raise ServiceUnavailableError("The event loop stands still.", service="bot")

    def _renew_figures(self) -> None:
        # Infinite before the first heartbeat was acknowledged.
        latency = self._bot.latency if self._bot.is_ready() else math.nan
        GATEWAY_LATENCY.set(latency)
