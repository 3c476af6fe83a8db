"""One form for everything that teaching needs: files, a name, questions, and the declaration."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord

from bot.catalogue import Catalogue
from bot.errors import RoutedModal
from bot.finetune.wishes import MOST_FILES

NAME_LENGTH = 60
_PROMPTS_LENGTH = 1000
_TIMEOUT_SECONDS = 840.0


class UploadModal(RoutedModal):
    """Asks for what the command was not told.

    Args:
        catalogue: the strings.
        locale: of the asker.
        name: what the command was told of the name.
        prompts: what the command was told of the questions.
        attached: how many files the command was given already.
        submit: is given the filled-in form.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        locale: str,
        name: str,
        prompts: str,
        attached: int,
        submit: Callable[[discord.Interaction, "UploadModal"], Awaitable[None]],
    ) -> None:
        super().__init__(
            catalogue, title=catalogue.say(locale, "finetune-form-title"), timeout=_TIMEOUT_SECONDS
        )
        self._locale = locale
        self._submit = submit
        self._files: discord.ui.FileUpload[Any] = discord.ui.FileUpload(
            required=not attached,
            min_values=0 if attached else 1,
            max_values=max(1, MOST_FILES - attached),
        )
        self._name: discord.ui.TextInput[Any] = discord.ui.TextInput(
            default=name or None, max_length=NAME_LENGTH
        )
        self._prompts: discord.ui.TextInput[Any] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph,
            default=prompts or None,
            required=False,
            max_length=_PROMPTS_LENGTH,
        )
        self._rights: discord.ui.Checkbox[Any] = discord.ui.Checkbox()
        for word, component in (
            ("files", self._files),
            ("name", self._name),
            ("prompts", self._prompts),
            ("rights", self._rights),
        ):
            self._add(word, component)

    @property
    def files(self) -> list[discord.Attachment]:
        """What was uploaded."""
        return list(self._files.values)

    @property
    def name(self) -> str:
        """What the new model is to be called."""
        return self._name.value

    @property
    def prompts(self) -> str:
        """What to ask before and after, one question a line."""
        return self._prompts.value

    @property
    def has_rights(self) -> bool:
        """Whether the rights were declared."""
        return self._rights.value

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """The form came back."""
        await self._submit(interaction, self)

    def _add(self, word: str, component: discord.ui.Item[Any]) -> None:
        self.add_item(
            discord.ui.Label(
                text=self._catalogue.say(self._locale, f"finetune-form-{word}"),
                description=self._catalogue.say(self._locale, f"finetune-form-{word}-hint"),
                component=component,
            )
        )
