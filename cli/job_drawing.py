"""Jobs on a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
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
# Wide enough for whatever a row holds.
_ANY_WIDTH = 10_000
# The least wanted first: ``jobs show`` has all of it. Ids and models stay, to be asked for by.
_LEAVING = ("server", "asked by", "took", "submitted")


@dataclass(frozen=True)
class JobList:
    """Jobs as rows, a line each. Where a terminal is too narrow for all of it, it leaves out what
    :data:`_LEAVING` names, one after the other, and shortens the names of models at last."""

    jobs: tuple[JobSummary, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        wide = options.update_width(_ANY_WIDTH)
        absent = () if any(_steps(job) for job in self.jobs) else ("progress",)
        for count in range(len(_LEAVING) + 1):
            table = self._draw((*absent, *_LEAVING[:count]))
            if console.measure(table, options=wide).maximum <= options.max_width:
                break
        yield table

    def _draw(self, left_out: tuple[str, ...]) -> Table:
        rows = [_row(job, left_out) for job in self.jobs]
        return draw_lines(rows, shortened=("model",))


def draw_lines(rows: list[dict[str, str | Text]], shortened: tuple[str, ...]) -> Table:
    """A line a row, whose columns bear the names of the first one's cells; only those that are to
    be ``shortened`` give way where a terminal is too narrow."""
    columns = (Column(name, no_wrap=name not in shortened, overflow="ellipsis") for name in rows[0])
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for row in rows:
        cells = (Text(cell) if isinstance(cell, str) else cell for cell in row.values())
        table.add_row(*(_unbroken(cell) for cell in cells))
    return table


def _unbroken(cell: Text) -> Text:
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def _row(job: JobSummary, left_out: tuple[str, ...]) -> dict[str, str | Text]:
    cells: dict[str, str | Text] = {
        "job": job.id,
        "kind": job.kind,
        "state": state_of(job),
        "model": job.model or "",
        "progress": "/".join(map(str, _steps(job))),
        "asked by": str(job.requester_id) if job.requester_id else "operator",
        "server": str(job.guild_id or ""),
        "submitted": f"{_local(job.created_at):%m-%d %H:%M}",
        "took": _took(job),
    }
    return {name: cell for name, cell in cells.items() if name not in left_out}


def draw_detail(detail: JobDetail) -> RenderableType:
    """One job with its timeline."""
    job = detail.summary
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(detail).items():
        if value not in (None, "", {}):
            facts.add_row(Text(name, style="dim"), value if isinstance(value, Text) else str(value))
    parts: list[RenderableType] = [facts]
    if steps := _steps(job):
        bar = Table.grid(padding=(0, 2))
        done, total = steps
        bar.add_row(ProgressBar(total=total, completed=done, width=40), f"{done}/{total}")
        parts.append(bar)
    timeline = Table("time", "event", "figures", title="timeline", title_justify="left")
    for entry in detail.timeline:
        timeline.add_row(clock(entry.at), entry.type, figures(entry.data))
    return Group(*parts, timeline)


def _facts(detail: JobDetail) -> dict[str, Any]:
    job, place = detail.summary, detail.place
    return {
        "job": job.id,
        "kind": job.kind,
        "state": state_of(job),
        "model": job.model,
        "server": job.guild_id,
        "asked by": job.requester_id or "operator",
        "in the queue": f"{place.position} of {place.length}" if place else None,
        "expected start": _start(place) if place else None,
        "took": _took(job),
        "attempts": _attempts(detail),
        "worker": detail.worker_id,
        "error": f"{detail.error} ({job.error_code})" if job.error_code else None,
        "options": figures(detail.options),
        "result": figures(detail.result),
        "progress": figures(progress_of(job)),
    }


def _attempts(detail: JobDetail) -> str:
    """How often it was begun; nothing where it was not yet."""
    lost = f" (workers lost: {detail.crashes})" if detail.crashes else ""
    return f"{detail.attempts}{lost}" if detail.attempts else ""


def progress_of(job: JobSummary) -> dict[str, Any]:
    """What was heard of a job last; of one that has ended, not how long it still takes."""
    is_running = job.state is JobState.RUNNING
    return {k: v for k, v in job.progress.items() if is_running or k != "seconds_left"}


def _steps(job: JobSummary) -> tuple[int, int] | tuple[()]:
    """How many steps of how many a job has gone that has not ended; nothing where it goes none."""
    step, steps = job.progress.get("step", 0), job.progress.get("steps")
    if not isinstance(step, int) or not isinstance(steps, int) or steps < 1:
        return ()
    return () if job.state.is_final else (step, steps)


def state_of(job: JobSummary) -> Text:
    """How a job stands, in a word."""
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


def clock(seconds: float) -> str:
    """A time of day with its date, where this machine is."""
    return f"{_local(seconds):%Y-%m-%d %H:%M:%S}"


def _local(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def figures(data: dict[str, Any]) -> str:
    """The plain values of an object, one after the other; lists and such are for ``--json``."""
    plain = {k: v for k, v in data.items() if isinstance(v, str | int | float)}
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
    return ", ".join(shown)
