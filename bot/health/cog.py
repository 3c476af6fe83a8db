"""``/ping``: is everything up, and who answers here?"""

import asyncio
import time
from dataclasses import dataclass

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from bot.translation import text
from core.catalog.resolution import resolve_version
from core.db.desk import Desk
from core.db.tables import Model, Version
from core.jobs.presence import alive
from core.transport.publisher import Publisher
from core.transport.stream_reader import StreamReader

# A database that answers later than this is as good as down.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Health:
    """What SQL knows: live processes by kind, and the name of the model that answers."""

    workers: dict[str, int]
    model: str | None


def make_health_cog(
    catalogue: Catalogue,
    desk: Desk,
    publisher: Publisher,
    reader: StreamReader,
    default_model: str,
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""

    class HealthCog(commands.Cog):
        """One command that anybody may use."""

        @app_commands.command(
            name=text(catalogue, "command-ping-name"), description=text(catalogue, "command-ping")
        )
        async def ping(self, interaction: discord.Interaction) -> None:
            """Show what is up and what is down."""
            # It must answer in just the case that the database does not.
            await interaction.response.defer(ephemeral=True)
            locale = locale_code(str(interaction.locale))
            started = time.perf_counter()
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    health = await desk.read(
                        lambda session: read_health(
                            session, interaction.guild_id, interaction.channel_id, default_model
                        )
                    )
            except (SQLAlchemyError, TimeoutError):
                health = None
            milliseconds = round((time.perf_counter() - started) * 1000)
            is_redis_up = publisher.health.is_reachable and reader.is_reachable
            embed = draw(
                catalogue,
                locale,
                health,
                database_milliseconds=milliseconds,
                gateway_milliseconds=_latency(interaction.client),
                is_redis_up=is_redis_up,
            )
            await interaction.followup.send(embed=embed, ephemeral=True)

    return HealthCog()


def read_health(
    session: Session, guild_id: int | None, channel_id: int | None, default_model: str
) -> Health:
    """Ask SQL who is alive and who answers."""
    workers: dict[str, int] = {}
    for presence in alive(session):
        workers[presence.kind] = workers.get(presence.kind, 0) + 1
    version_id = resolve_version(session, guild_id, channel_id, default_model)
    model = session.scalar(
        select(Model.name)
        .join(Version, Version.model_id == Model.id)
        .where(Version.id == version_id)
    )
    return Health(workers, model)


def draw(
    catalogue: Catalogue,
    locale: str,
    health: Health | None,
    *,
    database_milliseconds: int,
    gateway_milliseconds: int,
    is_redis_up: bool,
) -> discord.Embed:
    """The embed: a line a part, green only where all is well."""
    workers = health.workers if health is not None else {}
    is_well = bool(workers.get("generate")) and is_redis_up and health is not None
    embed = discord.Embed(
        title=catalogue.say(locale, "ping-well" if is_well else "ping-unwell"),
        colour=discord.Colour.green() if is_well else discord.Colour.orange(),
    )
    down = catalogue.say(locale, "ping-down")
    up = catalogue.say(locale, "ping-up")
    database = down if health is None else f"{up} · {database_milliseconds} ms"
    model = (health.model if health is not None else None) or catalogue.say(locale, "ping-nobody")
    rows = (
        ("ping-gateway", f"{up} · {gateway_milliseconds} ms"),
        ("ping-database", database),
        ("ping-redis", up if is_redis_up else down),
        ("ping-generate", str(workers.get("generate", 0)) if health else down),
        ("ping-finetune", str(workers.get("finetune", 0)) if health else down),
        ("ping-model", model),
    )
    for key, value in rows:
        embed.add_field(name=catalogue.say(locale, key), value=value)
    return embed


def _latency(client: discord.Client) -> int:
    latency = client.latency
    # Not a number until the first heartbeat came back.
    return round(latency * 1000) if latency == latency and latency < 1e6 else 0
