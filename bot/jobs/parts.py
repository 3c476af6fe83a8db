"""Composition of everything about jobs in the bot."""

from collections.abc import Callable
from functools import partial

from discord.ext import commands

from bot.catalogue import Catalogue
from bot.jobs.cog import make_jobs_cog
from bot.jobs.permission import Doorkeeper
from bot.jobs.servers import ServerNames
from bot.jobs.status import make_status_cog
from bot.jobs.steering import JobSteering
from bot.jobs.suggesting import Suggester
from bot.jobs.watches import Watches
from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.settings import Settings
from core.transport.publisher import Publisher

# An edit a second is for words that arrive; a watched job is content with far less.
_EDIT_INTERVALS = 5


class JobsParts:
    """Builds the parts, starts them and ends them."""

    def __init__(
        self,
        settings: Settings,
        bot: commands.AutoShardedBot,
        catalogue: Catalogue,
        desk: Desk,
        publisher: Publisher,
    ) -> None:
        self._bot = bot
        doorkeeper, names = Doorkeeper(bot), ServerNames(bot)
        steering = JobSteering(desk, publisher, Uploads(settings.store_url))
        poll_seconds = settings.chat.edit_interval_seconds * _EDIT_INTERVALS
        self._watches = Watches(catalogue, desk, names, poll_seconds=poll_seconds)
        suggester = Suggester(catalogue, desk, doorkeeper)
        self._make_cogs: tuple[Callable[[], commands.Cog], ...] = (
            partial(
                make_jobs_cog,
                catalogue,
                desk,
                doorkeeper,
                names,
                suggester,
                steering,
                self._watches,
            ),
            partial(make_status_cog, catalogue, desk, doorkeeper, names, settings.generation.model),
        )

    async def start(self) -> None:
        """Register the commands."""
        for make_cog in self._make_cogs:
            await self._bot.add_cog(make_cog())

    async def close(self) -> None:
        """End the watches."""
        await self._watches.close()
