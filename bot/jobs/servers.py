"""What servers are called, for who sees the jobs of all of them."""

from collections.abc import Iterable
from typing import Protocol

import discord

from bot.finetune.wording import clipped
from core.jobs.finding import ALL_GUILDS, Scope
from core.jobs.queries import JobSummary

_NAME_CHARACTERS = 40


class GuildFinder(Protocol):
    """A client that knows the guilds of its shards."""

    def get_guild(self, guild_id: int, /) -> discord.Guild | None:
        """A guild, if it is known here."""
        ...


class ServerNames:
    """Names servers as this process knows them; one of another process' shards is its id."""

    def __init__(self, client: GuildFinder) -> None:
        self._client = client

    def of(self, scope: Scope, jobs: Iterable[JobSummary]) -> dict[int, str]:
        """By id, the servers of some jobs; none where the asker sees a single one anyway."""
        if scope is not ALL_GUILDS:
            return {}
        ids = {job.guild_id for job in jobs if job.guild_id is not None}
        return {guild_id: self._name(guild_id) for guild_id in ids}

    def _name(self, guild_id: int) -> str:
        guild = self._client.get_guild(guild_id)
        if guild is None:
            return f"`{guild_id}`"
        return discord.utils.escape_markdown(clipped(guild.name, _NAME_CHARACTERS))
