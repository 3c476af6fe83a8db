"""Between a trainer and the ledger: what it says goes in, what is wished of it comes out."""

import math
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.corpora.curves import CHECKPOINTED, EVALUATED, TRAIN_POINTS
from core.corpora.searches import TRIAL_ENDED, TRIAL_EVALUATED
from core.db.desk import Desk
from core.db.outage import is_away
from core.db.tables import Job
from core.jobs.ledger import record_held, report_progress
from core.jobs.states import JobWish
from core.jobs.steering import read_wish
from core.monitoring.figures.training import TRAINING_LOSS, TRAINING_SPEED, TRAINING_STEPS
from workers.finetuning.events import Event
from workers.finetuning.wishes import Wish
from workers.leases import HeldJob, StopReason
from workers.runner import write_within_lease

log = structlog.get_logger(__name__)

_WISHES = {StopReason.CANCELLED: Wish.CANCEL, StopReason.DRAINED: Wish.PAUSE}
_ASKED = {JobWish.PAUSE: Wish.PAUSE, JobWish.STOP: Wish.STOP}
_PROGRESS_SECONDS = 2.0
_WISH_SECONDS = 1.0
# What a job's timeline keeps; steps are progress and replace each other.
_RECORDED = {"started", EVALUATED, CHECKPOINTED, "shrunk"}
# From these the next attempt goes on, so that the crashes before them are forgotten.
_PROGRESS = {CHECKPOINTED, TRIAL_ENDED}
_OF_SAMPLES = ("samples", "sampled_step")
# Steps' losses kept between two events; more could not be told apart in a picture.
_MAX_POINTS = 40


class Reporter:
    """Writes what the trainer says into the ledger: events as events, steps as progress.

    The losses of the steps go with the next evaluation, or the next checkpoint where nothing is
    evaluated, so that a curve can be drawn from SQL at any time. The newest samples go with the
    progress.
    """

    def __init__(self, desk: Desk, held: HeldJob) -> None:
        self._desk = desk
        self._held = held
        self.has_begun = False
        self._reported_at = 0.0
        self._points: list[tuple[int, float]] = []
        # Those of an earlier attempt are shown until there are new ones.
        self._samples: dict[str, Any] | None = None

    def hear(self, event: Event) -> None:
        """Take one event in.

        Raises:
            LeaseLostError: the job is no longer held under this token.
        """
        name = event["event"]
        # Until the base is measured there is nothing that a checkpoint would keep.
        self.has_begun = self.has_begun or name != "measured"
        fields = {k: v for k, v in event.items() if k not in ("event", "time", "folder")}
        _show_figures(event)
        if name == "step":
            self._points.append((event["step"], event["loss"]))
            self._report_progress(fields)
        elif name == "measured":
            self._report_progress(fields)
        elif name == "sampled":
            self._samples = {"samples": event["samples"], "sampled_step": event["step"]}
        elif name in (EVALUATED, CHECKPOINTED) and self._points:
            fields[TRAIN_POINTS] = thinned(self._points)
            self._points = []
        if name in _RECORDED:
            self.record(name, **fields)

    def record(self, name: str, **fields: Any) -> None:
        """Append an event to the job's timeline and wait until it stands there.

        Raises:
            LeaseLostError: the job is no longer held under this token, or SQL was away for so long.
        """
        is_progress = name in _PROGRESS
        write_within_lease(
            self._desk,
            self._held,
            lambda session: record_held(
                session, self._held.claim, name, is_progress=is_progress, **fields
            ),
        )

    def _report_progress(self, fields: dict[str, Any]) -> None:
        if time.monotonic() - self._reported_at > _PROGRESS_SECONDS:
            self._reported_at = time.monotonic()
            if self._samples is None:
                self._samples = self._samples_before(fields.get("trial"))
            if self._samples is not None:
                self._tell({**fields, **self._samples})

    def _samples_before(self, trial: int | None) -> dict[str, Any] | None:
        """What the attempt before had shown, of the same trial where it is a search; None where
        SQL is away, so that progress without them does not replace them."""
        try:
            known = self._desk.hand_in(lambda session: _progress(session, self._held)).result()
        except SQLAlchemyError as exc:
            if not is_away(exc):
                raise
            return None
        is_same = known.get("trial") == trial
        return {name: known[name] for name in _OF_SAMPLES if is_same and name in known}

    def _tell(self, progress: dict[str, Any]) -> None:
        try:
            self._desk.hand_in(
                lambda session: report_progress(session, self._held.claim, progress)
            ).result()
        except SQLAlchemyError as exc:
            if not is_away(exc):
                raise
            # The next word replaces this one; the lease says how long SQL may be away.
            log.warning("progress_not_told", error=type(exc).__name__)


