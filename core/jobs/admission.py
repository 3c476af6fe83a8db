"""What becomes of a job that waits for its validation: ``validating`` is left exactly once.

A validating job has no worker and so no token; every change here names ``validating`` as the state
it leaves, and a change that matches no row is the answer "not any more".
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed, run
from core.db.tables import Job
from core.errors import JobNotFoundError
from core.jobs.states import JobState

_IS_VALIDATING = (Job.id == bindparam("job")) & (Job.state == JobState.VALIDATING)
_READ = select(Job.payload).where(_IS_VALIDATING)
_AMEND = (
    update(Job)
    .where(_IS_VALIDATING)
    .values(payload=bindparam("new_payload", type_=Job.payload.type))
)
_REFUSE = (
    update(Job)
    .where(_IS_VALIDATING)
    .values(
        state=JobState.FAILED,
        finished_at=epoch_now(),
        result=bindparam("new_result", type_=Job.result.type),
        error_code=bindparam("new_code"),
        error=bindparam("new_error"),
    )
)


def amend(session: Session, job_id: str, **additions: Any) -> bool:
    """Add to the payload of a validating job what its validation found.

    Returns:
        False where it is validating no more, and nothing was changed.
    """
    payload = run(session, _READ.with_for_update(), job=job_id).scalar_one_or_none()
    if payload is None:
        return False
    return count_changed(session, _AMEND, job=job_id, new_payload={**payload, **additions}) == 1


def admit(session: Session, job_id: str, *guards: ColumnElement[bool]) -> bool:
    """Put a validated job into its queue; publish its hint once the transaction is committed.

    Args:
        session: an open transaction.
        job_id: the job.
        *guards: further conditions on the row, such as the asker's guild.

    Returns:
        False where somebody did so before.

    Raises:
        JobNotFoundError: no such job, or the guards exclude it.
    """
    is_meant = (Job.id == job_id, *guards)
    changed = count_changed(
        session,
        update(Job)
        .where(*is_meant, Job.state == JobState.VALIDATING)
        .values(state=JobState.QUEUED, dispatched_at=None),
    )
    if changed:
        return True
    if session.scalar(select(Job.id).where(*is_meant)) is None:
        raise JobNotFoundError(job_id)
    return False


def refuse(session: Session, job_id: str, code: str, error: str, data: dict[str, Any]) -> bool:
    """End a validating job with what its validation found wrong.

    Args:
        session: an open transaction.
        job_id: the job.
        code: what the locales translate.
        error: the English sentence.
        data: what the sentence of ``code`` is filled with.

    Returns:
        False where it is validating no more.
    """
    return (
        count_changed(
            session,
            _REFUSE,
            job=job_id,
            new_result={"error_data": data},
            new_code=code,
            new_error=error,
        )
        == 1
    )
