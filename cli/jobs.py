"""``perroquet jobs``: the same questions to the ledger as ``/jobs`` in Discord, for every guild."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cli.job_drawing import JobList, draw_detail
from cli.job_lines import JobLines
from cli.patience import patiently
from cli.wiring import open_installation, read_settings
from core.corpora.uploads import Uploads
from core.db.engines import reading
from core.errors import PerroquetError
from core.jobs.finding import ALL_GUILDS, Filters, Scope
from core.jobs.queries import JobDetail, Page, list_jobs, show_job
from core.jobs.since import parse_since
from core.jobs.states import JobKind, JobState
from core.steering.actions import cancel_job, retry_job

_OPERATOR = 0
_POLL_SECONDS = 1.0

jobs_app = typer.Typer(
    no_args_is_help=True, help="List, show, watch, cancel and retry jobs of every server."
)

_Job = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
_Guild = Annotated[int | None, typer.Option(help="Only of the Discord server with this id.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class JobEndedBadlyError(PerroquetError):
    """A watched job failed or was cancelled; the message says which and why."""

    code = "job-ended-badly"


@jobs_app.command("list")
def list_command(
    state: Annotated[JobState | None, typer.Option(help="Only in this state.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only of this kind.")] = None,
    member: Annotated[int | None, typer.Option(help="Only what this Discord user asked.")] = None,
    model: Annotated[str | None, typer.Option(help="Only what this model did or became.")] = None,
    since: Annotated[str | None, typer.Option(help="30m, 24h, 7d or 2026-11-23.")] = None,
    guild: _Guild = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only jobs older than this one.")] = None,
    as_json: _Json = False,
) -> None:
    """List jobs, the newest first."""
    filters = Filters(
        state, kind, member, model, parse_since(since, time.time()) if since else None
    )
    with open_installation(read_settings()) as engine, Session(reading(engine)) as session:
        page = _gather(session, _scope(guild), filters, limit, before)
    if as_json:
        _print_json({"jobs": [asdict(job) for job in page.jobs], "next_before": page.next_before})
        return
    console = Console()
    console.print(JobList(page.jobs) if page.jobs else "There are no such jobs.")
    if page.next_before:
        console.print(f"Older ones: --before {page.next_before}", style="dim")


@jobs_app.command()
def show(job: _Job, guild: _Guild = None, as_json: _Json = False) -> None:
    """Show one job with its timeline. Exit code 1 where there is none of this id."""
    with open_installation(read_settings()) as engine:
        detail = _read(engine, _scope(guild), job)
    if as_json:
        _print_json(asdict(detail))
    else:
        Console().print(draw_detail(detail))


@jobs_app.command()
def watch(job: _Job, guild: _Guild = None, as_json: _Json = False) -> None:
    """Follow one job to its end; with --json a line for each change, in a pipe one now and then.

    Exit code 0 where it succeeds, 1 where it fails or is cancelled.
    """
    with open_installation(read_settings()) as engine:
        changes = _follow(engine, _scope(guild), job)
        detail = _print_changes(changes) if as_json else _show_changes(changes)
    if detail.summary.state is not JobState.SUCCEEDED:
        reason = detail.error or f"The job was {detail.summary.state}."
        raise JobEndedBadlyError(reason, job=job)


@jobs_app.command()
def cancel(job: _Job, guild: _Guild = None, as_json: _Json = False) -> None:
    """Cancel a job that waits, or ask the worker that runs it to stop.

    Exit code 0 where it is cancelled or will stop, 1 where it had ended before.
    """
    settings = read_settings()
    with open_installation(settings) as engine, Session(engine) as session, session.begin():
        done = cancel_job(session, _scope(guild), job)
    if done.corpus_id is not None:
        Uploads(settings.store_url).remove(done.corpus_id)
    if as_json:
        _print_json({"job": job, "state": done.state})
    elif done.state is JobState.CANCELLED:
        Console().print("The job is cancelled.")
    elif done.state is JobState.RUNNING:
        Console().print("Its worker is asked to stop.")
    if done.state in (JobState.SUCCEEDED, JobState.FAILED):
        raise JobEndedBadlyError(f"The job had {done.state} before.", job=job)


@jobs_app.command()
def retry(job: _Job, guild: _Guild = None, as_json: _Json = False) -> None:
    """Submit a failed or cancelled job again; prints the id of the new one.

    Exit code 1 where it cannot be tried again.
    """
    with open_installation(read_settings()) as engine, Session(engine) as session, session.begin():
        # The relay sends the hint, so this works while nothing else runs.
        hint = retry_job(session, _scope(guild), job, asked_by=_OPERATOR)
    if as_json:
        _print_json({"job": job, "retried_as": hint.job_id})
    else:
        sys.stdout.write(hint.job_id + "\n")


def _scope(guild: int | None) -> Scope:
    return ALL_GUILDS if guild is None else guild


def _gather(
    session: Session, scope: Scope, filters: Filters, limit: int, before: str | None
) -> Page:
    """So many jobs, however far back they are: nobody waits for a shell within a second."""
    page = list_jobs(session, scope, filters, limit=limit, before=before)
    while page.next_before and len(page.jobs) < limit:
        more = list_jobs(
            session, scope, filters, limit=limit - len(page.jobs), before=page.next_before
        )
        page = Page(page.jobs + more.jobs, more.next_before)
    return page


def _read(engine: Engine, scope: Scope, job_id: str) -> JobDetail:
    with Session(reading(engine)) as session:
        return show_job(session, scope, job_id)


def _follow(engine: Engine, scope: Scope, job_id: str) -> Iterator[JobDetail]:
    """The job each time that it changed, until its end. A database that is away from the beginning
    is said; one that goes away later is waited for."""
    shown = _read(engine, scope, job_id)
    yield shown
    while not shown.summary.state.is_final:
        time.sleep(_POLL_SECONDS)
        detail = patiently(lambda: _read(engine, scope, job_id), _POLL_SECONDS)
        if detail != shown:
            yield detail
        shown = detail


def _print_changes(changes: Iterator[JobDetail]) -> JobDetail:
    for detail in changes:
        sys.stdout.write(json.dumps(asdict(detail)) + "\n")
        sys.stdout.flush()
    return detail


def _show_changes(changes: Iterator[JobDetail]) -> JobDetail:
    """A live screen; in a pipe or a log lines, and its last state as a whole."""
    console = Console()
    if not console.is_terminal:
        return _tell_changes(console, changes)
    with Live(console=console, auto_refresh=False) as live:
        for detail in changes:
            live.update(draw_detail(detail), refresh=True)
    return detail


def _tell_changes(console: Console, changes: Iterator[JobDetail]) -> JobDetail:
    lines = JobLines()
    for detail in changes:
        for line in lines.tell(detail, time.time()):
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    console.print(draw_detail(detail))
    return detail


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
