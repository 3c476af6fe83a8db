"""Which jobs the transport owes a hint, and which leases have run out."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, case, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import run
from core.db.tables import Job
from core.jobs.events import EventType, past_claim, record
from core.jobs.states import JobKind, JobState, JobWish
from core.monitoring.tracing import TRACE

_MARK_DISPATCHED = (
    update(Job)
    .where(Job.id.in_(bindparam("sent", expanding=True)), Job.state == JobState.QUEUED)
    .values(dispatched_at=epoch_now())
)

# What lies further ahead than this was written before the database's clock went back.
_CLOCK_SECONDS = 2.0
ERROR_CODE_CRASHED = "job-crashed"


@dataclass(frozen=True)
class Hint:
    """What travels through Redis: which job, and in which queue. ``trace`` stays behind."""

    job_id: str
    kind: JobKind
    priority: int
    trace: str | None = None


@dataclass(frozen=True)
class Reaped:
    """Jobs whose worker fell silent: given back, failed for good, or cancelled as asked."""

    requeued: tuple[str, ...]
    failed: tuple[str, ...]
    cancelled: tuple[str, ...]


def never_sent(session: Session, *, grace_seconds: float, limit: int) -> list[Hint]:
    """Queued jobs whose hint was never sent, oldest first.

    Args:
        session: an open transaction.
        grace_seconds: how long the process that wrote a job is given to publish it itself.
        limit: how many at the most.
    """
    return _hints(
        session,
        limit,
        Job.dispatched_at.is_(None),
        or_(
            Job.token > 0,
            Job.created_at < epoch_now() - grace_seconds,
            Job.created_at > epoch_now() + _CLOCK_SECONDS,
        ),
    )


def sent_long_ago(session: Session, *, age_seconds: float, limit: int) -> list[Hint]:
    """Queued jobs whose hint was sent ``age_seconds`` ago and that nobody has claimed.

    What was sent later than now was sent before the database's clock went back, nobody knows when.
    """
    now = epoch_now()
    is_old = or_(Job.dispatched_at < now - age_seconds, Job.dispatched_at > now + _CLOCK_SECONDS)
    return _hints(session, limit, is_old)


def mark_dispatched(session: Session, job_ids: list[str]) -> None:
    """Note that the hints of these jobs went out now."""
    run(session, _MARK_DISPATCHED, sent=job_ids)


def reap(session: Session, *, max_crashes: int) -> Reaped:
    """End every lease that has run out: the job is owed again, or fails at ``max_crashes``."""
    is_spent = Job.crashes + 1 >= max_crashes
    state = case(
        (Job.cancel_requested, JobState.CANCELLED),
        (is_spent, JobState.FAILED),
        else_=JobState.QUEUED,
    )
    error = f"The worker was lost {max_crashes} times while it ran this job."
    fails = is_spent & Job.cancel_requested.is_(False)
    silent = Job.state == JobState.RUNNING, Job.lease_until < epoch_now()
    # The row forgets below who held it; the timeline does not.
    held = session.execute(select(Job.id, Job.token, Job.worker_id).where(*silent)).all()
    workers = {(row.id, row.token): row.worker_id for row in held}
    rows = session.execute(
        update(Job)
        .where(*silent)
        .values(
            state=state,
            crashes=Job.crashes + 1,
            lease_until=None,
            worker_id=None,
            dispatched_at=None,
            error_code=case((fails, ERROR_CODE_CRASHED), else_=None),
            error=case((fails, error), else_=None),
            finished_at=case((or_(is_spent, Job.cancel_requested), epoch_now()), else_=None),
        )
        .returning(Job.id, Job.state, Job.crashes, Job.token, Job.started_at)
    ).all()
    for row in rows:
        record(
            session,
            row.id,
            EventType.LEASE_EXPIRED,
            crashes=row.crashes,
            state=row.state,
            claim=past_claim(row.token, workers.get((row.id, row.token)), row.started_at),
        )
    by_state = {s: tuple(r.id for r in rows if r.state == s) for s in JobState}
    return Reaped(
        by_state[JobState.QUEUED], by_state[JobState.FAILED], by_state[JobState.CANCELLED]
    )


def shorten_leases(session: Session, lease_seconds: float) -> list[str]:
    """Bring leases back to their length after the database's clock went back.

    They would hold for as much longer as it went back, whatever became of their workers. One that
    is shortened holds for a whole lease from now, so that no living worker loses its job by it.

    Args:
        session: an open transaction.
        lease_seconds: the longest that any worker asks for.

    Returns:
        Whose leases they are.
    """
    return list(
        session.scalars(
            update(Job)
            .where(
                Job.state == JobState.RUNNING,
                Job.lease_until > epoch_now() + lease_seconds + _CLOCK_SECONDS,
            )
            .values(lease_until=epoch_now() + lease_seconds)
            .returning(Job.id)
        )
    )


def _hints(session: Session, limit: int, *conditions: ColumnElement[bool]) -> list[Hint]:
    rows = session.execute(
        select(Job.id, Job.kind, Job.priority, Job.payload[TRACE].as_string())
        .where(
            Job.state == JobState.QUEUED,
            Job.wish.is_distinct_from(JobWish.PAUSE),
            *conditions,
        )
        .order_by(Job.id)
        .limit(limit)
    )
    return [Hint(job_id, JobKind(kind), priority, trace) for job_id, kind, priority, trace in rows]
