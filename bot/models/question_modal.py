"""One question, asked in a form."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from bot.catalogue import Catalogue
from bot.errors import RoutedModal

_QUESTION_LENGTH = 500
_TIMEOUT_SECONDS = 840.0


class QuestionModal(RoutedModal):
    """Asks what two versions shall be asked.

    Args:
        catalogue: the strings.
        locale: of the asker.
        submit: is given the question.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locale: str,
        submit: Callable[[discord.Interaction, str], Awaitable[None]],
    ) -> None:
        super().__init__(
            catalogue, title=catalogue.say(locale, "compare-form-title"), timeout=_TIMEOUT_SECONDS
        )
        self._submit = submit
        self._question: discord.ui.TextInput[Any] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph, max_length=_QUESTION_LENGTH
        )
        self.add_item(
            discord.ui.Label(
                text=catalogue.say(locale, "compare-form-question"), component=self._question
            )
        )

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """The form came back."""
        await self._submit(interaction, self._question.value)
