"""One question before something goes for good; only its asker sees it."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, LocaleCode
from bot.errors import RoutedView
from bot.finetune.failures import say_refusal
from core.errors import PerroquetError

_TIMEOUT_SECONDS = 120.0


class Confirm(RoutedView):
    """Do it, or leave it.

    Args:
        catalogue: the strings.
        locale: of the asker.
        confirm_key: what the button is called that does it.
        require: raises for whoever may not; who was asked may have lost the permission meanwhile.
        do: does it and returns what to say then.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locale: LocaleCode,
        confirm_key: str,
        require: Callable[[discord.Interaction], None],
        do: Callable[[], Awaitable[str]],
    ) -> None:
        super().__init__(catalogue, timeout=_TIMEOUT_SECONDS)
        self._locale = locale
        self._require = require
        self._do = do
        self._add(confirm_key, discord.ButtonStyle.danger, self._confirm)
        self._add("models-keep", discord.ButtonStyle.secondary, self._keep)

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Only who still may."""
        self._require(interaction)
        return True

    def _add(self, key: str, style: discord.ButtonStyle, callback: Any) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=self._catalogue.say(self._locale, key), style=style
        )
        button.callback = callback  # type: ignore[method-assign]  # discord.py's own way
        self.add_item(button)

    async def _confirm(self, interaction: discord.Interaction) -> None:
        self.stop()
        await interaction.response.defer()
        try:
            sentence = await self._do()
        except PerroquetError as exc:
            sentence = say_refusal(self._catalogue, self._locale, exc)
        except SQLAlchemyError:
            sentence = self._catalogue.say(self._locale, "error-service-unavailable")
        await interaction.edit_original_response(content=sentence, view=None)

    async def _keep(self, interaction: discord.Interaction) -> None:
        sentence = self._catalogue.say(self._locale, "models-kept")
        await interaction.response.edit_message(content=sentence, view=None)
        self.stop()
