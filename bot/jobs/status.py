"""``/status``: who works, what waits and for how long, what went wrong last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from bot.finetune.failures import say_failure
from bot.finetune.wording import clipped, decimal, duration
from bot.jobs.permission import Doorkeeper, think
from bot.translation import text
from core.catalog.resolution import resolve_version
from core.db.desk import Desk
from core.db.tables import Model, Version
from core.jobs.finding import ALL_GUILDS, Filters, Scope
from core.jobs.presence import Presence, alive
from core.jobs.queries import JobDetail, QueueState, list_jobs, models_at, queue_states, show_job
from core.jobs.states import JobState

_GIBIBYTE = 2**30
_MOST_WORKERS = 12
# Discord takes a field of 1024.
_VALUE_CHARACTERS = 1000


@dataclass(frozen=True)
class Status:
    """What SQL knows.

    ``last_failure`` and ``queues`` are of the asker's scope; processes serve every guild.
    ``loaded`` names the models in their memory, by store path: those that the asker may see.
    """

    processes: tuple[Presence, ...]
    queues: tuple[QueueState, ...]
    last_failure: JobDetail | None
    model: str | None
    loaded: Mapping[str, str]


def make_status_cog(
    catalogue: Catalogue, desk: Desk, doorkeeper: Doorkeeper, default_model: str
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""

    class StatusCog(commands.Cog):
        """One command for those who manage the server."""

        @app_commands.command(
            name=text(catalogue, "command-status-name"),
            description=text(catalogue, "command-status"),
        )
        @app_commands.guild_only()
        @app_commands.default_permissions(manage_guild=True)
        @app_commands.rename(scope=text(catalogue, "option-jobs-scope-name"))
        @app_commands.describe(scope=text(catalogue, "option-jobs-scope"))
        @app_commands.choices(
            scope=[app_commands.Choice(name=text(catalogue, "jobs-scope-all"), value="all")]
        )
        async def status(self, interaction: discord.Interaction, scope: str | None = None) -> None:
            """Show workers, queues and the last error."""
            await think(interaction)
            allowed = await doorkeeper.scope_of(interaction, wants_all=scope == "all")
            found = await desk.read(
                lambda session: read_status(session, allowed, interaction.channel_id, default_model)
            )
            locale = locale_code(str(interaction.locale))
            embed = draw_status(catalogue, locale, found)
            await interaction.edit_original_response(embed=embed)

    return StatusCog()


def read_status(
    session: Session, scope: Scope, channel_id: int | None, default_model: str
) -> Status:
    """Ask SQL."""
    failed = list_jobs(session, scope, Filters(state=JobState.FAILED), limit=1).jobs
    guild_id = None if scope is ALL_GUILDS else scope
    version_id = resolve_version(session, guild_id, channel_id, default_model)
    version = session.get(Version, version_id) if version_id else None
    model = session.get(Model, version.model_id) if version else None
    processes = tuple(alive(session))
    paths = [path for process in processes for path in process.info.get("models") or ()]
    return Status(
        processes=processes,
        loaded=models_at(session, scope, paths),
        queues=queue_states(session, scope),
        last_failure=show_job(session, scope, failed[0].id) if failed else None,
        model=model.name if model else None,
    )


def draw_status(catalogue: Catalogue, locale: str, status: Status) -> discord.Embed:
    """The embed: green only where somebody answers."""
    is_well = any(process.kind == "generate" for process in status.processes)
    embed = discord.Embed(
        title=catalogue.say(locale, "status-well" if is_well else "status-unwell"),
        colour=discord.Colour.green() if is_well else discord.Colour.orange(),
    )
    workers = [_worker(catalogue, locale, process, status.loaded) for process in status.processes]
    shown = workers[:_MOST_WORKERS]
    if len(workers) > len(shown):
        shown.append(catalogue.say(locale, "status-more", count=len(workers) - len(shown)))
    nobody = catalogue.say(locale, "status-nobody")
    fields = {
        "status-workers": "\n".join(shown) or nobody,
        "status-model": f"`{clipped(status.model, 60)}`" if status.model else nobody,
        "status-queues": "\n".join(_queue(catalogue, locale, queue) for queue in status.queues),
        "status-last-error": _last_failure(catalogue, locale, status.last_failure),
    }
    for key, value in fields.items():
        embed.add_field(name=catalogue.say(locale, key), value=value, inline=False)
    return embed


def _worker(catalogue: Catalogue, locale: str, process: Presence, models: Mapping[str, str]) -> str:
    """A process in one line: what it is, on what, with what in memory, how busy.

    Shown is what it announced of ``device``, ``memory_used_bytes``, ``memory_total_bytes``,
    ``models`` (those that the asker may see), ``jobs`` and ``tokens_per_second``. Hosts and process
    ids are the operator's to know.
    """
    info = process.info
    key = f"status-kind-{process.kind}"
    parts = [catalogue.say(locale, key) if catalogue.has(key) else process.kind]
    if info.get("device"):
        parts.append(f"`{clipped(str(info['device']), 40)}`")
    parts.append(_memory(catalogue, locale, info))
    loaded = [models[path] for path in info.get("models") or () if path in models]
    if loaded:
        parts.append(", ".join(f"`{clipped(name, 40)}`" for name in loaded))
    if isinstance(info.get("jobs"), int):
        parts.append(catalogue.say(locale, "status-jobs", count=info["jobs"]))
    if info.get("tokens_per_second"):
        speed = decimal(float(info["tokens_per_second"]), 1)
        parts.append(catalogue.say(locale, "status-speed", speed=speed))
    if info.get("version"):
        parts.append(f"`{clipped(str(info['version']), 20)}`")
    return " · ".join(part for part in parts if part)


def _memory(catalogue: Catalogue, locale: str, info: Mapping[str, Any]) -> str:
    used, total = info.get("memory_used_bytes"), info.get("memory_total_bytes")
    if not isinstance(used, int) or not isinstance(total, int):
        return ""
    return catalogue.say(
        locale,
        "status-memory",
        used=decimal(used / _GIBIBYTE, 1),
        total=decimal(total / _GIBIBYTE, 1),
    )


def _queue(catalogue: Catalogue, locale: str, queue: QueueState) -> str:
    kind = catalogue.say(locale, f"job-kind-{queue.kind}")
    line = catalogue.say(
        locale, "status-queue", kind=kind, queued=queue.queued, running=queue.running
    )
    if queue.oldest_seconds is None:
        return line
    wait = catalogue.say(locale, "status-wait", time=duration(max(0.0, queue.oldest_seconds)))
    return f"{line}, {wait}"


def _last_failure(catalogue: Catalogue, locale: str, failure: JobDetail | None) -> str:
    if failure is None:
        return catalogue.say(locale, "status-no-error")
    job = failure.summary
    sentence = say_failure(catalogue, locale, job.error_code or "internal", failure.error_data)
    return f"<t:{int(job.finished_at or 0)}:R> `{job.id}`: {sentence}"[:_VALUE_CHARACTERS]
