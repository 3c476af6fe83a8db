"""The button that takes a switch back."""

from typing import Any

import discord

from bot.catalogue import Catalogue, LocaleCode
from bot.chat.places import Places
from bot.errors import RoutedView
from core.conversations.places import Place, set_listening
from core.db.desk import Desk

_TIMEOUT_SECONDS = 600.0


class UndoListening(RoutedView):
    """One button, for those who may manage channels, for ten minutes."""

    def __init__(
        self,
        catalogue: Catalogue,
        desk: Desk,
        places: Places,
        place: Place,
        locale: LocaleCode,
        *,
        was_listening: bool,
    ) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._desk = desk
        self._places = places
        self._place = place
        self._locale = locale
        self._was_listening = was_listening
        button: discord.ui.Button[Any] = discord.ui.Button(label=catalogue.say(locale, "undo"))
        button.callback = self._undo  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Only who may switch may take back."""
        if interaction.permissions.manage_channels:
            return True
        sentence = self._catalogue.say(self._locale, "error-missing-permissions")
        await interaction.response.send_message(sentence, ephemeral=True)
        return False

    async def _undo(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        await self._desk.write(
            lambda session: set_listening(session, self._place, is_listening=self._was_listening)
        )
        self._places.remember_listening(self._place.channel_id, is_listening=self._was_listening)
        state = "on" if self._was_listening else "off"
        await interaction.edit_original_response(
            content=self._catalogue.say(self._locale, f"listening-{state}"), view=None
        )
        self.stop()
