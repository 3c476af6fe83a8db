"""What people ask of the job ledger: lists, one job in full, counts, the state of the queues.

Whose jobs may be seen is part of every question (:mod:`core.jobs.finding`). What crosses
the wall of a guild is a job's place in its queue and the time until its turn: numbers, which name
nobody.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.db.clock import epoch_now
from core.db.tables import Job, JobEvent, Model, Version
from core.errors import JobNotFoundError
from core.jobs.finding import COLUMNS, Filters, Scope, plan_page, visible_models, within
from core.jobs.forecast import expected_wait
from core.jobs.states import JobKind, JobState, JobWish

# Words of conversations never leave the answer they belong to, nor do the tokens that they are.
_WORDS = ("text", "logprobs")


@dataclass(frozen=True)
class JobSummary:
    """A job as a list shows it. Times are seconds since 1970 UTC by the database's clock.

    ``progress`` is the newest word of a running job; empty before its first. A paused job is
    queued, but no worker takes it.
    """

    id: str
    kind: JobKind
    state: JobState
    guild_id: int | None
    channel_id: int | None
    requester_id: int
    model: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    error_code: str | None
    cancel_requested: bool
    is_paused: bool = False
    progress: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Jobs, the newest first. ``next_before`` leads to the page after; None at the end.

    A page of one model's jobs may be short, and even empty, with more of them on the pages after.
    """

    jobs: tuple[JobSummary, ...]
    next_before: str | None


@dataclass(frozen=True)
class TimelineEntry:
    """Something that happened to a job: ``type`` and its figures, at a time."""

    at: float
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class QueuePlace:
    """Where a waiting job stands: 1 is next. ``length`` counts all that wait for its workers.

    ``starts_in_seconds`` is a guess (:mod:`core.jobs.forecast`); None where there is nothing to
    guess by.
    """

    position: int
    length: int
    starts_in_seconds: float | None = None


@dataclass(frozen=True)
class JobDetail:
    """Everything that is known of a job, but for the words of conversations.

    Attributes:
        summary: as in a list.
        timeline: submission, every event, every claim and the end, in order.
        place: in the queue, while it waits there.
        attempts: how often a worker took it.
        crashes: how often one fell silent over it.
        worker_id: who has or had it last.
        error: the English sentence of what went wrong.
        error_data: what the sentence of ``error_code`` is filled with.
        result: figures of a job that succeeded.
        options: what was asked for.
    """

    summary: JobSummary
    timeline: tuple[TimelineEntry, ...]
    place: QueuePlace | None
    attempts: int
    crashes: int
    worker_id: str | None
    error: str | None
    error_data: dict[str, Any]
    result: dict[str, Any]
    options: dict[str, Any]


@dataclass(frozen=True)
class QueueState:
    """The waiting and running jobs of a kind; ``oldest_seconds`` is the longest wait so far."""

    kind: JobKind
    queued: int
    running: int
    oldest_seconds: float | None


def list_jobs(
    session: Session,
    scope: Scope,
    filters: Filters | None = None,
    *,
    limit: int = 10,
    before: str | None = None,
) -> Page:
    """A page of jobs, the newest first.

    Args:
        session: an open transaction.
        scope: whose jobs.
        filters: which of them.
        limit: how many to a page.
        before: the ``next_before`` of the page before this one.
    """
    search = plan_page(session, scope, filters or Filters(), limit + 1, before)
    rows = [] if search.query is None else list(session.execute(search.query))
    names = _model_names(session, scope, rows[:limit])
    jobs = tuple(_summary(row, names) for row in rows[:limit])
    return Page(jobs, jobs[-1].id if len(rows) > limit else search.floor)


def show_job(session: Session, scope: Scope, job_id: str) -> JobDetail:
    """One job in full.

    Raises:
        JobNotFoundError: no such job, or it is another guild's.
    """
    row = session.execute(
        select(*COLUMNS, *_MORE_COLUMNS).where(Job.id == job_id, *within(scope))
    ).one_or_none()
    if row is None:
        raise JobNotFoundError(job_id)
    summary = _summary(row, _model_names(session, scope, [row]))
    result = row.result or {}
    hidden = (*_WORDS, "progress", "error_data")
    return JobDetail(
        summary,
        _timeline(session, scope, row),
        _place(session, row),
        row.token,
        row.crashes,
        row.worker_id,
        row.error,
        result.get("error_data") or {},
        {key: value for key, value in result.items() if key not in hidden},
        (row.payload or {}).get("options") or {},
    )


def count_states(session: Session, scope: Scope) -> dict[JobState, int]:
    """How many jobs are in each state; states without any are zero."""
    rows = session.execute(
        select(Job.state, func.count()).where(*within(scope)).group_by(Job.state)
    )
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {state: found.get(state, 0) for state in JobState}


