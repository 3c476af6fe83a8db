"""What happened to a job that its row cannot tell, in the transaction that made it happen.

Submission, the newest claim and the end are columns of the job. Who held it before is told by the
event that ended a claim, so that the first one costs the message path no statement more.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.db.statements import run
from core.db.tables import JobEvent

_INSERT = insert(JobEvent.__table__)  # type: ignore[arg-type]


class EventType(StrEnum):
    """The events that the ledger itself writes; a worker may add types of its own."""

    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    CANCEL_REQUESTED = "cancel_requested"
    PAUSE_REQUESTED = "pause_requested"
    STOP_REQUESTED = "stop_requested"
    RESUMED = "resumed"


def record(session: Session, job_id: str, event_type: str, **data: Any) -> None:
    """Append an event. ``data`` is JSON and holds no text of members."""
    run(session, _INSERT, job_id=job_id, type=event_type, data=data)


def past_claim(attempt: int, worker_id: str | None, at: float | None) -> dict[str, Any]:
    """The claim that an event ended, as its data keep it: the row forgets who held the job."""
    return {"attempt": attempt, "worker": worker_id, "at": at}
