"""Composition of everything about fine-tunes in the bot."""

from functools import partial

from discord.ext import commands

from bot.catalogue import Catalogue
from bot.chat.places import Places
from bot.client import PerroquetBot
from bot.finetune.board_keeper import BoardKeeper
from bot.finetune.board_poster import BoardPoster
from bot.finetune.buttons import make_board_button, make_board_view
from bot.finetune.cog import make_finetune_cog
from bot.finetune.downloading import AttachmentDownloader, allowed_origins
from bot.finetune.intake import FinetuneIntake
from bot.finetune.pressing import BoardPresser
from bot.finetune.starting import FinetuneStarter
from bot.models.comparer import Comparer
from bot.models.exporter import Exporter
from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.settings import Settings
from core.sharding import Share
from core.transport.publisher import Publisher

# Discord lets a channel's messages be edited about once a second; a board is content with far less.
_EDIT_INTERVALS = 10


class FinetuneParts:
    """Builds the parts, starts them and ends them."""

    def __init__(
        self,
        settings: Settings,
        bot: PerroquetBot,
        catalogue: Catalogue,
        desk: Desk,
        publisher: Publisher,
        places: Places,
        comparer: Comparer,
        exporter: Exporter,
        share: Share,
    ) -> None:
        self._bot = bot
        self._downloader = AttachmentDownloader(allowed_origins(settings.discord.api_base))
        intake = FinetuneIntake(
            desk,
            publisher,
            Uploads(settings.store_url),
            self._downloader,
            max_bytes=settings.finetuning.corpus_max_bytes,
            default_base=settings.generation.model,
            share=share,
        )
        presser = BoardPresser(desk, publisher, intake, places, comparer, exporter, catalogue)
        self._button = make_board_button(catalogue, places, presser.press)
        self._keeper = BoardKeeper(
            desk,
            BoardPoster(bot),
            partial(make_board_view, self._button),
            catalogue,
            names=share.names,
            poll_seconds=settings.chat.sweep_interval_seconds,
            edit_seconds=settings.chat.edit_interval_seconds * _EDIT_INTERVALS,
        )
        presser.on_change = self._keeper.wake
        starter = FinetuneStarter(catalogue, places, intake, self._keeper)
        self._make_cog = partial(make_finetune_cog, catalogue, desk, places, starter)

    async def start(self) -> None:
        """Register command and buttons, and begin to keep the boards."""
        self._bot.add_dynamic_items(self._button)
        cog: commands.Cog = self._make_cog()
        await self._bot.add_cog(cog)
        self._keeper.start()

    async def close(self) -> None:
        """End what was started."""
        await self._keeper.close()
        await self._downloader.close()
