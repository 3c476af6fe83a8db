"""The bot comes to a guild, and leaves one."""

import discord
import structlog
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import locale_code
from bot.patience import keep_trying
from core.conversations.places import guilds_to_settle, join_guild, leave_guild
from core.db.desk import Desk
from core.sharding import Share

log = structlog.get_logger(__name__)


class GuildsCog(commands.Cog):
    """Keeps the rows of guilds; what is under way in a guild that is left is cancelled."""

    def __init__(self, bot: discord.Client, desk: Desk, share: Share) -> None:
        self._bot = bot
        self._desk = desk
        self._share = share

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Note a guild, with the language that Discord says of it."""
        await keep_trying(lambda: self._desk.write(lambda session: _join(session, guild)))

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Cancel what was still to do there."""
        await keep_trying(lambda: self._desk.write(lambda session: leave_guild(session, guild.id)))

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Make good what happened while the bot was away."""
        # Discord names the bot's guilds before it is ready, those that are out of order too.
        present = {guild.id: guild for guild in self._bot.guilds}
        gone, back = await keep_trying(
            lambda: self._desk.write(lambda session: self._settle(session, present))
        )
        if gone or back:
            log.info("guilds_settled", gone=gone, back=back)

    def _settle(
        self, session: Session, present: dict[int, discord.Guild]
    ) -> tuple[list[int], list[int]]:
        gone, back = guilds_to_settle(session, present)
        # The others are for other processes to judge.
        gone = [guild_id for guild_id in gone if self._share.hears(guild_id)]
        for guild_id in gone:
            leave_guild(session, guild_id)
        for guild_id in back:
            _join(session, present[guild_id])
        return gone, back


def _join(session: Session, guild: discord.Guild) -> None:
    join_guild(session, guild.id, guild.name, locale_code(str(guild.preferred_locale)))
