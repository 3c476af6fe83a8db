"""The bot comes to a guild, and leaves one."""

import discord
from discord.ext import commands

from bot.catalogue import locale_code
from bot.patience import keep_trying
from core.conversations.places import join_guild, leave_guild
from core.db.desk import Desk


class GuildsCog(commands.Cog):
    """Keeps the rows of guilds; what is under way in a guild that is left is cancelled."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Note a guild, with the language that Discord says of it."""
        locale = locale_code(str(guild.preferred_locale))
        await keep_trying(
            lambda: self._desk.write(
                lambda session: join_guild(session, guild.id, guild.name, locale)
            )
        )

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Cancel what was still to do there."""
        await keep_trying(lambda: self._desk.write(lambda session: leave_guild(session, guild.id)))
