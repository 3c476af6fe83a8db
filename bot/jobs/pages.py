"""A list of jobs that is leafed through with buttons."""

from dataclasses import replace
from typing import Any

import discord

from bot.catalogue import Catalogue, LocaleCode
from bot.errors import RoutedView
from bot.jobs.drawing import draw_page
from bot.jobs.permission import Doorkeeper
from bot.jobs.servers import ServerNames
from core.db.desk import Desk
from core.jobs.finding import Filters, Scope
from core.jobs.queries import Page, list_jobs

PAGE_LENGTH = 10
# Discord forgets how to edit a message that only one person sees after fifteen minutes.
_TIMEOUT_SECONDS = 840.0


class JobPages(RoutedView):
    """Newer and older pages. Each press asks anew whether its presser may look.

    ``_starts`` holds where each page begins that was leafed through, so that the way back shows
    what was shown before; a job that comes in meanwhile is on the first page.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        desk: Desk,
        doorkeeper: Doorkeeper,
        names: ServerNames,
        locale: LocaleCode,
        filters: Filters,
        *,
        wants_all: bool,
    ) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._desk = desk
        self._doorkeeper = doorkeeper
        self._names = names
        self._locale = locale
        self._filters = replace(filters)
        self._wants_all = wants_all
        self._starts: list[str | None] = [None]
        self._next: str | None = None
        self._newer = self._button("jobs-newer", self._show_newer)
        self._older = self._button("jobs-older", self._show_older)

    @property
    def are_several(self) -> bool:
        """Whether what was drawn is not all there is, so that there is something to leaf to."""
        return self._next is not None or len(self._starts) > 1

    async def draw(self, interaction: discord.Interaction) -> discord.Embed:
        """Read the page that is open now, and set the buttons to what it allows.

        Raises:
            MissingPermissions, NoPrivateMessage, NotOwnerError: the asker may not look (any more).
            SQLAlchemyError: the database cannot be reached.
        """
        scope = await self._doorkeeper.scope_of(interaction, wants_all=self._wants_all)
        page = await self._read(scope)
        self._next = page.next_before
        self._newer.disabled = len(self._starts) == 1
        self._older.disabled = self._next is None
        servers = self._names.of(scope, page.jobs)
        return draw_page(self._catalogue, self._locale, page, len(self._starts), servers)

    async def _read(self, scope: Scope) -> Page:
        before = self._starts[-1]
        return await self._desk.read(
            lambda session: list_jobs(
                session, scope, self._filters, limit=PAGE_LENGTH, before=before
            )
        )

    async def _show_older(self, interaction: discord.Interaction) -> None:
        self._starts.append(self._next)
        await self._turn(interaction, taken_back=self._starts[:-1])

    async def _show_newer(self, interaction: discord.Interaction) -> None:
        before = list(self._starts)
        if len(self._starts) > 1:
            self._starts.pop()
        await self._turn(interaction, taken_back=before)

    async def _turn(self, interaction: discord.Interaction, taken_back: list[str | None]) -> None:
        await interaction.response.defer()
        try:
            embed = await self.draw(interaction)
        except Exception:
            self._starts = taken_back
            raise
        await interaction.edit_original_response(embed=embed, view=self)

    def _button(self, key: str, press: Any) -> discord.ui.Button[Any]:
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=self._catalogue.say(self._locale, key), style=discord.ButtonStyle.secondary
        )
        button.callback = press  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)
        return button
