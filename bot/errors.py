"""The one place where errors of commands and buttons become what a person reads."""

import secrets
from typing import Any

import discord
import structlog
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, locale_code
from core.errors import PerroquetError

log = structlog.get_logger(__name__)


async def tell_error(
    catalogue: Catalogue, interaction: discord.Interaction, error: Exception
) -> None:
    """Say what went wrong and what to do next, to the one who met it only."""
    locale = locale_code(str(interaction.locale))
    if isinstance(error, app_commands.MissingPermissions) and interaction.guild_id is None:
        # A command for servers that was used in direct messages, where nobody manages anything.
        error = app_commands.NoPrivateMessage()
    sentence = _sentence(catalogue, locale, error)
    try:
        if interaction.response.type is discord.InteractionResponseType.deferred_channel_message:
            # What is sent first takes the place of "is thinking", and would be seen by all.
            await interaction.delete_original_response()
        if interaction.response.is_done():
            await interaction.followup.send(sentence, ephemeral=True)
        else:
            await interaction.response.send_message(sentence, ephemeral=True)
    except discord.HTTPException as exc:
        log.warning("error_not_told", code=exc.code)


class RoutedTree(app_commands.CommandTree[discord.Client]):
    """A command tree that tells errors politely."""

    catalogue: Catalogue

    async def on_error(
        self, interaction: discord.Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        """Tell who used the command."""
        await tell_error(self.catalogue, interaction, error)


class RoutedView(discord.ui.View):
    """A view that tells errors politely."""

    def __init__(self, catalogue: Catalogue, *, timeout: float | None) -> None:
        super().__init__(timeout=timeout)
        self._catalogue = catalogue

    async def on_error(
        self,
        interaction: discord.Interaction,
        error: Exception,
        item: discord.ui.Item[Any],  # noqa: ARG002 - discord.py's signature
        /,
    ) -> None:
        """Tell who pressed."""
        await tell_error(self._catalogue, interaction, error)


class RoutedModal(discord.ui.Modal):
    """A form that tells errors politely."""

    def __init__(self, catalogue: Catalogue, *, title: str, timeout: float | None) -> None:
        super().__init__(title=title, timeout=timeout)
        self._catalogue = catalogue

    async def on_error(  # type: ignore[override]  # a modal's has no item, as discord.py calls it
        self, interaction: discord.Interaction, error: Exception, /
    ) -> None:
        """Tell who filled it in."""
        await tell_error(self._catalogue, interaction, error)


def _sentence(catalogue: Catalogue, locale: str, error: Exception) -> str:
    cause = getattr(error, "original", error)
    if isinstance(error, app_commands.MissingPermissions):
        key = f"permission-{error.missing_permissions[0]}"
        if not catalogue.has(key):
            return catalogue.say(locale, "error-missing-permissions")
        permission = catalogue.say(locale, key)
        return catalogue.say(locale, "error-missing-permission", permission=permission)
    if isinstance(error, app_commands.NoPrivateMessage):
        return catalogue.say(locale, "error-guild-only")
    if isinstance(cause, PerroquetError):
        return catalogue.say_exception(locale, cause)
    if isinstance(cause, SQLAlchemyError):
        return catalogue.say(locale, "error-service-unavailable")
    reference = secrets.token_hex(3)
    log.error("command_failed", reference=reference, exc_info=cause)
    return catalogue.say(locale, "error-unforeseen", reference=reference)
