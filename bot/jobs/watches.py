"""Messages that show a job as it is now, for as long as their asker looks."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import discord
import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue
from bot.jobs.drawing import draw_detail
from bot.jobs.servers import ServerNames
from core.db.desk import Desk
from core.errors import InvalidInputError, NotFoundError, ServiceUnavailableError
from core.jobs.finding import ALL_GUILDS, Scope
from core.jobs.queries import JobDetail, show_job

log = structlog.get_logger(__name__)

_MOST_WATCHES = 100


class TooManyWatchesError(InvalidInputError):
    """So many messages are kept current already that one more must wait."""

    code = "too-many-watches"


class Screen(Protocol):
    """Where a watch is shown."""

    async def __call__(self, *, embed: discord.Embed) -> Any:
        """Replace what is shown."""
        ...


@dataclass(frozen=True)
class Watched:
    """A job, for whom it is read, and in which language it is shown."""

    scope: Scope
    job_id: str
    locale: str


class Watches:
    """One task for each watched message: reads, draws, and edits where something changed.

    A watch ends with its job, with the time in which Discord lets the message be edited, or with
    the process; the message then says that it is current no more.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        desk: Desk,
        names: ServerNames,
        *,
        poll_seconds: float,
        last_seconds: float = 840.0,
    ) -> None:
        self._catalogue = catalogue
        self._desk = desk
        self._names = names
        self._poll_seconds = poll_seconds
        self._last_seconds = last_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def check_room(self) -> None:
        """Refuse a watch before anything is shown.

        Raises:
            TooManyWatchesError: there are as many as one process keeps.
        """
        if len(self._tasks) >= _MOST_WATCHES:
            raise TooManyWatchesError("Too many jobs are watched at the moment.")

    async def read(self, watched: Watched) -> JobDetail:
        """The job now.

        Raises:
            NotFoundError: there is no such job in this scope.
            SQLAlchemyError: the database cannot be reached.
        """
        return await self._desk.read(
            lambda session: show_job(session, watched.scope, watched.job_id)
        )

    def draw(self, watched: Watched, detail: JobDetail, *, is_over: bool = False) -> discord.Embed:
        """The job as the message shows it."""
        servers = self._names.of(watched.scope, [detail.summary])
        embed = draw_detail(
            self._catalogue,
            watched.locale,
            detail,
            servers,
            with_host=watched.scope is ALL_GUILDS,
        )
        is_over = is_over or detail.summary.state.is_final
        key = "job-watch-over" if is_over else "job-watch-on"
        embed.set_footer(text=self._catalogue.say(watched.locale, key))
        return embed

    def begin(self, watched: Watched, shown: discord.Embed, screen: Screen) -> None:
        """Keep a message current that shows ``shown``."""
        task = asyncio.create_task(self._keep(watched, shown, screen))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every watch. The messages stay as they are."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, watched: Watched, shown: discord.Embed, screen: Screen) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._last_seconds
        is_over = False
        while not is_over:
            await asyncio.sleep(self._poll_seconds)
            is_late = loop.time() >= ends_at
            try:
                detail = await self.read(watched)
                embed = self.draw(watched, detail, is_over=is_late)
                if embed != shown:
                    await screen(embed=embed)
                    shown = embed
                is_over = is_late or detail.summary.state.is_final
            except (SQLAlchemyError, ServiceUnavailableError, aiohttp.ClientError, OSError) as exc:
                log.warning("watch_postponed", job_id=watched.job_id, error=type(exc).__name__)
                is_over = is_late
            except (NotFoundError, discord.HTTPException) as exc:
                # The job was forgotten, or its watcher closed the message.
                log.info("watch_ended", job_id=watched.job_id, error=type(exc).__name__)
                return
