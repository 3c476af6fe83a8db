"""The job ledger: every change of a job's state, as functions over a sync ``Session``.

The caller owns the transaction. Each function is one or two statements, and each change is fenced
in SQL: it names the state it leaves and, once a job runs, the token it was claimed under. A change
that matches no row is the answer "not yours any more", never an overwrite.

States::

    submit ─▶ queued ─▶ running ─▶ succeeded | failed | cancelled
                 ▲          │
                 └──────────┘  release (a drain), reap (a crash)
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Job
from core.errors import CancelledJobError, LeaseLostError, NotFoundError, PerroquetError
from core.ids import new_id
from core.jobs.events import EventType, record
from core.jobs.states import FINAL_STATES, JobKind, JobState


@dataclass(frozen=True)
class NewJob:
    """What is to be done, and for whom. ``payload`` is JSON and holds ids, not secrets."""

    kind: JobKind
    requester_id: int
    payload: dict[str, Any]
    guild_id: int | None = None
    channel_id: int | None = None
    priority: int = 0


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, for as long as ``token`` is the row's token."""

    job_id: str
    token: int
    kind: JobKind
    crashes: int
    payload: dict[str, Any]
    guild_id: int | None
    channel_id: int | None
    requester_id: int


@dataclass(frozen=True)
class Renewal:
    """What the ledger says of a job that a worker holds."""

    job_id: str
    token: int
    cancel_requested: bool


def submit(session: Session, new: NewJob) -> Job:
    """Write a queued job; publish its hint once the transaction is committed."""
    job = Job(
        id=new_id(),
        kind=new.kind,
        state=JobState.QUEUED,
        requester_id=new.requester_id,
        payload=new.payload,
        guild_id=new.guild_id,
        channel_id=new.channel_id,
        priority=new.priority,
    )
    session.add(job)
    session.flush()
    record(session, job.id, EventType.SUBMITTED)
    return job


def claim(session: Session, job_id: str, worker_id: str, lease_seconds: float) -> Claim | None:
    """Take a queued job under a new token, or None where it is not there to be taken."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, Job.cancel_requested.is_(False))
        .values(
            state=JobState.RUNNING,
            token=Job.token + 1,
            worker_id=worker_id,
            lease_until=epoch_now() + lease_seconds,
            started_at=epoch_now(),
        )
        .returning(
            Job.token,
            Job.kind,
            Job.crashes,
            Job.payload,
            Job.guild_id,
            Job.channel_id,
            Job.requester_id,
        )
    ).one_or_none()
    if row is None:
        return None
    record(session, job_id, EventType.CLAIMED, worker=worker_id, token=row.token)
    return Claim(
        job_id,
        row.token,
        JobKind(row.kind),
        row.crashes,
        row.payload,
        row.guild_id,
        row.channel_id,
        row.requester_id,
    )


def renew(session: Session, worker_id: str, lease_seconds: float) -> list[Renewal]:
    """Lengthen every lease that ``worker_id`` still holds, in one statement.

    A job that the worker believes to hold and that is missing here, or bears another token, is
    lost to it.
    """
    rows = session.execute(
        update(Job)
        .where(Job.worker_id == worker_id, Job.state == JobState.RUNNING)
        .values(lease_until=epoch_now() + lease_seconds)
        .returning(Job.id, Job.token, Job.cancel_requested)
    )
    return [Renewal(row.id, row.token, row.cancel_requested) for row in rows]


def succeed(session: Session, held: Claim, result: dict[str, Any]) -> None:
    """End the job with its result.

    Raises:
        LeaseLostError: the job is no longer held under this token; the result is dropped.
        CancelledJobError: it is held, but its end was asked for first; confirm that instead.
    """
    _end(session, held, JobState.SUCCEEDED, Job.cancel_requested.is_(False), result=result)
    record(session, held.job_id, EventType.SUCCEEDED)


def fail(session: Session, held: Claim, error: PerroquetError) -> None:
    """End the job with what went wrong; its code is what the locales translate.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    _end(
        session,
        held,
        JobState.FAILED,
        error_code=error.code,
        error=str(error),
        result={"error_data": error.data},
    )
    record(session, held.job_id, EventType.FAILED, code=error.code)


def confirm_cancel(session: Session, held: Claim) -> None:
    """End a running job whose cancellation was asked for.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    _end(session, held, JobState.CANCELLED)
    record(session, held.job_id, EventType.CANCELLED)


def release(session: Session, held: Claim) -> None:
    """Give the job back unfinished; a drain is no crash. It is owed again at once.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    _change_held(
        session,
        held,
        state=JobState.QUEUED,
        worker_id=None,
        lease_until=None,
        dispatched_at=None,
    )
    record(session, held.job_id, EventType.RELEASED)


def request_cancel(session: Session, job_id: str, *guards: ColumnElement[bool]) -> JobState:
    """Cancel a job that waits, or ask the worker that runs it to stop.

    Args:
        session: an open transaction.
        job_id: the job.
        *guards: further conditions on the row, such as the asker's guild.

    Returns:
        The state after the request: CANCELLED, RUNNING (it will stop), or the final state it had.

    Raises:
        NotFoundError: no such job, or the guards exclude it.
    """
    cancelled = count_changed(
        session,
        update(Job)
        .where(Job.id == job_id, Job.state.in_((JobState.QUEUED, JobState.VALIDATING)), *guards)
        .values(state=JobState.CANCELLED, cancel_requested=True, finished_at=epoch_now()),
    )
    if cancelled:
        record(session, job_id, EventType.CANCELLED)
        return JobState.CANCELLED
    job = session.scalars(select(Job).where(Job.id == job_id, *guards)).one_or_none()
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.", job=job_id)
    if JobState(job.state) not in FINAL_STATES and not job.cancel_requested:
        job.cancel_requested = True
        record(session, job_id, EventType.CANCEL_REQUESTED)
    return JobState(job.state)


def _end(
    session: Session,
    held: Claim,
    state: JobState,
    *guards: ColumnElement[bool],
    **values: Any,
) -> None:
    _change_held(
        session,
        held,
        *guards,
        state=state,
        lease_until=None,
        finished_at=epoch_now(),
        **values,
    )


def _change_held(
    session: Session, held: Claim, *guards: ColumnElement[bool], **values: Any
) -> None:
    is_held = (Job.id == held.job_id) & (Job.token == held.token) & (Job.state == JobState.RUNNING)
    if count_changed(session, update(Job).where(is_held, *guards).values(**values)):
        return
    if guards and session.scalar(select(Job.id).where(is_held)) is not None:
        raise CancelledJobError(f"Job {held.job_id} was cancelled.", job=held.job_id)
    raise LeaseLostError(
        f"Job {held.job_id} is no longer held under token {held.token}.", job=held.job_id
    )
