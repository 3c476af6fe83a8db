"""The work of a ``finetune`` job: fetch, train in a child process, publish under the fence."""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from core.conversations.answers import Weights, find_weights
from core.corpora.curves import EVALUATED, TRAIN_POINTS
from core.db.desk import Desk
from core.errors import CancelledJobError, LeaseLostError, NotFoundError, PerroquetError
from core.jobs.events import record
from core.jobs.ledger import report_progress, succeed
from core.jobs.states import JobWish
from core.jobs.steering import read_wish
from core.monitoring.figures import TRAINING_LOSS, TRAINING_SPEED, TRAINING_STEPS
from core.settings import FinetuningSettings
from models_store.store import ModelStore, Publication
from workers.finetuning.events import Event
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import Outcome, TrainerProcess
from workers.finetuning.wishes import Wish
from workers.leases import DrainedError, HeldJob, StopReason
from workers.runner import write_within_lease

log = structlog.get_logger(__name__)

_WISHES = {StopReason.CANCELLED: Wish.CANCEL, StopReason.DRAINED: Wish.PAUSE}
_ASKED = {JobWish.PAUSE: Wish.PAUSE, JobWish.STOP: Wish.STOP}
_PROGRESS_SECONDS = 2.0
_WISH_SECONDS = 1.0
# What a job's timeline keeps; steps are progress and replace each other.
_RECORDED = {"started", EVALUATED, "checkpointed", "shrunk"}
# Steps' losses kept between two evaluations; more could not be told apart in a picture.
_MAX_POINTS = 40


class TrainingFailedError(PerroquetError):
    """The trainer ended without a model. ``code`` is the trainer's own where it has one."""

    code = "training-failed"


class Finetuner:
    """Runs claimed ``finetune`` jobs, one at a time in a child process each.

    The run folder outlives the process: a job that is claimed again on the same host goes on from
    its newest checkpoint.
    """

    def __init__(
        self,
        desk: Desk,
        store: ModelStore,
        runs_dir: Path,
        settings: FinetuningSettings,
        persona: str,
    ) -> None:
        """Args:
        desk: for the ledger.
        store: where bases and corpora are and versions go.
        runs_dir: a folder of this host.
        settings: bounds and device.
        persona: what the bot is told of itself when it answers, so that models learn under it.
        """
        self._desk = desk
        self._store = store
        self._runs_dir = runs_dir
        self._settings = settings
        self._persona = persona

    def finetune(self, held: HeldJob) -> None:
        """Train and publish one version.

        Raises:
            TrainingFailedError: the trainer said why it could not go on.
            StoreError: corpus or base cannot be fetched, or the result not be published.
            LeaseLostError, CancelledJobError, DrainedError: the job must stop.
        """
        run_dir = self._runs_dir / held.claim.job_id
        spec = self._prepare(held, run_dir)
        reporter = _Reporter(self._desk, held)
        trainer = TrainerProcess(run_dir, reporter.hear)
        try:
            outcome = trainer.run(_Wanted(self._desk, held).now)
            self._check(held, outcome)
        except CancelledJobError:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
        finally:
            # The speed of a run that has ended would be read as that of one that stands still.
            TRAINING_SPEED.set(0)
        self._publish(held, run_dir, spec, outcome.event["metrics"])
        shutil.rmtree(run_dir, ignore_errors=True)

    def _prepare(self, held: HeldJob, run_dir: Path) -> RunSpec:
        payload = held.claim.payload
        base = self._desk.hand_in(
            lambda session: _base(session, payload["base_version_id"])
        ).result()
        corpus = self._store.fetch(payload["corpus_path"], payload["corpus_manifest_sha256"])
        spec = RunSpec.from_json(
            {
                "device": self._settings.device,
                "torch_threads": self._settings.torch_threads,
                "persona": self._persona,
                **payload["options"],
                "base_model": str(self._store.fetch(base.store_path, base.manifest_sha256)),
                "base_name": payload["base_name"],
                "corpus": str(corpus),
                "run_name": payload["model"],
            }
        )
        spec.write(run_dir)
        held.check()
        return spec

    def _check(self, held: HeldJob, outcome: Outcome) -> None:
        """Raise what the outcome means, unless the run went to its end."""
        held.check()
        if outcome.ending == "finished":
            return
        if outcome.ending == "cancelled":
            raise CancelledJobError("The run was cancelled.")
        if outcome.ending == "paused":
            raise DrainedError("The run was paused at a checkpoint.")
        if outcome.ending == "failed":
            error = TrainingFailedError(outcome.event["message"], **outcome.event["data"])
            error.code = outcome.event["code"]  # type: ignore[misc]  # the trainer's own code
            raise error
        # Killed from outside, perhaps for memory: the reaper counts it as a crash.
        log.warning("trainer_died", exit_code=outcome.exit_code)
        raise LeaseLostError(f"The trainer died with exit code {outcome.exit_code}.")

    def _publish(
        self, held: HeldJob, run_dir: Path, spec: RunSpec, metrics: dict[str, Any]
    ) -> None:
        """Copy the folder into the store, then make it a version and end the job in one go."""
        claim = held.claim
        # The token keeps two attempts apart; the loser's folder is retired below.
        path = f"models/{claim.payload['model']}/{claim.job_id}-{claim.token}"
        self._store.retire(path)
        publication = self._store.publish(
            run_dir / "published", path, {"model": claim.payload["model"], "job": claim.job_id}
        )

        def finish(session: Session) -> None:
            version_id = register_version(
                session,
                model=claim.payload["model"],
                guild_id=claim.guild_id,
                source=f"finetune:{claim.job_id}",
                stored=_stored(held, publication, spec, metrics),
            )
            succeed(session, claim, {"version_id": version_id, "metrics": metrics})

        try:
            write_within_lease(self._desk, held, finish)
        except PerroquetError:
            self._store.retire(path)
            raise
        log.info("version_published", model=claim.payload["model"], path=path)