class TrialReporter(Reporter):
    """The same for one trial of a search, whose curve is not to be mixed with the others'.

    Args:
        desk, held: as for a single run.
        number: of the trial, from 0.
        trials: of the search.
        evaluated: hears the step and the loss of each evaluation.
    """

    def __init__(
        self,
        desk: Desk,
        held: HeldJob,
        number: int,
        trials: int,
        evaluated: Callable[[int, float], None],
    ) -> None:
        super().__init__(desk, held)
        self._number = number
        self._trials = trials
        self._evaluated = evaluated

    def hear(self, event: Event) -> None:
        """Take one event in; see :class:`Reporter`."""
        name = event["event"]
        if name in ("step", "measured"):
            super().hear({**event, "trial": self._number + 1, "trials": self._trials})
        elif name == "sampled":
            super().hear(event)
        elif name == CHECKPOINTED:
            self.record(CHECKPOINTED, number=self._number, step=event["step"])
        elif name == EVALUATED:
            _show_figures(event)
            step, loss = event["step"], event["loss"]
            self.record(TRIAL_EVALUATED, number=self._number, step=step, loss=loss)
            if loss is not None:
                self._evaluated(step, loss)


class Wanted:
    """What is wanted of the trainer: the process' reasons to stop, then the wishes of people.

    Args:
        desk: for the ledger.
        held: the job.
        drain_seconds: how long a drained run may take to write its checkpoint.
        has_begun: whether there is anything to put into one yet.
    """

    def __init__(
        self,
        desk: Desk,
        held: HeldJob,
        drain_seconds: float = 15.0,
        has_begun: Callable[[], bool] = lambda: True,
    ) -> None:
        self._desk = desk
        self._held = held
        self._drain_seconds = drain_seconds
        self._has_begun = has_begun
        self._drained_at: float | None = None
        self._asked: JobWish | None = None
        self._read_at = float("-inf")

    @property
    def asked(self) -> JobWish | None:
        """What somebody wished for, as it was read last."""
        return self._asked

    def now(self) -> Wish | None:
        """What to ask of the trainer.

        Raises:
            LeaseLostError: the job is another's by now; the trainer is killed.
            DrainedError: the process must end now; the trainer is killed, and the next one goes on
                from the newest checkpoint.
        """
        reason = self._held.stop_reason
        if reason is StopReason.LOST or (reason is StopReason.DRAINED and self._is_drain_over()):
            self._held.check()
        if reason is not None:
            return _WISHES[reason]
        if time.monotonic() - self._read_at > _WISH_SECONDS:
            self._read_at = time.monotonic()
            self._read()
        return _ASKED[self._asked] if self._asked else None

    def _is_drain_over(self) -> bool:
        if self._drained_at is None:
            self._drained_at = time.monotonic()
        is_late = time.monotonic() - self._drained_at > self._drain_seconds
        return is_late or not self._has_begun()

    def _read(self) -> None:
        try:
            self._asked = self._desk.hand_in(
                lambda session: read_wish(session, self._held.claim)
            ).result()
        except SQLAlchemyError as exc:
            # While SQL is away nobody can wish for anything; the lease says how long that may be.
            log.warning("wish_not_read", error=type(exc).__name__)


def _progress(session: Session, held: HeldJob) -> dict[str, Any]:
    result = session.scalar(select(Job.result).where(Job.id == held.claim.job_id))
    found: dict[str, Any] = (result or {}).get("progress", {})
    return found


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points, evenly chosen, the last one among them."""
    if len(points) <= _MAX_POINTS:
        return points
    stride = len(points) / _MAX_POINTS
    return [points[round((number + 1) * stride) - 1] for number in range(_MAX_POINTS)]


def _show_figures(event: Event) -> None:
    """Expose what the run says, for monitoring."""
    if event["event"] == "step":
        TRAINING_STEPS.inc()
        TRAINING_LOSS.labels("train").set(event["loss"] or math.nan)
        TRAINING_SPEED.set(event["tokens_per_second"] or 0)
    elif event["event"] == EVALUATED:
        TRAINING_LOSS.labels("validation").set(event["loss"] or math.nan)
