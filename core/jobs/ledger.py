"""The job ledger: every change of a job's state, as functions over a sync ``Session``.

The caller owns the transaction. Each function is one or two statements, and each change is fenced
in SQL: it names the state it leaves and, once a job runs, the token it was claimed under. A change
that matches no row is the answer "not yours any more", never an overwrite.

States::

    submit ─▶ queued ─▶ running ─▶ succeeded | failed | cancelled
                 ▲          │
                 └──────────┘  release (a drain), reap (a crash)

Once the end of a running job was asked for, each way out of ``running`` leads to ``cancelled``.
A fine-tune from Discord is submitted as ``validating``; :mod:`core.jobs.admission` leads from there
to ``queued``, or to its end.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Update, bindparam, case, insert, null, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed, run
from core.db.tables import Job
from core.errors import CancelledJobError, JobNotFoundError, LeaseLostError, PerroquetError
from core.ids import new_id
from core.jobs.events import EventType, past_claim, record
from core.jobs.states import FINAL_STATES, JobKind, JobState, JobWish
from core.monitoring.tracing import TRACE, carried


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
    """The right to work on a job, for as long as ``token`` is the row's token.

    ``worker_id`` took it at ``started_at``, in seconds since 1970 UTC by the database's clock.
    """

    job_id: str
    token: int
    kind: JobKind
    crashes: int
    payload: dict[str, Any]
    guild_id: int | None
    channel_id: int | None
    requester_id: int
    priority: int = 0
    worker_id: str = ""
    started_at: float = 0.0


@dataclass(frozen=True)
class Renewal:
    """What the ledger says of a job that a worker holds."""

    job_id: str
    token: int
    cancel_requested: bool


_IS_HELD = (
    (Job.id == bindparam("held_id"))
    & (Job.token == bindparam("held_token"))
    & (Job.state == JobState.RUNNING)
)


def _leave_running(
    state: ColumnElement[str] | JobState, *guards: ColumnElement[bool], **values: Any
) -> Update:
    """The fenced statement that takes a held job into another state."""
    return update(Job).where(_IS_HELD, *guards).values(state=state, lease_until=None, **values)


def _unless_cancelled(value: Any, otherwise: Any = None) -> ColumnElement[Any]:
    """A column's new value, or another one where the end of the job was asked for first."""
    return case((Job.cancel_requested, null() if otherwise is None else otherwise), else_=value)


_SUBMIT = insert(Job.__table__)  # type: ignore[arg-type]
_CLAIM = (
    update(Job)
    .where(
        Job.id == bindparam("job_id"),
        Job.state == JobState.QUEUED,
        Job.cancel_requested.is_(False),
        Job.wish.is_distinct_from(JobWish.PAUSE),
        Job.crashes < bindparam("crashes_below"),
    )
    .values(
        state=JobState.RUNNING,
        token=Job.token + 1,
        worker_id=bindparam("worker"),
        lease_until=epoch_now() + bindparam("lease_seconds"),
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
        Job.priority,
        Job.started_at,
    )
)
_RENEW = (
    update(Job)
    .where(
        Job.id.in_(bindparam("held", expanding=True)),
        Job.worker_id == bindparam("worker"),
        Job.state == JobState.RUNNING,
    )
    .values(lease_until=epoch_now() + bindparam("lease_seconds"))
    .returning(Job.id, Job.token, Job.cancel_requested)
)
_SUCCEED = _leave_running(
    JobState.SUCCEEDED,
    Job.cancel_requested.is_(False),
    finished_at=epoch_now(),
    result=bindparam("new_result", type_=Job.result.type),
)
_FAIL = _leave_running(
    _unless_cancelled(JobState.FAILED, JobState.CANCELLED),
    finished_at=epoch_now(),
    result=bindparam("new_result", type_=Job.result.type),
    error_code=_unless_cancelled(bindparam("new_code", type_=Job.error_code.type)),
    error=_unless_cancelled(bindparam("new_error", type_=Job.error.type)),
)
_REPORT_PROGRESS = (
    update(Job).where(_IS_HELD).values(result=bindparam("new_result", type_=Job.result.type))
)
_PROVE = update(Job).where(_IS_HELD).values(crashes=Job.crashes)
_PROVE_PROGRESS = update(Job).where(_IS_HELD).values(crashes=0)
_CONFIRM_CANCEL = _leave_running(JobState.CANCELLED, finished_at=epoch_now())
_RELEASE = _leave_running(
    _unless_cancelled(JobState.QUEUED, JobState.CANCELLED),
    worker_id=None,
    dispatched_at=None,
    finished_at=_unless_cancelled(null(), epoch_now()),
)
_SET_APART = select(Job.id).where(
    Job.id == bindparam("job_id"),
    Job.state == JobState.QUEUED,
    Job.crashes >= bindparam("crashes"),
)
_SELECT_HELD = select(Job.id).where(_IS_HELD)

