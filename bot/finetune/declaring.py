"""The button that declares the rights to files which were sent without saying so."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from bot.catalogue import Catalogue, LocaleCode
from bot.errors import RoutedView

# Discord lets the question be edited for a quarter of an hour.
_TIMEOUT_SECONDS = 840.0


class DeclareRights(RoutedView):
    """One button, once, for those who may teach.

    Args:
        catalogue: the strings.
        locale: of the asker.
        require: raises for whoever may not; who was asked may have lost the permission meanwhile.
        begin: is given the press, which is not answered yet.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locale: LocaleCode,
        require: Callable[[discord.Interaction], None],
        begin: Callable[[discord.Interaction], Awaitable[None]],
    ) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._require = require
        self._begin = begin
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=catalogue.say(locale, "finetune-form-rights"), style=discord.ButtonStyle.success
        )
        button.callback = self._declare  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Only who still may."""
        self._require(interaction)
        return True

    async def _declare(self, interaction: discord.Interaction) -> None:
        self.stop()
        await self._begin(interaction)
