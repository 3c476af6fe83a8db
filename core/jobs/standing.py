"""Where a job stands that nothing was heard of yet."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Job
from core.jobs.forecast import count_slots
from core.jobs.queries import count_waiting
from core.jobs.states import JobKind, JobState


@dataclass(frozen=True)
class Standing:
    """A job that has not ended. ``ahead`` counts those of its kind, of all servers, that wait
    before it; ``is_attended`` says whether a worker of its kind is alive."""

    state: JobState
    ahead: int
    is_attended: bool


def find_standing(session: Session, job_id: str) -> Standing | None:
    """Where a job stands; None where it has ended or is forgotten."""
    row = session.execute(
        select(Job.id, Job.kind, Job.state, Job.priority).where(Job.id == job_id)
    ).one_or_none()
    if row is None or JobState(row.state).is_final:
        return None
    is_attended = count_slots(session, JobKind(row.kind)) > 0
    waits = row.state == JobState.QUEUED
    ahead = count_waiting(session, row)[0] if waits else 0
    return Standing(JobState(row.state), ahead, is_attended)
