"""What the bot must know of its guilds and channels without asking SQL for each message."""

import asyncio

import discord
import structlog
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError

from bot.catalogue import LocaleCode, locale_code
from core.conversations.places import (
    Place,
    guild_locales,
    listening_channels,
    teacher_roles,
)
from core.db.desk import Desk

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 30.0


class Places:
    """The channels that are switched on, and what guilds chose, as SQL has them.

    One bot process sees its own changes at once, and those of others at its next ``refresh``.
    """

    def __init__(self, desk: Desk, default_locale: LocaleCode) -> None:
        self._desk = desk
        self._default_locale = default_locale
        self.listening: set[int] = set()
        self._locales: dict[int, str] = {}
        self._teacher_roles: dict[int, int] = {}
        self._own_changes = 0

    async def refresh(self) -> None:
        """Read all anew.

        Raises:
            OperationalError: the database cannot be reached.
        """
        changes = self._own_changes
        listening = await self._desk.read(listening_channels)
        locales = await self._desk.read(guild_locales)
        roles = await self._desk.read(teacher_roles)
        # What was read before a change of our own would take it back.
        if changes == self._own_changes:
            self.listening, self._locales, self._teacher_roles = listening, locales, roles

    async def refresh_for_ever(self) -> None:
        """Learn every half minute what other processes changed; ends by cancellation."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self.refresh()
            except SQLAlchemyError as exc:
                log.warning("places_not_refreshed", error=type(exc).__name__)

    def locale_of(self, guild: discord.Guild | None) -> LocaleCode:
        """The language for a guild: its admins' choice, else what Discord says of it."""
        if guild is None:
            return self._default_locale
        chosen = self._locales.get(guild.id)
        if chosen is not None:
            return locale_code(chosen)
        return locale_code(str(guild.preferred_locale), self._default_locale)

    def place_of(self, interaction: discord.Interaction) -> Place:
        """The channel of a guild in which an interaction happens, with the guild's language.

        Raises:
            NoPrivateMessage: it happens outside guilds.
        """
        guild = interaction.guild
        if guild is None:
            raise app_commands.NoPrivateMessage
        return Place(interaction.channel_id or 0, guild.id, guild.name, self.locale_of(guild))

    def may_teach(self, interaction: discord.Interaction) -> bool:
        """Whether the asker manages the server, or has the role that may teach there."""
        if interaction.guild_id is None:
            return False
        if interaction.permissions.manage_guild:
            return True
        role_id = self._teacher_roles.get(interaction.guild_id)
        member = interaction.user
        return isinstance(member, discord.Member) and any(r.id == role_id for r in member.roles)

    def require_teacher(self, interaction: discord.Interaction) -> None:
        """Refuse whoever may not teach.

        Raises:
            NoPrivateMessage, MissingPermissions: as :func:`may_teach` says.
        """
        if interaction.guild_id is None:
            raise app_commands.NoPrivateMessage
        if not self.may_teach(interaction):
            raise app_commands.MissingPermissions(["manage_guild"])

    def remember_listening(self, channel_id: int, *, is_listening: bool) -> None:
        """A channel was switched in this process."""
        self._own_changes += 1
        (self.listening.add if is_listening else self.listening.discard)(channel_id)

    def remember_locale(self, guild_id: int, locale: LocaleCode) -> None:
        """A guild chose its language in this process."""
        self._own_changes += 1
        self._locales[guild_id] = locale

    def remember_teacher_role(self, guild_id: int, role_id: int | None) -> None:
        """A guild chose the role that may teach in this process."""
        self._own_changes += 1
        if role_id is None:
            self._teacher_roles.pop(guild_id, None)
        else:
            self._teacher_roles[guild_id] = role_id
