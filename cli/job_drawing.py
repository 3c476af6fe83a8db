"""Jobs on a terminal."""

from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from core.jobs.queries import JobDetail, JobSummary, QueuePlace
from core.jobs.states import JobState

_STYLES = {
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}


def draw_list(jobs: tuple[JobSummary, ...]) -> Table:
    """Jobs as rows."""
    # An id that is broken into lines can be copied by nobody.
    ids = Column("job", no_wrap=True, min_width=20)
    table = Table(ids, "kind", "state", "model", "asked by", "server", "submitted", "took")
    for job in jobs:
        table.add_row(
            job.id,
            job.kind,
            _state(job),
            job.model or "",
            str(job.requester_id) if job.requester_id else "operator",
            str(job.guild_id or ""),
            _clock(job.created_at),
            _took(job),
        )
    return table


def draw_detail(detail: JobDetail) -> RenderableType:
    """One job with its timeline."""
    job = detail.summary
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(detail).items():
        if value not in (None, "", {}):
            facts.add_row(Text(name, style="dim"), value if isinstance(value, Text) else str(value))
    parts: list[RenderableType] = [facts]
    steps = job.progress.get("steps")
    if isinstance(steps, int) and steps > 0:
        step = job.progress.get("step", 0)
        bar = Table.grid(padding=(0, 2))
        bar.add_row(ProgressBar(total=steps, completed=step, width=40), f"{step}/{steps}")
        parts.append(bar)
    timeline = Table("time", "event", "figures", title="timeline", title_justify="left")
    for entry in detail.timeline:
        timeline.add_row(_clock(entry.at), entry.type, _figures(entry.data))
    return Group(*parts, timeline)


def _facts(detail: JobDetail) -> dict[str, Any]:
    job, place = detail.summary, detail.place
    return {
        "job": job.id,
        "kind": job.kind,
        "state": _state(job),
        "model": job.model,
        "server": job.guild_id,
        "asked by": job.requester_id or "operator",
        "in the queue": f"{place.position} of {place.length}" if place else None,
        "expected start": _start(place) if place else None,
        "took": _took(job),
        "attempts": f"{detail.attempts} ({detail.crashes} lost workers)",
        "worker": detail.worker_id,
        "error": f"{detail.error} ({job.error_code})" if job.error_code else None,
        "options": _figures(detail.options),
        "result": _figures(detail.result),
        "progress": _figures(job.progress),
    }


def _state(job: JobSummary) -> Text:
    word = "paused" if job.is_paused else str(job.state)
    if job.state is JobState.RUNNING and job.cancel_requested:
        word = "stopping"
    return Text(word, style=_STYLES.get(job.state, "yellow"))


def _start(place: QueuePlace) -> str | None:
    seconds = place.starts_in_seconds
    if seconds is None:
        return None
    return "at any moment" if seconds < 1 else f"in about {timedelta(seconds=round(seconds))}"


def _took(job: JobSummary) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{max(0.0, job.finished_at - job.started_at):.1f} s"


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _figures(data: dict[str, Any]) -> str:
    """The plain values of an object, one after the other; lists and such are for ``--json``."""
    plain = {k: v for k, v in data.items() if isinstance(v, str | int | float)}
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
    return ", ".join(shown)
