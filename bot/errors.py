"""The one place where errors of commands become what a person reads."""

import secrets

import discord
import structlog
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import Catalogue, locale_code
from core.errors import PerroquetError

log = structlog.get_logger(__name__)


class RoutedTree(app_commands.CommandTree[discord.Client]):
    """A command tree that tells errors politely, to the one who met them only."""

    catalogue: Catalogue

    async def on_error(
        self, interaction: discord.Interaction, error: app_commands.AppCommandError, /
    ) -> None:
        """Say what went wrong and what to do next."""
        locale = locale_code(str(interaction.locale))
        sentence = self._sentence(locale, error)
        try:
            if interaction.response.is_done():
                await interaction.followup.send(sentence, ephemeral=True)
            else:
                await interaction.response.send_message(sentence, ephemeral=True)
        except discord.HTTPException as exc:
            log.warning("error_not_told", code=exc.code)

    def _sentence(self, locale: str, error: app_commands.AppCommandError) -> str:
        cause = getattr(error, "original", error)
        if isinstance(error, app_commands.MissingPermissions):
            return self.catalogue.say(locale, "error-missing-permissions")
        if isinstance(error, app_commands.NoPrivateMessage):
            return self.catalogue.say(locale, "error-guild-only")
        if isinstance(cause, PerroquetError):
            return self.catalogue.say_exception(locale, cause)
        if isinstance(cause, SQLAlchemyError):
            return self.catalogue.say(locale, "error-service-unavailable")
        reference = secrets.token_hex(3)
        log.error("command_failed", reference=reference, exc_info=cause)
        return self.catalogue.say(locale, "error-unforeseen", reference=reference)
