"""Small steps over the ledger that the tests of workers share."""

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.tables import Job
from core.jobs.ledger import Claim, NewJob, claim, submit
from core.jobs.states import JobKind


def submit_job(engine: Engine, kind: JobKind = JobKind.GENERATE, **payload: object) -> str:
    """A queued job; returns its id."""
    with Session(engine) as session, session.begin():
        return submit(session, NewJob(kind=kind, requester_id=1, payload=payload))


def claim_job(engine: Engine, job_id: str, worker_id: str = "w", lease: float = 30) -> Claim:
    """Claim a queued job."""
    with Session(engine) as session, session.begin():
        taken = claim(session, job_id, worker_id, lease)
    assert taken is not None
    return taken


def read_job(engine: Engine, job_id: str) -> Job:
    """The row as it stands."""
    with Session(engine, expire_on_commit=False) as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job


def set_job(engine: Engine, job_id: str, **values: object) -> None:
    """Change a row behind the ledger's back."""
    with Session(engine) as session, session.begin():
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def expire_lease(engine: Engine, job_id: str) -> None:
    """Let a lease have run out a second ago."""
    set_job(engine, job_id, lease_until=epoch_now() - 1)
