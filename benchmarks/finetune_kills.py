"""A fine-tune whose trainer, worker and Valkey are killed, next to one that nobody disturbs.

Real processes: Valkey, upkeep, and a fine-tuning worker with its trainer; the ledger is in SQLite.
Both jobs have the same seed, so both must end with the same weights and the same figures.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from benchmarks.finetune_setup import BenchPlan, write_inputs
from cli.wiring import open_database, open_store
from core.catalog.registry import StoredVersion, register_version
from core.db.tables import Job, JobEvent, Version
from core.embedded import EmbeddedValkey, free_port
from core.jobs.ledger import NewJob, submit
from core.jobs.states import JobKind, JobState
from core.settings import load_settings
from models_store.store import ModelStore

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 600
_WORKER, _UPKEEP, _VALKEY = "worker", "upkeep", "Valkey"
_OPERATOR = 0
_OPTIONS = {
    "block_size": 64,
    "batch_size": 2,
    "max_steps": 16,
    "evaluate_every": 4,
    "save_every": 2,
    "sample_max_new_tokens": 4,
    "max_evaluation_rows": 4,
    "seed": 7,
}


def run(*, quick: bool) -> dict[str, Any]:
    """Figures of both jobs, and the goal that nothing tells them apart.

    Args:
        quick: one layer instead of GPT-2's twelve.
    """
    with tempfile.TemporaryDirectory(prefix="bench-kills-") as scratch:
        folder = Path(scratch)
        plan = BenchPlan.on_cpu(1 if quick else 12)
        write_inputs(folder, plan)
        with _house(folder) as house:
            calm = house.submit()
            house.wait_for_end(calm)
            disturbed = house.submit()
            kills = house.disturb(disturbed)
            house.wait_for_end(disturbed)
            return _report(house.read(calm), house.read(disturbed), kills)


@dataclass(frozen=True)
class _Ended:
    state: str
    error: str | None
    figures: dict[str, Any]
    weights: dict[str, str]
    seconds: float
    crashes: int


@dataclass
class _House:
    """The processes of an installation that trains, and its ledger."""

    engine: Engine
    store: ModelStore
    valkey: EmbeddedValkey
    environment: dict[str, str]
    log: Path
    payload: dict[str, Any]
    running: dict[str, "subprocess.Popen[bytes]"]

    def start(self, name: str) -> None:
        commands = {
            _VALKEY: self.valkey.prepare(),
            _UPKEEP: [sys.executable, "-m", "workers.main", "upkeep"],
            _WORKER: [sys.executable, "-m", "workers.main", "finetune"],
        }
        with self.log.open("ab") as out:
            self.running[name] = subprocess.Popen(  # noqa: S603 (our own modules)
                commands[name], env=self.environment, stdout=out, stderr=out
            )

    def submit(self) -> str:
        with Session(self.engine) as session, session.begin():
            return submit(session, NewJob(JobKind.FINETUNE, _OPERATOR, self.payload))

    def disturb(self, job_id: str) -> list[str]:
        """Kill one after the other, each once the run has come further."""
        deeds: list[tuple[int, str, Callable[[], None]]] = [
            (4, "trainer", self._kill_trainer),
            (8, _WORKER, self._kill_worker),
            (12, _VALKEY, self._lose_valkey),
        ]
        done = []
        for step, name, deed in deeds:
            self._await_checkpoint(job_id, step)
            deed()
            done.append(f"{name} after step {step}")
        return done

    def wait_for_end(self, job_id: str) -> None:
        self._await(lambda: JobState(self._job(job_id).state).is_final, "the end of a job")

    def read(self, job_id: str) -> _Ended:
        job = self._job(job_id)
        result = job.result or {}
        weights: dict[str, str] = {}
        if job.state == JobState.SUCCEEDED:
            with Session(self.engine) as session:
                path = session.scalars(
                    select(Version.store_path).where(Version.id == result["version_id"])
                ).one()
            files = self.store.read_manifest(path).files
            weights = {n: e.sha256 for n, e in files.items() if n.endswith(".safetensors")}
        metrics = {k: v for k, v in result.get("metrics", {}).items() if k != "train_seconds"}
        seconds = (job.finished_at or 0) - job.created_at
        return _Ended(job.state, job.error, metrics, weights, round(seconds, 1), job.crashes)

    def _job(self, job_id: str) -> Job:
        with Session(self.engine, expire_on_commit=False) as session:
            return session.scalars(select(Job).where(Job.id == job_id)).one()

    def _await_checkpoint(self, job_id: str, step: int) -> None:
        def is_there() -> bool:
            with Session(self.engine) as session:
                kept = select(JobEvent.data).where(
                    JobEvent.job_id == job_id, JobEvent.type == "checkpointed"
                )
                return any(data["step"] >= step for data in session.scalars(kept))

        self._await(is_there, f"the checkpoint of step {step}")

    def _await(self, has_come: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not has_come():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come; see {self.log}")
            time.sleep(_POLL_SECONDS)

    def _kill_trainer(self) -> None:
        for child in psutil.Process(self.running[_WORKER].pid).children(recursive=True):
            if "workers.finetuning.run" in child.cmdline():
                child.kill()

    def _kill_worker(self) -> None:
        self.running[_WORKER].kill()
        self.running[_WORKER].wait()
        self.start(_WORKER)

    def _lose_valkey(self) -> None:
        """With all that it kept."""
        self.running[_VALKEY].kill()
        self.running[_VALKEY].wait()
        shutil.rmtree(self.valkey.folder)
        self.start(_VALKEY)

    def close(self) -> None:
        for name in (_WORKER, _UPKEEP, _VALKEY):
            if name in self.running:
                self.running[name].terminate()
                self.running[name].wait()


@contextmanager
def _house(folder: Path) -> Iterator[_House]:
    valkey = EmbeddedValkey(folder / "valkey", free_port())
    environment = {
        **os.environ,
        "PERROQUET_DATA_DIR": str(folder / "data"),
        "REDIS_URL": valkey.url,
        "PERROQUET_LEDGER__LEASE_SECONDS": "4",
        "PERROQUET_LEDGER__REDISPATCH_AFTER_SECONDS": "3",
        "PERROQUET_FINETUNING__DEVICE": "cpu",
    }
    settings = load_settings(environment, folder / "none.toml")
    with open_database(settings) as engine:
        store = open_store(settings)
        payload = _publish_inputs(engine, store, folder)
        house = _House(
            engine, store, valkey, environment, folder / "processes.log", payload, running={}
        )
        try:
            for name in (_VALKEY, _UPKEEP, _WORKER):
                house.start(name)
            yield house
        finally:
            house.close()


def _publish_inputs(engine: Engine, store: ModelStore, folder: Path) -> dict[str, Any]:
    base = store.publish(folder / "base", "models/base/1", {})
    corpus = store.publish(folder / "corpus", "corpora/1", {})
    with Session(engine) as session, session.begin():
        version_id = register_version(
            session,
            model="base",
            guild_id=None,
            source="bench",
            stored=StoredVersion(base.path, base.manifest_sha256, base.total_bytes, {}),
        )
    return {
        "corpus_path": corpus.path,
        "corpus_manifest_sha256": corpus.manifest_sha256,
        "base_version_id": version_id,
        "base_name": "base",
        "model": "killed",
        "options": _OPTIONS,
    }


def _report(calm: _Ended, disturbed: _Ended, kills: list[str]) -> dict[str, Any]:
    has_ended = calm.state == disturbed.state == JobState.SUCCEEDED
    figures = {
        "kills": kills,
        "undisturbed": {"state": calm.state, "error": calm.error, "seconds": calm.seconds},
        "disturbed": {
            "state": disturbed.state,
            "error": disturbed.error,
            "seconds": disturbed.seconds,
            "crashes": disturbed.crashes,
        },
        "validation": [one.figures.get("tuned", {}).get("validation") for one in (calm, disturbed)],
    }
    return {
        "figures": figures,
        "goals": [
            _goal("differing metrics", _differing(calm.figures, disturbed.figures), has_ended),
            _goal("differing weights", _differing(calm.weights, disturbed.weights), has_ended),
        ],
    }


def _differing(one: dict[str, Any], other: dict[str, Any]) -> int:
    return sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())


def _goal(name: str, value: int, has_ended: bool) -> dict[str, Any]:
    is_met = has_ended and value == 0
    return {"name": name, "value": value, "unit": "files or figures", "goal": 0, "met": is_met}
