"""``/status``: who works, what waits and for how long, what went wrong last."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from bot.finetune.failures import say_failure
from bot.finetune.wording import clipped, decimal, duration
from bot.jobs.permission import Doorkeeper, think
from bot.jobs.servers import ServerNames
from bot.translation import text
from core.catalog.resolution import resolve_version
from core.db.desk import Desk
from core.db.tables import Model, Version
from core.jobs.finding import ALL_GUILDS, Filters, Scope
from core.jobs.presence import Presence, alive
from core.jobs.queries import JobDetail, QueueState, list_jobs, models_at, queue_states, show_job
from core.jobs.states import JobState

_GIBIBYTE = 2**30
# Discord takes a field of 1024; the last line may say how many more there are.
_VALUE_CHARACTERS, _LINES_CHARACTERS = 1000, 950


@dataclass(frozen=True)
class Status:
    """What SQL knows.

    ``last_failure`` and ``queues`` are of ``scope``; processes serve every guild. ``loaded`` names
    the models in their memory, by store path: those that the asker may see.
    """

    scope: Scope

    processes: tuple[Presence, ...]
    queues: tuple[QueueState, ...]
    last_failure: JobDetail | None
    model: str | None
    loaded: Mapping[str, str]


def make_status_cog(
    catalogue: Catalogue,
    desk: Desk,
    doorkeeper: Doorkeeper,
    names: ServerNames,
    default_model: str,
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
            here = interaction.guild_id, interaction.channel_id
            found = await desk.read(
                lambda session: read_status(session, allowed, here, default_model)
            )
            locale = locale_code(str(interaction.locale))
            failed = [found.last_failure.summary] if found.last_failure else []
            embed = draw_status(catalogue, locale, found, names.of(allowed, failed))
            await interaction.edit_original_response(embed=embed)

    return StatusCog()


def read_status(
    session: Session, scope: Scope, here: tuple[int | None, int | None], default_model: str
) -> Status:
    """Ask SQL. ``here`` is the guild and the channel of which is told who answers."""
    failed = list_jobs(session, scope, Filters(state=JobState.FAILED), limit=1).jobs
    version_id = resolve_version(session, *here, default_model)
    version = session.get(Version, version_id) if version_id else None
    model = session.get(Model, version.model_id) if version else None
    processes = tuple(alive(session))
    paths = [path for process in processes for path in process.info.get("models") or ()]
    return Status(
        scope,
        processes=processes,
        loaded=models_at(session, scope, paths),
        queues=queue_states(session, scope),
        last_failure=show_job(session, scope, failed[0].id) if failed else None,
        model=model.name if model else None,
    )


def draw_status(
    catalogue: Catalogue, locale: str, status: Status, servers: Mapping[int, str]
) -> discord.Embed:
    """The embed: green only where somebody answers. Hosts are for who sees all guilds to know."""
    is_well = any(process.kind == "generate" for process in status.processes)
    embed = discord.Embed(
        title=catalogue.say(locale, "status-well" if is_well else "status-unwell"),
        colour=discord.Colour.green() if is_well else discord.Colour.orange(),
    )
    is_of_all = status.scope is ALL_GUILDS
    workers = [
        _worker(catalogue, locale, process, status.loaded, with_host=is_of_all)
        for process in status.processes
    ]
    nobody = catalogue.say(locale, "status-nobody")
    fields = {
        "status-workers": _fit(catalogue, locale, workers) or nobody,
        "status-model": f"`{clipped(status.model, 60)}`" if status.model else nobody,
        "status-queues-all" if is_of_all else "status-queues": "\n".join(
            _queue(catalogue, locale, queue) for queue in status.queues
        ),
        "status-last-error": _last_failure(catalogue, locale, status.last_failure, servers),
    }
    for key, value in fields.items():
        embed.add_field(name=catalogue.say(locale, key), value=value, inline=False)
    return embed


def _worker(
    catalogue: Catalogue,
    locale: str,
    process: Presence,
    models: Mapping[str, str],
    *,
    with_host: bool,
) -> str:
    """A process in one line: what it is, on what, with what in memory, how busy.

    Shown is what it announced of ``device``, ``memory_used_bytes``, ``memory_total_bytes``,
    ``models`` (those that the asker may see, with their dtypes), ``jobs`` and
    ``tokens_per_second``.
    """
    info = process.info
    key = f"status-kind-{process.kind}"
    parts = [catalogue.say(locale, key) if catalogue.has(key) else process.kind]
    if with_host and info.get("host"):
        parts.append(f"`{clipped(str(info['host']), 40)}`")
    if info.get("device"):
        parts.append(f"`{clipped(str(info['device']), 40)}`")
    parts.append(_memory(catalogue, locale, info))
    loaded = [
        _loaded(models[path], facts)
        for path, facts in (info.get("models") or {}).items()
        if path in models
    ]
    if loaded:
        parts.append(", ".join(loaded))
    if isinstance(info.get("jobs"), int):
        parts.append(catalogue.say(locale, "status-jobs", count=info["jobs"]))
    if info.get("tokens_per_second"):
        speed = decimal(float(info["tokens_per_second"]), 1)
        parts.append(catalogue.say(locale, "status-speed", speed=speed))
    if info.get("version"):
        parts.append(f"`{clipped(str(info['version']), 20)}`")
    return " · ".join(part for part in parts if part)


def _loaded(name: str, facts: Mapping[str, object]) -> str:
    """A model and what its weights are, as a processor's were chosen by the clock."""
    shown = f"`{clipped(name, 40)}`"
    dtype = str(facts.get("dtype") or "")
    return f"{shown} ({clipped(dtype, 40)})" if dtype else shown


def _fit(catalogue: Catalogue, locale: str, lines: list[str]) -> str:
    """As many lines as Discord takes, and how many there are besides."""
    ends = accumulate(len(line) + 1 for line in lines)
    shown = lines[: sum(end <= _LINES_CHARACTERS for end in ends)]
    if len(lines) > len(shown):
        shown.append(catalogue.say(locale, "status-more", count=len(lines) - len(shown)))
    return "\n".join(shown)


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


def _last_failure(
    catalogue: Catalogue, locale: str, failure: JobDetail | None, servers: Mapping[int, str]
) -> str:
    if failure is None:
        return catalogue.say(locale, "status-no-error")
    job = failure.summary
    sentence = say_failure(catalogue, locale, job.error_code or "internal", failure.error_data)
    parts = (f"<t:{int(job.finished_at or 0)}:R>", servers.get(job.guild_id or 0), f"`{job.id}`")
    return f"{' '.join(part for part in parts if part)}: {sentence}"[:_VALUE_CHARACTERS]
