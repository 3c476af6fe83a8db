"""Jobs as embeds: a page of a list, and one job in full."""

from collections.abc import Iterator, Mapping
from hashlib import sha256

import discord

from bot.catalogue import Catalogue
from bot.finetune.failures import say_failure
from bot.finetune.outcome import compare
from bot.finetune.wording import about, bar, clipped, decimal, duration
from core.errors import Datum
from core.jobs.queries import JobDetail, JobSummary, Page, QueuePlace, TimelineEntry
from core.jobs.states import JobKind, JobState

_COLOURS = {
    JobState.SUCCEEDED: discord.Colour.green(),
    JobState.FAILED: discord.Colour.red(),
    JobState.CANCELLED: discord.Colour.greyple(),
}
_SIGNS = {
    JobState.VALIDATING: "🔎",
    JobState.QUEUED: "⏳",
    JobState.RUNNING: "▶️",
    JobState.SUCCEEDED: "✅",
    JobState.FAILED: "❌",
    JobState.CANCELLED: "🚫",
}
_TIMELINE_LENGTH = 12
# Within so long a time of day names one moment, wherever its reader lives.
_DATED_SECONDS = 12 * 3600.0
_BAR_CELLS = 12
_MODEL_CHARACTERS = 40
_VALUE_CHARACTERS = 1000
# Figures that are read at a glance; others are for the shell.
_SHOWN_FIGURES = ("attempt", "step", "steps", "loss", "crashes")


def draw_page(
    catalogue: Catalogue, locale: str, page: Page, number: int, servers: Mapping[int, str]
) -> discord.Embed:
    """A page of a list; ``number`` counts from 1. ``servers`` names those that are to be named."""
    # One model for all is said once, below.
    models = {job.model or "" for job in page.jobs}
    common = models.pop() if len(models) == 1 else ""
    lines = [_line(catalogue, locale, job, servers, with_model=not common) for job in page.jobs]
    nothing = "jobs-none-here" if page.next_before else "jobs-none"
    embed = discord.Embed(
        title=catalogue.say(locale, "jobs-title"),
        description="\n".join(lines) or catalogue.say(locale, nothing),
        colour=discord.Colour.blurple(),
    )
    footer = [catalogue.say(locale, "jobs-page", number=number), clipped(common, _MODEL_CHARACTERS)]
    embed.set_footer(text=" · ".join(part for part in footer if part))
    return embed


def draw_detail(
    catalogue: Catalogue,
    locale: str,
    detail: JobDetail,
    servers: Mapping[int, str],
    *,
    with_host: bool,
) -> discord.Embed:
    """One job with its timeline, and its server if ``servers`` names it. Hosts are for who sees all
    guilds to know."""
    job = detail.summary
    embed = discord.Embed(
        title=f"{_SIGNS[job.state]} {say_kind(catalogue, locale, job)} `{job.id}`",
        description="\n".join(_timeline(catalogue, locale, detail)),
        colour=_COLOURS.get(job.state, discord.Colour.blurple()),
    )
    for key, value in _fields(catalogue, locale, detail, servers, with_host=with_host):
        embed.add_field(name=catalogue.say(locale, key), value=value[:_VALUE_CHARACTERS])
    return embed


def say_state(catalogue: Catalogue, locale: str, job: JobSummary) -> str:
    """Where a job stands, in a word or two."""
    if job.state is JobState.RUNNING and job.cancel_requested:
        return catalogue.say(locale, "job-state-stopping")
    if job.is_paused:
        return catalogue.say(locale, "job-state-paused")
    return catalogue.say(locale, f"job-state-{job.state}")


def say_kind(catalogue: Catalogue, locale: str, job: JobSummary) -> str:
    """What a job does, in a word."""
    return catalogue.say(locale, f"job-kind-{job.kind}")


def name_worker(kind: JobKind, worker_id: str) -> str:
    """The process that does a kind of work, by a name that tells no host and stays the same."""
    return f"{kind}-{sha256(worker_id.encode()).hexdigest()[:6]}"


def _line(
    catalogue: Catalogue,
    locale: str,
    job: JobSummary,
    servers: Mapping[int, str],
    *,
    with_model: bool,
) -> str:
    """One row; what is done needs no more words than its sign."""
    is_done = job.state is JobState.SUCCEEDED
    parts = [
        f"{_SIGNS[job.state]} <t:{int(job.created_at)}:R>",
        say_kind(catalogue, locale, job),
        "" if is_done else say_state(catalogue, locale, job),
        clipped(job.model, _MODEL_CHARACTERS) if job.model and with_model else "",
        f"<@{job.requester_id}>" if job.requester_id else "",
        servers.get(job.guild_id or 0, ""),
    ]
    return " · ".join(part for part in parts if part) + f" `{job.id}`"