def queue_states(session: Session, scope: Scope) -> tuple[QueueState, ...]:
    """What waits and runs, by kind."""
    open_states = (JobState.QUEUED, JobState.RUNNING)
    rows = session.execute(
        select(Job.kind, Job.state, func.count(), epoch_now() - func.min(Job.created_at))
        .where(*within(scope), Job.state.in_(open_states))
        .group_by(Job.kind, Job.state)
    )
    found = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    states = []
    for kind in JobKind:
        queued, oldest_seconds = found.get((kind, JobState.QUEUED), (0, None))
        running, _ = found.get((kind, JobState.RUNNING), (0, None))
        states.append(QueueState(kind, queued, running, oldest_seconds))
    return tuple(states)


def models_at(session: Session, scope: Scope, paths: Collection[str]) -> dict[str, str]:
    """The names of the models whose versions lie at these paths of the store, by path; those that
    the scope may not see are left out."""
    return _names_by(session, scope, Version.store_path, paths)


_MORE_COLUMNS = (Job.token, Job.crashes, Job.worker_id, Job.error, Job.priority)


def _model_names(session: Session, scope: Scope, rows: list[Any]) -> dict[str, str]:
    """The names of the models that answered, by version."""
    ids = {version_id for row in rows if (version_id := _version_of(row))}
    return _names_by(session, scope, Version.id, ids)


def _version_of(row: Any) -> str:
    """The version that answered, or else the one that was to answer."""
    answered: str | None = (row.result or {}).get("version_id")
    return answered or (row.payload or {}).get("version_id") or ""


def _names_by(
    session: Session, scope: Scope, column: InstrumentedAttribute[str], values: Collection[str]
) -> dict[str, str]:
    if not values:
        return {}
    found = session.execute(
        select(column, Model.name)
        .join(Model, Model.id == Version.model_id)
        .where(column.in_(values), *visible_models(scope))
    )
    return {row[0]: row[1] for row in found}


def _summary(row: Any, names: dict[str, str]) -> JobSummary:
    payload = row.payload or {}
    return JobSummary(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        guild_id=row.guild_id,
        channel_id=row.channel_id,
        requester_id=row.requester_id,
        model=payload.get("model") or names.get(_version_of(row)),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        cancel_requested=row.cancel_requested,
        is_paused=row.state == JobState.QUEUED and row.wish == JobWish.PAUSE,
        progress=(row.result or {}).get("progress") or {},
    )


def _timeline(session: Session, scope: Scope, row: Any) -> tuple[TimelineEntry, ...]:
    """The events with the claims that they ended, and what the row itself tells: submission,
    newest claim, end."""
    events = session.execute(
        select(JobEvent.at, JobEvent.type, JobEvent.data)
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.job_id == row.id, *within(scope))
        .order_by(JobEvent.id)
    )
    entries = [TimelineEntry(row.created_at, "submitted", {})]
    told, begins = 0, 1
    for event in events:
        data = dict(event.data or {})
        if past := data.pop("claim", None):
            entries.insert(begins, _claimed(past["at"], past["attempt"], past["worker"]))
            told = past["attempt"]
        entries.append(TimelineEntry(event.at, event.type, data))
        begins = len(entries) if past else begins
    if row.started_at is not None and row.token > told:
        entries.insert(begins, _claimed(row.started_at, row.token, row.worker_id))
    if row.finished_at is not None:
        entries.append(TimelineEntry(row.finished_at, row.state, {}))
    return tuple(sorted(entries, key=lambda entry: entry.at))


def _claimed(at: float, attempt: int, worker_id: str | None) -> TimelineEntry:
    return TimelineEntry(at, "claimed", {"attempt": attempt, "worker": worker_id})


def _place(session: Session, row: Any) -> QueuePlace | None:
    """How many wait before a job; low priorities go first, then the older."""
    if row.state != JobState.QUEUED or row.wish == JobWish.PAUSE:
        return None
    ahead, length = count_waiting(session, row)
    return QueuePlace(ahead + 1, length, expected_wait(session, JobKind(row.kind), ahead))


def count_waiting(session: Session, row: Any) -> tuple[int, int]:
    """How many wait before a job, and how many for its workers in all; of ``row`` are read its
    ``id``, ``kind`` and ``priority``."""
    is_ahead = or_(Job.priority < row.priority, and_(Job.priority == row.priority, Job.id < row.id))
    ahead, length = session.execute(
        select(func.count().filter(is_ahead), func.count()).where(
            Job.state == JobState.QUEUED,
            Job.kind == row.kind,
            Job.wish.is_distinct_from(JobWish.PAUSE),
        )
    ).one()
    return ahead, length