class _Reporter:
    """Writes what the trainer says into the ledger: events as events, steps as progress.

    The losses of the steps since an evaluation go with its event, so that a curve can be drawn
    from SQL at any time.
    """

    def __init__(self, desk: Desk, held: HeldJob) -> None:
        self._desk = desk
        self._held = held
        self._reported_at = 0.0
        self._points: list[tuple[int, float]] = []

    def hear(self, event: Event) -> None:
        name = event["event"]
        fields = {k: v for k, v in event.items() if k not in ("event", "time", "folder")}
        _show_figures(event)
        if name == "step":
            self._points.append((event["step"], event["loss"]))
        elif name == EVALUATED:
            fields[TRAIN_POINTS] = _thinned(self._points)
            self._points = []
        if name in _RECORDED:
            self._desk.hand_in(
                lambda session: record(session, self._held.claim.job_id, name, **fields)
            ).result()
        elif name == "step" and time.monotonic() - self._reported_at > _PROGRESS_SECONDS:
            self._reported_at = time.monotonic()
            self._desk.hand_in(
                lambda session: report_progress(session, self._held.claim, fields)
            ).result()


def _show_figures(event: Event) -> None:
    """Expose what the run says, for monitoring."""
    if event["event"] == "step":
        TRAINING_STEPS.inc()
        TRAINING_LOSS.labels("train").set(event["loss"] or math.nan)
        TRAINING_SPEED.set(event["tokens_per_second"] or 0)
    elif event["event"] == EVALUATED:
        TRAINING_LOSS.labels("validation").set(event["loss"] or math.nan)


class _Wanted:
    """What is wanted of the trainer: the process' reasons to stop, then the wishes of people."""

    def __init__(self, desk: Desk, held: HeldJob) -> None:
        self._desk = desk
        self._held = held
        self._asked: JobWish | None = None
        self._read_at = float("-inf")

    def now(self) -> Wish | None:
        """What to ask of the trainer.

        Raises:
            LeaseLostError: the job is another's by now; the trainer is killed.
        """
        reason = self._held.stop_reason
        if reason is StopReason.LOST:
            self._held.check()
        if reason is not None:
            return _WISHES[reason]
        if time.monotonic() - self._read_at > _WISH_SECONDS:
            self._read_at = time.monotonic()
            self._read()
        return _ASKED[self._asked] if self._asked else None

    def _read(self) -> None:
        try:
            self._asked = self._desk.hand_in(
                lambda session: read_wish(session, self._held.claim)
            ).result()
        except SQLAlchemyError as exc:
            # While SQL is away nobody can wish for anything; the lease says how long that may be.
            log.warning("wish_not_read", error=type(exc).__name__)


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points, evenly chosen, the last one among them."""
    if len(points) <= _MAX_POINTS:
        return points
    stride = len(points) / _MAX_POINTS
    return [points[round((number + 1) * stride) - 1] for number in range(_MAX_POINTS)]


def _base(session: Session, version_id: str) -> Weights:
    weights = find_weights(session, version_id)
    if weights is None:
        raise NotFoundError("The base model of this fine-tune is gone.", version=version_id)
    return weights


def _stored(
    held: HeldJob, publication: Publication, spec: RunSpec, metrics: dict[str, Any]
) -> StoredVersion:
    payload = held.claim.payload
    return StoredVersion(
        publication.path,
        publication.manifest_sha256,
        publication.total_bytes,
        metrics,
        base_id=payload["base_version_id"] if spec.method == "lora" else None,
        job_id=held.claim.job_id,
    )