_NO_LIMIT = 2**31 - 1


def submit(session: Session, new: NewJob, state: JobState = JobState.QUEUED) -> str:
    """Write a queued job; publish its hint once the transaction is committed.

    Args:
        session: an open transaction.
        new: the job.
        state: ``VALIDATING`` for a job that nobody may claim before it is admitted.

    Returns:
        The job's id.
    """
    job_id = new_id()
    trace = carried()
    run(
        session,
        _SUBMIT,
        id=job_id,
        kind=new.kind,
        state=state,
        requester_id=new.requester_id,
        payload=new.payload if trace is None else {**new.payload, TRACE: trace},
        guild_id=new.guild_id,
        channel_id=new.channel_id,
        priority=new.priority,
    )
    return job_id


def claim(
    session: Session,
    job_id: str,
    worker_id: str,
    lease_seconds: float,
    *,
    crashes_below: int = _NO_LIMIT,
) -> Claim | None:
    """Take a queued job under a new token.

    Args:
        session: an open transaction.
        job_id: the job.
        worker_id: who takes it; a name that no other process has or had.
        lease_seconds: for how long, unless renewed.
        crashes_below: leave a job with this many crashes or more to who runs it alone.

    Returns:
        The claim, or None where the job is not there to be taken.
    """
    row = run(
        session,
        _CLAIM,
        job_id=job_id,
        worker=worker_id,
        lease_seconds=lease_seconds,
        crashes_below=crashes_below,
    ).one_or_none()
    if row is None:
        return None
    return Claim(
        job_id,
        row.token,
        JobKind(row.kind),
        row.crashes,
        row.payload,
        row.guild_id,
        row.channel_id,
        row.requester_id,
        row.priority,
        worker_id,
        row.started_at,
    )


def is_set_apart(session: Session, job_id: str, crashes: int) -> bool:
    """Whether a job waits with at least so many crashes."""
    return run(session, _SET_APART, job_id=job_id, crashes=crashes).first() is not None


def renew(
    session: Session, worker_id: str, lease_seconds: float, job_ids: Collection[str]
) -> list[Renewal]:
    """Lengthen the leases of ``job_ids`` that ``worker_id`` still holds, in one statement.

    A job that the worker believes to hold and that is missing here, or bears another token, is
    lost to it. One that it has let go of without an end is not named, and runs out.
    """
    rows = run(session, _RENEW, worker=worker_id, lease_seconds=lease_seconds, held=list(job_ids))
    return [Renewal(row.id, row.token, row.cancel_requested) for row in rows]


def succeed(session: Session, held: Claim, result: dict[str, Any]) -> None:
    """End the job with its result.

    Raises:
        LeaseLostError: the job is no longer held under this token; the result is dropped.
        CancelledJobError: it is held, but its end was asked for first; confirm that instead.
    """
    if _change_held(session, held, _SUCCEED, new_result=result):
        return
    if run(session, _SELECT_HELD, **_fence(held)).first() is not None:
        raise CancelledJobError(f"Job {held.job_id} was cancelled.", job=held.job_id)
    raise _lost(held)


