"""The discord.py client: least intents, no pings, cogs handed in."""

from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord
import structlog
from discord import app_commands
from discord.ext import commands

from bot.access import invite_url
from bot.catalogue import Catalogue
from bot.errors import RoutedTree
from bot.identifying import IdentifyTurns
from core.sharding import Share

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
        share: Share,
        turns: IdentifyTurns,
    ) -> None:
        # discord.py warns at each start that the packages for voice are missing.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=least_intents(),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=1000,
            chunk_guilds_at_startup=False,
            tree_cls=RoutedTree,
            http_trace=http_trace,
            # None and None: discord.py asks how many there should be, and takes all.
            shard_ids=list(share.shards) or None,  # type: ignore[arg-type]  # its own default
            shard_count=share.count or None,
        )
        self.tree.catalogue = catalogue  # type: ignore[attr-defined]  # of our RoutedTree
        self._translator = translator
        self._share = share
        self._turns = turns
        self._max_concurrency: int | None = None
        self.starters: Sequence[Callable[[], Awaitable[None]]] = ()
        self.closers: Sequence[Callable[[], Awaitable[None]]] = ()

    async def setup_hook(self) -> None:
        """Runs once, after login and before the gateway connects."""
        await self.tree.set_translator(self._translator)
        for start in self.starters:
            await start()
        if self._share.leads:
            # Commands are registered for all servers at once.
            await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, /, *, initial: bool = False) -> None:
        """Wait until Discord takes this shard; one that is alone need not."""
        if self.shard_count == 1 or shard_id is None:
            await super().before_identify_hook(shard_id, initial=initial)
            return
        if self._max_concurrency is None:
            self._max_concurrency = (await self.fetch_session_start_limits()).max_concurrency
        await self._turns.take(shard_id, self._max_concurrency)

    async def on_message(self, message: discord.Message, /) -> None:
        """Replaces discord.py's own text commands, of which there are none."""

    async def on_ready(self) -> None:
        """Say that the bot is there."""
        log.info(
            "ready",
            guilds=len(self.guilds),
            shards=sorted(self.shards),
            shard_count=self.shard_count,
            invite=None if self.application_id is None else invite_url(self.application_id),
        )

    async def close(self) -> None:
        """End the parts, then the connection. Runs at most once."""
        closers, self.closers = self.closers, ()
        try:
            for close in closers:
                await close()
        finally:
            await super().close()
