"""From a hint to an ended job: claim, keep, work, write the end under the fence."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.db.tables import Job
from core.errors import CancelledJobError, LeaseLostError, PerroquetError
from core.jobs.ledger import Claim, claim, confirm_cancel, fail, release
from core.jobs.states import JobState
from workers.gate import IsolationGate
from workers.leases import DrainedError, HeldJob, LeaseKeeper

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5


class UnforeseenError(PerroquetError):
    """A defect in Perroquet or in a library; the log has the traceback."""

    code = "internal"


class JobRunner:
    """Runs the jobs of one worker process, many at a time from many threads.

    ``work`` ends a job that went well by itself, inside its own transaction; everything else that
    can become of it is decided here. ``ended`` is called once an end stands in SQL.
    """

    def __init__(
        self,
        engine: Engine,
        keeper: LeaseKeeper,
        *,
        isolate_after_crashes: int,
        work: Callable[[HeldJob], None],
        ended: Callable[[Claim], None],
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._gate = IsolationGate()
        self._isolate_after_crashes = isolate_after_crashes
        self._work = work
        self._ended = ended
        self._is_draining = False

    def run(self, job_id: str) -> None:
        """Do the job that a hint names, if it still waits. A second hint is a no-op.

        Raises:
            SQLAlchemyError: the database cannot be reached; the job stays owed.
        """
        crashes = self._crashes_of_queued(job_id)
        if crashes is None:
            return
        with self._gate.enter(alone=crashes >= self._isolate_after_crashes):
            if self._is_draining:
                return
            started = time.monotonic()
            with Session(self._engine) as session, session.begin():
                taken = claim(session, job_id, self._keeper.worker_id, self._keeper.lease_seconds)
            if taken is None:
                return
            with (
                structlog.contextvars.bound_contextvars(job_id=job_id, guild_id=taken.guild_id),
                self._keeper.keeping(taken, started) as held,
            ):
                self._perform(held)

    def drain(self) -> None:
        """Claim nothing any more."""
        self._is_draining = True

    def _crashes_of_queued(self, job_id: str) -> int | None:
        with Session(reading(self._engine)) as session:
            return session.scalar(
                select(Job.crashes).where(Job.id == job_id, Job.state == JobState.QUEUED)
            )

    def _perform(self, held: HeldJob) -> None:
        try:
            self._work(held)
        except LeaseLostError:
            log.warning("lease_lost", token=held.claim.token)
            return
        except CancelledJobError:
            self._write(held, lambda session: confirm_cancel(session, held.claim))
        except DrainedError:
            self._write(held, lambda session: release(session, held.claim))
            return
        except SQLAlchemyError as exc:
            # Without SQL nothing can be written; the lease runs out and the job is owed again.
            log.warning("job_left_to_reaper", error=type(exc).__name__)
            return
        except PerroquetError as exc:
            log.warning("job_failed", code=exc.code)
            self._fail(held, exc)
        except Exception as exc:
            # The one seam where a library's surprise becomes an error of ours.
            log.exception("job_failed_unforeseen")
            self._fail(held, UnforeseenError(f"{type(exc).__name__} in the worker."))
        self._ended(held.claim)

    def _fail(self, held: HeldJob, error: PerroquetError) -> None:
        self._write(held, lambda session: fail(session, held.claim, error))

    def _write(self, held: HeldJob, change: Callable[[Session], None]) -> None:
        """Write an end; while SQL is away, try again for as long as the lease surely holds."""
        try:
            write_within_lease(self._engine, held, change)
        except LeaseLostError:
            log.warning("lease_lost", token=held.claim.token)


def write_within_lease(engine: Engine, held: HeldJob, change: Callable[[Session], None]) -> None:
    """Run a fenced change in a transaction of its own, again and again while SQL is away.

    Raises:
        LeaseLostError: the lease ended first, or the fence refused the change.
        CancelledJobError: the change was a success and the job's end was asked for first.
    """
    while True:
        try:
            with Session(engine) as session, session.begin():
                change(session)
        except OperationalError as exc:
            if time.monotonic() > held.deadline:
                raise LeaseLostError("The database was away until the lease ended.") from exc
            time.sleep(_RETRY_SECONDS)
        else:
            return
