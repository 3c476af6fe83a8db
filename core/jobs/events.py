"""What happened to a job, as rows written in the transaction that made it happen."""

from enum import StrEnum
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.db.tables import JobEvent


class EventType(StrEnum):
    """The events that the ledger itself writes; a worker may add types of its own."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    RELEASED = "released"
    LEASE_EXPIRED = "lease_expired"
    CANCEL_REQUESTED = "cancel_requested"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def record(session: Session, job_id: str, event_type: str, **data: Any) -> None:
    """Append an event. ``data`` is JSON and holds no text of members."""
    session.execute(insert(JobEvent).values(job_id=job_id, type=event_type, data=data))
