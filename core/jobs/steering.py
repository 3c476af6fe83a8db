"""Wishes of people about a job under way: pause, go on, end early and keep the best.

A wish stands in the job's row, so it holds whatever happens to the worker. A paused job goes back
to ``queued`` at its next checkpoint and is neither sent nor claimed until the wish is taken back.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from core.db.statements import count_changed, run
from core.db.tables import Job
from core.errors import JobNotFoundError
from core.jobs.events import EventType, record
from core.jobs.ledger import Claim
from core.jobs.states import JobState, JobWish

_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING)
_READ = select(Job.wish).where(Job.id == bindparam("job"), Job.token == bindparam("held_token"))


def pause(session: Session, job_id: str, *guards: ColumnElement[bool]) -> bool:
    """Have a job leave its worker at a checkpoint, or not begin.

    Args:
        session: an open transaction.
        job_id: the job.
        *guards: further conditions on the row, such as the asker's guild.

    Returns:
        False where it is not under way, or has a wish already.

    Raises:
        JobNotFoundError: no such job, or the guards exclude it.
    """
    return _change(
        session,
        job_id,
        guards,
        Job.wish.is_(None),
        EventType.PAUSE_REQUESTED,
        wish=JobWish.PAUSE,
    )


def resume(session: Session, job_id: str, *guards: ColumnElement[bool]) -> bool:
    """Take a pause back; publish the job's hint once the transaction is committed.

    Returns:
        False where it is not paused.

    Raises:
        JobNotFoundError: as :func:`pause`.
    """
    return _change(
        session,
        job_id,
        guards,
        Job.wish == JobWish.PAUSE,
        EventType.RESUMED,
        wish=None,
        dispatched_at=None,
    )


def stop_early(session: Session, job_id: str, *guards: ColumnElement[bool]) -> bool:
    """Have a job end with its best result so far; a paused one is run once more for that.

    Returns:
        False where it never ran, has ended, or is to stop already.

    Raises:
        JobNotFoundError: as :func:`pause`.
    """
    return _change(
        session,
        job_id,
        guards,
        Job.started_at.is_not(None) & Job.wish.is_distinct_from(JobWish.STOP),
        EventType.STOP_REQUESTED,
        wish=JobWish.STOP,
        dispatched_at=None,
    )


def read_wish(session: Session, held: Claim) -> JobWish | None:
    """What is wished of a claimed job; None also where another holds it by now."""
    found = run(session, _READ, job=held.job_id, held_token=held.token).scalar_one_or_none()
    return None if found is None else JobWish(found)


def _change(
    session: Session,
    job_id: str,
    guards: tuple[ColumnElement[bool], ...],
    condition: ColumnElement[bool],
    event: EventType,
    **values: Any,
) -> bool:
    is_meant = (Job.id == job_id, *guards)
    changed = count_changed(
        session,
        update(Job)
        .where(*is_meant, condition, Job.state.in_(_UNDER_WAY), Job.cancel_requested.is_(False))
        .values(**values),
    )
    if changed:
        record(session, job_id, event)
        return True
    if session.scalar(select(Job.id).where(*is_meant)) is None:
        raise JobNotFoundError(job_id)
    return False