def report_progress(session: Session, held: Claim, progress: dict[str, Any]) -> None:
    """Say how far a running job is; the newest word replaces the one before.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    if not _change_held(session, held, _REPORT_PROGRESS, new_result={"progress": progress}):
        raise _lost(held)


def record_held(
    session: Session, held: Claim, event_type: str, *, is_progress: bool = False, **data: Any
) -> None:
    """Append to the timeline of a running job what its worker says.

    Args:
        session: an open transaction.
        held: the claim.
        event_type: what happened.
        is_progress: whether something was saved from which the next attempt goes on. A job that
            comes further with each attempt is not the reason that its workers are lost, so its
            crashes are forgotten.
        **data: JSON.

    Raises:
        LeaseLostError: the job is no longer held under this token; nothing is written.
    """
    if not _change_held(session, held, _PROVE_PROGRESS if is_progress else _PROVE):
        raise _lost(held)
    record(session, held.job_id, event_type, **data)


def fail(session: Session, held: Claim, error: PerroquetError) -> None:
    """End the job with what went wrong; its code is what the locales translate.

    Where its end was asked for first, it ends cancelled.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    changed = _change_held(
        session,
        held,
        _FAIL,
        new_result={"error_data": error.data},
        new_code=error.code,
        new_error=str(error),
    )
    if not changed:
        raise _lost(held)


def confirm_cancel(session: Session, held: Claim) -> None:
    """End a running job whose cancellation was asked for.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    if not _change_held(session, held, _CONFIRM_CANCEL):
        raise _lost(held)


def release(session: Session, held: Claim) -> None:
    """Give the job back unfinished; a drain is no crash. It is owed again at once.

    Where its end was asked for, it ends cancelled: queued, nobody might ever claim it.

    Raises:
        LeaseLostError: the job is no longer held under this token.
    """
    if not _change_held(session, held, _RELEASE):
        raise _lost(held)
    claim_data = past_claim(held.token, held.worker_id, held.started_at)
    record(session, held.job_id, EventType.RELEASED, token=held.token, claim=claim_data)


def request_cancel(session: Session, job_id: str, *guards: ColumnElement[bool]) -> JobState:
    """Cancel a job that waits, or ask the worker that runs it to stop.

    Args:
        session: an open transaction.
        job_id: the job.
        *guards: further conditions on the row, such as the asker's guild.

    Returns:
        The state after the request: CANCELLED, RUNNING (it will stop), or the final state it had.

    Raises:
        JobNotFoundError: no such job, or the guards exclude it.
    """
    is_meant = (Job.id == job_id, *guards)
    waits = Job.state.in_((JobState.QUEUED, JobState.VALIDATING))
    cancelled = (
        update(Job)
        .where(*is_meant, waits)
        .values(state=JobState.CANCELLED, cancel_requested=True, finished_at=epoch_now())
    )
    if count_changed(session, cancelled):
        return JobState.CANCELLED
    asked = (
        update(Job)
        .where(*is_meant, Job.state.not_in(FINAL_STATES), Job.cancel_requested.is_(False))
        .values(cancel_requested=True)
    )
    if count_changed(session, asked):
        record(session, job_id, EventType.CANCEL_REQUESTED)
    state = session.scalar(select(Job.state).where(*is_meant))
    if state is None:
        raise JobNotFoundError(job_id)
    return JobState(state)


def _change_held(session: Session, held: Claim, statement: Update, **parameters: Any) -> bool:
    return count_changed(session, statement, **_fence(held), **parameters) == 1


def _fence(held: Claim) -> dict[str, Any]:
    return {"held_id": held.job_id, "held_token": held.token}


def _lost(held: Claim) -> LeaseLostError:
    return LeaseLostError(
        f"Job {held.job_id} is no longer held under token {held.token}.", job=held.job_id
    )
