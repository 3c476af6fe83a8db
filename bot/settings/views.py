"""The button that takes a setting back."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands

from bot.catalogue import Catalogue, LocaleCode
from bot.errors import RoutedView

_TIMEOUT_SECONDS = 600.0


class Undo(RoutedView):
    """One button, for ten minutes and for those who may make the setting.

    Args:
        catalogue: the strings.
        locale: of the button.
        permission: what it takes to press, as discord.py names it.
        undo: takes the setting back and returns what to say then.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locale: LocaleCode,
        permission: str,
        undo: Callable[[], Awaitable[str]],
    ) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._permission = permission
        self._take_back = undo
        button: discord.ui.Button[Any] = discord.ui.Button(label=catalogue.say(locale, "undo"))
        button.callback = self._undo  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Only who may set may take back."""
        if not getattr(interaction.permissions, self._permission):
            raise app_commands.MissingPermissions([self._permission])
        return True

    async def _undo(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        sentence = await self._take_back()
        await interaction.edit_original_response(content=sentence, view=None)
        self.stop()
