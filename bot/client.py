"""The discord.py client: least intents, no pings, cogs handed in."""

from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord
import structlog
from discord import app_commands
from discord.ext import commands

from bot.catalogue import Catalogue
from bot.errors import RoutedTree

log = structlog.get_logger(__name__)


def least_intents() -> discord.Intents:
    """What the bot needs to hear: guilds, and messages with their content."""
    intents = discord.Intents.none()
    intents.guilds = True
    intents.guild_messages = True
    intents.dm_messages = True
    intents.message_content = True
    return intents


class PerroquetBot(commands.AutoShardedBot):
    """Starts its parts once it is logged in and ends them before it closes."""

    def __init__(
        self,
        catalogue: Catalogue,
        translator: app_commands.Translator,
        http_trace: aiohttp.TraceConfig,
    ) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=least_intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=1000,
            chunk_guilds_at_startup=False,
            tree_cls=RoutedTree,
            http_trace=http_trace,
        )
        self.tree.catalogue = catalogue  # type: ignore[attr-defined]  # of our RoutedTree
        self._translator = translator
        self.starters: Sequence[Callable[[], Awaitable[None]]] = ()
        self.closers: Sequence[Callable[[], Awaitable[None]]] = ()

    async def setup_hook(self) -> None:
        """Runs once, after login and before the gateway connects."""
        await self.tree.set_translator(self._translator)
        for start in self.starters:
            await start()
        await self.tree.sync()

    async def on_message(self, message: discord.Message, /) -> None:
        """Replaces discord.py's own text commands, of which there are none."""

    async def on_ready(self) -> None:
        """Say that the bot is there."""
        log.info("ready", guilds=len(self.guilds), shards=self.shard_count)

    async def close(self) -> None:
        """End the parts, then the connection. Runs at most once."""
        closers, self.closers = self.closers, ()
        try:
            for close in closers:
                await close()
        finally:
            await super().close()
