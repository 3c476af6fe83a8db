"""The work of a ``finetune`` job: fetch, train in a child process, publish under the fence."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from core.catalog.renaming import name_of_run
from core.conversations.answers import find_weights
from core.conversations.utterances import Weights
from core.corpora.searches import SEARCH, SearchSpec
from core.db.desk import Desk
from core.db.tables import Model, Version
from core.errors import CancelledJobError, NotFoundError, PerroquetError
from core.jobs.ledger import succeed
from core.monitoring.figures.training import TRAINING_SPEED
from core.settings import FinetuningSettings
from models_store.store import ModelStore, Publication
from workers.finetuning.outcomes import TrainingFailedError, check_outcome
from workers.finetuning.reporting import Reporter, Wanted
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import TrainerProcess
from workers.folders import RUNS
from workers.leases import HeldJob
from workers.patience import await_service, retire_unless_known
from workers.runner import OutcomeUnknownError, write_within_lease

__all__ = ["Finetuner", "TrainingFailedError"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Origin:
    """What a run begins with: a whole model, or an adapter over one.

    Attributes:
        weights: where it lies.
        whole_id, whole_name: of the whole model; an adapter's version names it as its base.
    """

    weights: Weights
    whole_id: str
    whole_name: str


@dataclass(frozen=True)
class _Result:
    """A published folder on this host, and what is to be said of it."""

    folder: Path
    spec: RunSpec
    metrics: dict[str, Any]
    facts: dict[str, Any]


class Finetuner:
    """Runs claimed ``finetune`` jobs, one at a time in a child process each.

    The run folder outlives the process: a job that is claimed again on the same host goes on from
    its newest checkpoint.
    """

    def __init__(
        self,
        desk: Desk,
        store: ModelStore,
        data_dir: Path,
        settings: FinetuningSettings,
        persona: str,
        patience_seconds: float = 0.0,
        drain_seconds: float = 15.0,
    ) -> None:
        """Args:
        desk: for the ledger.
        store: where bases and corpora are and versions go.
        data_dir: a folder of this host; gets ``runs``, which are removed once they are published,
            and ``tensorboard``, which stays.
        settings: bounds and device.
        persona: what the bot is told of itself when it answers, so that models learn under it.
        patience_seconds: how long a job waits for a store that is away or full.
        drain_seconds: how long a drained run may take to write its checkpoint.
        """
        self._desk = desk
        self._store = store
        self._runs_dir = data_dir / RUNS
        self._logs_dir = data_dir / "tensorboard"
        self._settings = settings
        self._persona = persona
        self._patience_seconds = patience_seconds
        self._drain_seconds = drain_seconds

    def finetune(self, held: HeldJob) -> None:
        """Train and publish one version.

        Raises:
            TrainingFailedError: the trainer said why it could not go on.
            SearchError: the job's search is malformed.
            StoreError: corpus or base cannot be fetched, or the result not be published.
            LeaseLostError, CancelledJobError, DrainedError: the job must stop.
        """
        run_dir = self._runs_dir / held.claim.job_id
        origin_id = held.claim.payload["base_version_id"]
        origin = self._desk.hand_in(lambda session: _origin(session, origin_id)).result()
        spec = self._prepare(held, origin)
        search = held.claim.payload.get(SEARCH)
        try:
            if search is None:
                result = self._run(held, spec, run_dir)
            else:
                result = self._search(held, spec, search, run_dir)
        except CancelledJobError:
            shutil.rmtree(run_dir, ignore_errors=True)
            shutil.rmtree(spec.tensorboard_dir, ignore_errors=True)
            raise
        finally:
            # The speed of a run that has ended would be read as that of one that stands still.
            TRAINING_SPEED.set(0)
        self._publish(held, origin, result)
        shutil.rmtree(run_dir, ignore_errors=True)

    def _prepare(self, held: HeldJob, origin: _Origin) -> RunSpec:
        payload = held.claim.payload
        weights = origin.weights
        corpus = self._fetch(held, payload["corpus_path"], payload["corpus_manifest_sha256"])
        folder = self._fetch(held, weights.store_path, weights.manifest_sha256)
        values = {
            "device": self._settings.device,
            "torch_threads": self._settings.torch_threads,
            "persona": self._persona,
            **payload["options"],
            "processes": self._settings.processes,
            "tensorboard_dir": str(self._logs_dir / _log_name(held)),
            "base_model": str(folder),
            "base_name": payload["base_name"],
            "corpus": str(corpus),
            "run_name": payload["model"],
        }
        if weights.base_path is not None:
            base = self._fetch(held, weights.base_path, weights.base_manifest_sha256)
            values |= {
                "base_model": str(base), "adapter": str(folder), "base_name": origin.whole_name,
            }  # fmt: skip
        spec = RunSpec.from_json(values)
        held.check()
        return spec

    def _fetch(self, held: HeldJob, path: str, manifest_sha256: str | None) -> Path:
        return await_service(
            held, lambda: self._store.fetch(path, manifest_sha256), self._patience_seconds
        )

    def _run(self, held: HeldJob, spec: RunSpec, run_dir: Path) -> _Result:
        spec.write(run_dir)
        reporter = Reporter(self._desk, held)
        trainer = TrainerProcess(
            run_dir, reporter.hear, processes=spec.processes, nice=self._settings.nice
        )
        wanted = Wanted(self._desk, held, self._drain_seconds, lambda: reporter.has_begun)
        outcome = trainer.run(wanted.now)
        check_outcome(held, outcome)
        return _Result(run_dir / "published", spec, outcome.event["metrics"], {})

    def _search(
        self, held: HeldJob, spec: RunSpec, asked: dict[str, Any], run_dir: Path
    ) -> _Result:
        # Optuna takes a moment to import, which single runs are spared.
        from workers.finetuning.search_space import check_search
        from workers.finetuning.searching import Search, SearchParts

        search = SearchSpec.from_json(asked)
        check_search(spec, search)
        parts = SearchParts(self._desk, spec, search, run_dir, self._settings.nice)
        found = Search(held, parts).carry_out()
        facts = {SEARCH: {"best": found.best, "trials": found.trials}}
        return _Result(found.run_dir / "published", found.spec, found.metrics, facts)

    def _publish(self, held: HeldJob, origin: _Origin, result: _Result) -> None:
        """Copy the folder into the store, then make it a version and end the job in one go."""
        claim = held.claim
        # The token keeps two attempts apart; the loser's folder is retired below.
        path = f"models/{claim.payload['model']}/{claim.job_id}-{claim.token}"
        facts = {"model": claim.payload["model"], "job": claim.job_id}

        def publish() -> Publication:
            self._store.retire(path)
            return self._store.publish(result.folder, path, facts)

        publication = await_service(held, publish, self._patience_seconds)

        def finish(session: Session) -> None:
            version_id = register_version(
                session,
                model=name_of_run(session, claim.job_id),
                guild_id=claim.guild_id,
                source=f"finetune:{claim.job_id}",
                stored=_stored(held, origin, publication, result),
            )
            end = {"version_id": version_id, "metrics": result.metrics, **result.facts}
            succeed(session, claim, end)

        try:
            write_within_lease(self._desk, held, finish)
        except OutcomeUnknownError:
            # A row may name it by now; if none does, it is collected later.
            raise
        except PerroquetError:
            retire_unless_known(self._desk, self._store, path)
            raise
        log.info("version_published", model=claim.payload["model"], path=path)


def _log_name(held: HeldJob) -> str:
    """Told apart by people in TensorBoard's list, whatever the model is called."""
    name = re.sub(r"[^\w.-]+", "-", held.claim.payload["model"]).strip(".-")
    return f"{name[:60]}-{held.claim.job_id}"


def _origin(session: Session, version_id: str) -> _Origin:
    weights = find_weights(session, version_id)
    row = session.execute(select(Version.base_id).where(Version.id == version_id)).one_or_none()
    if weights is None or row is None:
        raise NotFoundError("The base model of this fine-tune is gone.", version=version_id)
    whole_id: str = row.base_id or version_id
    name = session.scalar(
        select(Model.name).join(Version, Version.model_id == Model.id).where(Version.id == whole_id)
    )
    return _Origin(weights, whole_id, name or "")


def _stored(
    held: HeldJob, origin: _Origin, publication: Publication, result: _Result
) -> StoredVersion:
    return StoredVersion(
        publication.path,
        publication.manifest_sha256,
        publication.total_bytes,
        result.metrics,
        base_id=origin.whole_id if result.spec.method == "lora" else None,
        job_id=held.claim.job_id,
    )
