"""From a hint to an ended job: claim, keep, work, write the end under the fence."""

import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.db.outage import is_away
from core.errors import CancelledJobError, LeaseLostError, PerroquetError
from core.jobs.ledger import Claim, claim, confirm_cancel, fail, is_set_apart, release
from core.monitoring.figures.jobs import JOB_SECONDS, JOBS, LEASES_LOST
from core.monitoring.tracing import TRACE, resume
from workers.gate import IsolationGate
from workers.leases import DrainedError, HeldJob, LeaseKeeper

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5


class UnforeseenError(PerroquetError):
    """A defect in Perroquet or in a library; the log has the traceback."""

    code = "internal"


class OutcomeUnknownError(LeaseLostError):
    """The database went away while it was told; what was written may stand there or may not."""


class JobRunner:
    """Runs the jobs of one worker process, many at a time from many threads.

    ``work`` ends a job that went well by itself, inside its own transaction; everything else that
    can become of it is decided here. ``ended`` is called once an end stands in SQL. ``brief``
    reads what the work needs to know in the transaction of the claim, for ``HeldJob.brief``; what
    it raises of ours is raised where the work would begin.
    """

    def __init__(
        self,
        desk: Desk,
        keeper: LeaseKeeper,
        *,
        isolate_after_crashes: int,
        work: Callable[[HeldJob], None],
        ended: Callable[[Claim], None],
        brief: Callable[[Session, Claim], Any] | None = None,
    ) -> None:
        self._desk = desk
        self._keeper = keeper
        self._gate = IsolationGate()
        self._isolate_after_crashes = isolate_after_crashes
        self._work = work
        self._ended = ended
        self._brief = brief
        self._is_draining = False

    def run(self, job_id: str) -> None:
        """Do the job that a hint names, if it still waits. A second hint is a no-op.

        A job that crashed its worker too often is left by the first claim to the second, which
        waits until it is alone; it holds no lease meanwhile.

        Raises:
            SQLAlchemyError: the database cannot be reached; the job stays owed.
        """
        limits = {"crashes_below": self._isolate_after_crashes}
        if not self._run_in_turn(job_id, alone=False, **limits) and self._is_set_apart(job_id):
            self._run_in_turn(job_id, alone=True)

    def drain(self) -> None:
        """Claim nothing any more."""
        self._is_draining = True

    def _run_in_turn(self, job_id: str, *, alone: bool, **limits: int) -> bool:
        """Claim and perform a job inside the gate; False where there was nothing to claim."""
        with self._gate.enter(alone=alone):
            if self._is_draining:
                return True
            started = time.monotonic()
            taken, brief = self._desk.hand_in(
                lambda session: self._claim(session, job_id, **limits)
            ).result()
            if taken is None:
                return False
            with (
                structlog.contextvars.bound_contextvars(job_id=job_id, guild_id=taken.guild_id),
                resume(
                    f"{taken.kind} job",
                    taken.payload.get(TRACE),
                    job_id=job_id,
                    guild_id=taken.guild_id,
                    token=taken.token,
                ),
                self._keeper.keeping(taken, started) as held,
            ):
                held.brief = brief
                outcome = self._perform(held)
            JOBS.labels(taken.kind, outcome).inc()
            JOB_SECONDS.labels(taken.kind).observe(time.monotonic() - started)
        return True

    def _claim(self, session: Session, job_id: str, **limits: int) -> tuple[Claim | None, Any]:
        """Claim and brief in one transaction; an error of ours must not take the claim back."""
        taken = claim(session, job_id, self._keeper.worker_id, self._keeper.lease_seconds, **limits)
        if taken is None or self._brief is None:
            return taken, None
        try:
            return taken, self._brief(session, taken)
        except PerroquetError as exc:
            return taken, exc

    def _is_set_apart(self, job_id: str) -> bool:
        return self._desk.hand_in(
            lambda session: is_set_apart(session, job_id, self._isolate_after_crashes)
        ).result()

    def _perform(self, held: HeldJob) -> str:
        """Work on a claimed job to whatever end; returns that end's name."""
        outcome = "succeeded"
        try:
            self._begin(held)
        except LeaseLostError:
            return self._lose(held)
        except CancelledJobError:
            outcome = self._write(
                held, lambda session: confirm_cancel(session, held.claim), "cancelled"
            )
        except DrainedError:
            return self._write(held, lambda session: release(session, held.claim), "released")
        except PerroquetError as exc:
            log.warning("job_failed", code=exc.code)
            outcome = self._fail(held, exc)
        except Exception as exc:
            if is_away(exc):
                # Without SQL nothing can be written; the lease runs out and the job is owed again.
                log.warning("job_left_to_reaper", error=type(exc).__name__)
                return "left"
            # The one seam where a library's surprise becomes an error of ours.
            log.exception("job_failed_unforeseen")
            outcome = self._fail(held, UnforeseenError(f"{type(exc).__name__} in the worker."))
        self._ended(held.claim)
        return outcome

    def _begin(self, held: HeldJob) -> None:
        if isinstance(held.brief, PerroquetError):
            raise held.brief
        self._work(held)

    def _fail(self, held: HeldJob, error: PerroquetError) -> str:
        return self._write(held, lambda session: fail(session, held.claim, error), "failed")

    def _write(self, held: HeldJob, change: Callable[[Session], None], outcome: str) -> str:
        """Write an end; while SQL is away, try again for as long as the lease surely holds."""
        try:
            write_within_lease(self._desk, held, change)
        except LeaseLostError:
            return self._lose(held)
        return outcome

    @staticmethod
    def _lose(held: HeldJob) -> str:
        log.warning("lease_lost", token=held.claim.token)
        LEASES_LOST.inc()
        return "lease_lost"


def write_within_lease(desk: Desk, held: HeldJob, change: Callable[[Session], Any]) -> None:
    """Run a fenced change in a transaction, again and again while SQL is away.

    Raises:
        OutcomeUnknownError: the lease ended while SQL was away, or the fence refused the change
            after a try that may have been committed.
        LeaseLostError: the fence refused the change; nothing was written.
        CancelledJobError: the change was a success and the job's end was asked for first; nothing
            was written.
    """
    is_unsure = False
    while True:
        try:
            desk.hand_in(change).result()
        except SQLAlchemyError as exc:
            if not is_away(exc):
                raise
            is_unsure = True
            if time.monotonic() > held.deadline:
                raise OutcomeUnknownError("The database was away until the lease ended.") from exc
            time.sleep(_RETRY_SECONDS)
        except PerroquetError as exc:
            if isinstance(exc, LeaseLostError):
                log.warning("write_fenced", token=held.claim.token)
            # Who is told of a cancellation still holds the job, so nothing was written before.
            if is_unsure and not isinstance(exc, CancelledJobError):
                raise OutcomeUnknownError("It is not known whether the end was written.") from exc
            raise
        else:
            return
