"""Holding leases: one heartbeat for all jobs of a process, and a clock that needs no database."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.errors import CancelledJobError, LeaseLostError, PerroquetError
from core.jobs.ledger import Claim, renew
from core.jobs.presence import announce, withdraw

log = structlog.get_logger(__name__)

# A worker counts its lease as over this much (of the lease) before the ledger does.
_SAFETY_SHARE = 0.1
_BEATS_PER_LEASE = 4


class DrainedError(PerroquetError):
    """The process is asked to end; the job goes back to the queue unharmed."""

    code = "drained"


class StopReason(StrEnum):
    """Why a job must stop before it is done."""

    LOST = "lost"
    CANCELLED = "cancelled"
    DRAINED = "drained"


_ERRORS: dict[StopReason, type[PerroquetError]] = {
    StopReason.LOST: LeaseLostError,
    StopReason.CANCELLED: CancelledJobError,
    StopReason.DRAINED: DrainedError,
}


class HeldJob:
    """A claimed job in the hands of this process. ``brief`` is what was read with the claim.

    The first reason to stop wins. ``check`` also looks at this process' own monotonic clock, so a
    frozen database cannot keep a job running past its lease.
    """

    def __init__(self, claim: Claim, deadline: float) -> None:
        self.claim = claim
        self.deadline = deadline
        self.brief: Any = None
        self._reason: StopReason | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def check(self) -> None:
        """Go on, or raise what ends the job.

        Raises:
            LeaseLostError: another worker may have the job by now.
            CancelledJobError: somebody asked for its end.
            DrainedError: this process is asked to end.
        """
        reason = self.stop_reason
        if reason is not None:
            raise _ERRORS[reason](f"Job {self.claim.job_id} stops: {reason}.")

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the job must stop, or None while it may go on."""
        if self._reason is None and time.monotonic() > self.deadline:
            self.stop(StopReason.LOST)
        return self._reason

    def stop(self, reason: StopReason) -> None:
        """Ask the job to stop; runs what was given to ``on_stop``."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, from any thread, when the job must stop."""
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return
        callback()


class LeaseKeeper:
    """Renews all leases of a process with one UPDATE each quarter lease, and says it is alive.

    An attempt at a job that was lost may still be on its way out while the same process has claimed
    the job anew; each attempt takes only its own lease away. Once all jobs were asked to stop, so
    is every job that is claimed later: its claim was on the way when the process began to end.
    """

    def __init__(self, engine: Engine, worker_id: str, kind: str, lease_seconds: float) -> None:
        self.worker_id = worker_id
        self.lease_seconds = lease_seconds
        self.info: dict[str, Any] = {}
        # What changes from beat to beat; called from the keeper's thread.
        self.observe: Callable[[], dict[str, Any]] = dict
        self._engine = engine
        self._kind = kind
        self._held: dict[str, HeldJob] = {}
        self._stopped_for: StopReason | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def close(self) -> None:
        """Stop beating and take the process' row away."""
        self._ended.set()
        self._thread.join(self.lease_seconds)
        try:
            with Session(self._engine) as session, session.begin():
                withdraw(session, self.worker_id)
        except SQLAlchemyError as exc:
            log.warning("withdraw_failed", error=type(exc).__name__)

    def deadline_from(self, started: float) -> float:
        """Until when, by ``time.monotonic``, a lease asked for at ``started`` surely holds."""
        return started + self.lease_seconds * (1 - _SAFETY_SHARE)

    @contextmanager
    def keeping(self, claim: Claim, started: float) -> Iterator[HeldJob]:
        """Renew the claim's lease for as long as the context lasts."""
        held = HeldJob(claim, self.deadline_from(started))
        with self._lock:
            self._held[claim.job_id] = held
            stopped_for = self._stopped_for
        if stopped_for is not None:
            held.stop(stopped_for)
        try:
            yield held
        finally:
            with self._lock:
                if self._held.get(claim.job_id) is held:
                    del self._held[claim.job_id]

    def stop_all(self, reason: StopReason) -> None:
        """Ask every job of the process to stop, those too whose claim is still on its way."""
        with self._lock:
            self._stopped_for = reason
        for held in self._snapshot():
            held.stop(reason)

    @property
    def count(self) -> int:
        """How many jobs the process holds."""
        return len(self._held)

    def _run(self) -> None:
        while True:
            try:
                self._beat()
            except SQLAlchemyError as exc:
                log.warning("heartbeat_failed", error=type(exc).__name__)
            except Exception:
                # Without a heartbeat every longer job would be lost; a supervisor starts us anew.
                log.exception("heartbeat_ended")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            for held in self._snapshot():
                if time.monotonic() > held.deadline:
                    held.stop(StopReason.LOST)
            if self._ended.wait(self.lease_seconds / _BEATS_PER_LEASE):
                return

    def _beat(self) -> None:
        held_before = self._snapshot()
        facts = {**self.info, **self._observed(), "jobs": len(held_before)}
        started = time.monotonic()
        with Session(self._engine) as session, session.begin():
            renewed = renew(
                session, self.worker_id, self.lease_seconds, [h.claim.job_id for h in held_before]
            )
            announce(session, self.worker_id, self._kind, facts)
        renewals = {renewal.job_id: renewal for renewal in renewed}
        for held in held_before:
            renewal = renewals.get(held.claim.job_id)
            if renewal is None or renewal.token != held.claim.token:
                held.stop(StopReason.LOST)
            elif renewal.cancel_requested:
                held.stop(StopReason.CANCELLED)
            else:
                held.deadline = self.deadline_from(started)

    def _observed(self) -> dict[str, Any]:
        try:
            return self.observe()
        except Exception as exc:  # noqa: BLE001 - whatever a device raises, its leases are still ours
            log.warning("observe_failed", error=type(exc).__name__)
            return {}

    def _snapshot(self) -> list[HeldJob]:
        with self._lock:
            return list(self._held.values())