def _fields(
    catalogue: Catalogue,
    locale: str,
    detail: JobDetail,
    servers: Mapping[int, str],
    *,
    with_host: bool,
) -> list[tuple[str, str]]:
    job = detail.summary
    fields = [("job-field-state", say_state(catalogue, locale, job))]
    if job.model:
        fields.append(("job-field-model", f"`{clipped(job.model, _MODEL_CHARACTERS)}`"))
    if job.requester_id:
        fields.append(("job-field-member", f"<@{job.requester_id}>"))
    if server := servers.get(job.guild_id or 0):
        fields.append(("job-field-server", server))
    if detail.place is not None:
        fields += _waiting(catalogue, locale, detail.place)
    if job.started_at is not None and job.finished_at is not None:
        fields.append(("job-field-duration", duration(max(0.0, job.finished_at - job.started_at))))
    if job.progress:
        fields.append(("job-field-progress", _progress(catalogue, locale, job)))
    fields += _measured(catalogue, locale, detail) + _answered(catalogue, locale, detail)
    if detail.attempts:
        attempts = catalogue.say(
            locale, "job-attempts", attempts=detail.attempts, crashes=detail.crashes
        )
        fields.append(("job-field-attempts", attempts))
    if detail.worker_id:
        worker = detail.worker_id if with_host else name_worker(job.kind, detail.worker_id)
        fields.append(("job-field-worker", f"`{worker}`"))
    if job.state is JobState.FAILED:
        code = job.error_code or "internal"
        fields.append(("job-field-error", say_failure(catalogue, locale, code, detail.error_data)))
    return fields


def _measured(catalogue: Catalogue, locale: str, detail: JobDetail) -> list[tuple[str, str]]:
    """What a fine-tune reached, beside its base."""
    metrics = detail.result.get("metrics") or {}
    compared = {split: compare(metrics, split) for split in ("validation", "test")}
    return [
        (
            f"outcome-{split}",
            catalogue.say(
                locale,
                "outcome-perplexity",
                before=decimal(pair[0], 2),
                after=decimal(pair[1], 2),
            ),
        )
        for split, pair in compared.items()
        if pair is not None
    ]


def _answered(catalogue: Catalogue, locale: str, detail: JobDetail) -> list[tuple[str, str]]:
    """How long an answer became, how fast, and why it ended there."""
    tokens, seconds = detail.result.get("tokens"), detail.result.get("seconds")
    if not isinstance(tokens, int) or not isinstance(seconds, int | float) or seconds <= 0:
        return []
    written = catalogue.say(
        locale,
        "job-answer",
        tokens=tokens,
        seconds=decimal(seconds, 1),
        speed=decimal(tokens / seconds, 1),
    )
    fields = [("job-field-answer", written)]
    key = f"job-finish-{detail.result.get('finish')}"
    if catalogue.has(key):
        fields.append(("job-field-finish", catalogue.say(locale, key)))
    return fields


def _waiting(catalogue: Catalogue, locale: str, place: QueuePlace) -> list[tuple[str, str]]:
    """Where a job stands in its queue, and when its turn is likely to come."""
    standing = catalogue.say(locale, "job-place", position=place.position, length=place.length)
    fields = [("job-field-place", standing)]
    seconds = place.starts_in_seconds
    if seconds is not None:
        start = (
            catalogue.say(locale, "job-start-now")
            if seconds < 1
            else catalogue.say(locale, "job-start-in", time=about(seconds))
        )
        fields.append(("job-field-start", start))
    return fields


def _progress(catalogue: Catalogue, locale: str, job: JobSummary) -> str:
    step, steps = job.progress.get("step"), job.progress.get("steps")
    if step is None:
        # A fine-tune that measures its base has gone no step yet.
        step, steps = job.progress.get("measured_tokens"), job.progress.get("tokens_to_measure")
    if not isinstance(step, int) or not isinstance(steps, int) or steps < 1:
        return _figures(catalogue, locale, job.progress)
    left = job.progress.get("seconds_left")
    rest = [_figures(catalogue, locale, {"loss": job.progress.get("loss")})]
    # Of a job that has ended, progress is the last that was heard of it.
    if isinstance(left, int | float) and job.state is JobState.RUNNING:
        rest.append(catalogue.say(locale, "job-time-left", time=duration(left)))
    return "\n".join(
        [f"{bar(step, steps, _BAR_CELLS)} · {step}/{steps}", *(part for part in rest if part)]
    )


def _timeline(catalogue: Catalogue, locale: str, detail: JobDetail) -> list[str]:
    entries = detail.timeline
    lines = list(_entries(catalogue, locale, entries[-_TIMELINE_LENGTH:]))
    hidden = len(entries) - len(lines)
    if hidden:
        lines.insert(0, catalogue.say(locale, "job-timeline-hidden", count=hidden))
    return lines


def _entries(
    catalogue: Catalogue, locale: str, entries: tuple[TimelineEntry, ...]
) -> Iterator[str]:
    """A line each, with the day wherever the time alone would not tell it."""
    dated = float("-inf")
    for entry in entries:
        at = f"<t:{int(entry.at)}:T>"
        if entry.at - dated >= _DATED_SECONDS:
            dated = entry.at
            at = f"<t:{int(entry.at)}:d> {at}"
        yield f"{at} {_entry(catalogue, locale, entry)}"


def _entry(catalogue: Catalogue, locale: str, entry: TimelineEntry) -> str:
    key = f"job-event-{entry.type.replace('_', '-')}"
    what = catalogue.say(locale, key) if catalogue.has(key) else f"`{clipped(entry.type, 32)}`"
    told = [what, _figures(catalogue, locale, entry.data)]
    if isinstance(entry.data.get("job"), str):
        told.append(f"`{entry.data['job']}`")
    return " · ".join(part for part in told if part)


def _figures(catalogue: Catalogue, locale: str, data: dict[str, object]) -> str:
    said = []
    for name in _SHOWN_FIGURES:
        value = data.get(name)
        if isinstance(value, int | float):
            shown: Datum = value if isinstance(value, int) else decimal(value, 3)
            said.append(catalogue.say(locale, f"job-figure-{name}", value=shown))
    return ", ".join(said)
