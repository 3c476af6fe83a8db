"""Whose jobs somebody may see and change: asked of the server at every command and every press."""

from typing import Protocol

import discord
from discord import app_commands

from core.errors import PerroquetError
from core.jobs.finding import ALL_GUILDS, Scope


class NotOwnerError(PerroquetError):
    """All servers are the application's owner's to look at."""

    code = "owner-only"


class OwnerCheck(Protocol):
    """A client that knows who owns its application."""

    async def is_owner(self, user: discord.abc.User, /) -> bool:
        """Whether somebody owns the application, or belongs to the team that does."""
        ...


class Doorkeeper:
    """Opens a guild to those who manage it, and every guild to the owner of the application.

    Discord hides the commands from others, but what it hides can still be sent.
    """

    def __init__(self, client: OwnerCheck) -> None:
        self._client = client

    async def scope_of(self, interaction: discord.Interaction, *, wants_all: bool) -> Scope:
        """What the asker may see.

        Raises:
            NoPrivateMessage: it was asked outside a guild.
            MissingPermissions: the asker does not manage the guild.
            NotOwnerError: the asker wants all guilds and does not own the application.
        """
        if interaction.guild_id is None:
            raise app_commands.NoPrivateMessage
        if wants_all:
            if await self._client.is_owner(interaction.user):
                return ALL_GUILDS
            raise NotOwnerError("Only the owner of the application may look at all servers.")
        if not interaction.permissions.manage_guild:
            raise app_commands.MissingPermissions(["manage_guild"])
        return interaction.guild_id


async def think(interaction: discord.Interaction) -> None:
    """Take a command in, for its asker's eyes only: Discord waits three seconds and no longer."""
    await interaction.response.defer(ephemeral=True, thinking=True)
