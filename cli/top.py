"""``perroquet top``: workers, queues and jobs of all hosts, on one live screen."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.job_drawing import JobList, draw_lines
from cli.wiring import open_installation, read_settings
from core.db.engines import reading
from core.jobs.finding import ALL_GUILDS, Filters
from core.jobs.presence import Presence, alive
from core.jobs.queries import JobSummary, QueueState, list_jobs, queue_states
from core.jobs.states import JobKind, JobState

_GIBIBYTE = 2**30
_SHOWN_JOBS = 12


@dataclass(frozen=True)
class Moment:
    """What is going on, over all hosts and servers. Of jobs, the fine-tunes that run come first,
    which answers would soon push out of the newest."""

    processes: tuple[Presence, ...]
    queues: tuple[QueueState, ...]
    jobs: tuple[JobSummary, ...]


def top(*, once: bool, as_json: bool, every_seconds: float) -> None:
    """Show the moment again and again until Ctrl-C; once where nobody looks.

    Raises:
        SQLAlchemyError: the database could not be reached at the start. Later on the screen says so
            and goes on.
    """
    with open_installation(read_settings()) as engine:
        moment = read_moment(engine)
        if as_json:
            sys.stdout.write(json.dumps(asdict(moment)) + "\n")
            return
        console = Console()
        if once or not console.is_terminal:
            console.print(draw(moment))
            return
        with Live(draw(moment), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every_seconds)
                live.update(_renewed(engine), refresh=True)


def read_moment(engine: Engine) -> Moment:
    """Ask SQL."""
    training = Filters(state=JobState.RUNNING, kind=JobKind.FINETUNE)
    with Session(reading(engine)) as session:
        processes = tuple(alive(session))
        queues = queue_states(session, ALL_GUILDS)
        first = list_jobs(session, ALL_GUILDS, training, limit=_SHOWN_JOBS).jobs
        newest = list_jobs(session, ALL_GUILDS, limit=_SHOWN_JOBS).jobs
    # By id, since a job may have moved on between the two questions.
    jobs = {job.id: job for job in (*first, *newest)}
    return Moment(processes, queues, tuple(jobs.values())[:_SHOWN_JOBS])


def draw(moment: Moment) -> Group:
    """The three tables, each under its name."""
    jobs = JobList(moment.jobs) if moment.jobs else Text("None so far.", style="dim")
    return Group(
        _title("Processes"),
        _draw_processes(moment.processes),
        _title("Queues"),
        _draw_queues(moment.queues),
        _title("Fine-tunes under way, and the newest jobs"),
        jobs,
    )


def _renewed(engine: Engine) -> Group | Text:
    try:
        return draw(read_moment(engine))
    except SQLAlchemyError as exc:
        return Text(f"The database does not answer ({type(exc).__name__}); trying on.", "red")


def _title(words: str) -> Text:
    return Text(f"\n{words}", style="bold")


def _draw_processes(processes: tuple[Presence, ...]) -> Table | Text:
    if not processes:
        return Text("None is alive; “perroquet up”, or “perroquet worker …” a host.", "yellow")
    return draw_lines([_process(process) for process in processes], shortened=("host", "device"))


def _process(process: Presence) -> dict[str, str | Text]:
    info = process.info
    return {
        "process": process.kind,
        "host": str(info.get("host", "")),
        "id": str(info.get("pid", "")),
        "device": str(info.get("device", "")),
        "memory": _memory(process),
        "models": _models(info["models"]) if "models" in info else "",
        "jobs": str(info.get("jobs", "")),
        "tokens/s": str(info.get("tokens_per_second", "")),
        "seen": f"{process.age_seconds:.0f} s",
    }


def _models(models: Mapping[str, Mapping[str, object]]) -> str:
    """How many are loaded, and what their weights are."""
    dtypes = sorted({str(facts["dtype"]) for facts in models.values() if facts.get("dtype")})
    return " ".join([str(len(models)), *dtypes])


def _memory(process: Presence) -> str:
    used, total = (process.info.get(f"memory_{part}_bytes") for part in ("used", "total"))
    if not isinstance(used, int) or not isinstance(total, int):
        return ""
    return f"{used / _GIBIBYTE:.1f}/{total / _GIBIBYTE:.1f} GiB"


def _draw_queues(queues: tuple[QueueState, ...]) -> Table:
    table = Table("kind", "waiting", "running", "longest wait")
    for queue in queues:
        wait = "" if queue.oldest_seconds is None else f"{max(0.0, queue.oldest_seconds):.0f} s"
        table.add_row(queue.kind, str(queue.queued), str(queue.running), wait)
    return table
