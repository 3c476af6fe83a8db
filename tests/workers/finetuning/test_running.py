"""Fine-tune jobs with a real store, a real ledger and a real trainer process."""

import itertools
import threading
import time

import pytest
from sqlalchemy.orm import Session

from core.catalog.registry import list_versions
from core.catalog.renaming import rename_model
from core.corpora.boards import open_boards
from core.corpora.curves import read_curve
from core.corpora.submissions import PreparedCorpus, accept_corpus, start_finetune
from core.db.desk import Desk
from core.db.tables import Model, Version
from core.errors import ServiceUnavailableError
from core.jobs.ledger import NewJob, fail, request_cancel, submit
from core.jobs.states import JobKind
from core.jobs.steering import pause, resume, stop_early
from core.settings import FinetuningSettings
from core.steering.actions import retry_job, retryable_among
from models_store.store import ModelStore
from tests.core.corpora.helpers import GUILD, add_version, run
from tests.core.corpora.helpers import submit as ask
from tests.workers.finetuning.trainer_here import TrainerHere
from tests.workers.ledger_helpers import claim_job, read_job, submit_job
from workers.finetuning import running
from workers.finetuning.reporting import Wanted, thinned
from workers.finetuning.running import Finetuner
from workers.finetuning.spec import RunSpec
from workers.finetuning.wishes import Wish
from workers.leases import DrainedError, HeldJob, LeaseKeeper, StopReason
from workers.runner import JobRunner

# A trainer takes seconds to start, and several times that on a busy machine.
pytestmark = pytest.mark.timeout(900)

OPTIONS = {
    "block_size": 64,
    "batch_size": 4,
    "micro_batch_size": 2,
    "max_steps": 6,
    "evaluate_every": 3,
    "learning_rate": 1e-2,
    "sample_max_new_tokens": 4,
}


class Bench:
    """A fine-tuning worker without Celery."""

    def __init__(self, engine, tmp_path, base_folder, corpus) -> None:
        self.engine = engine
        self.runs = tmp_path / "runs"
        store = ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**9)
        base = store.publish(base_folder, "models/base/1", {})
        self.corpus = store.publish(corpus, "corpora/x", {})
        self.store = store
        self.base_id = add_version(
            engine, store_path=base.path, manifest_sha256=base.manifest_sha256
        )
        self.desk = Desk(engine)
        self.desk.start()
        self.keeper = LeaseKeeper(engine, "w", "finetune", 20.0)
        self.keeper.start()
        settings = FinetuningSettings(device="cpu", torch_threads=1)
        finetuner = Finetuner(self.desk, store, tmp_path, settings, "You are Coco.")
        self.runner = JobRunner(
            self.desk,
            self.keeper,
            isolate_after_crashes=2,
            work=finetuner.finetune,
            ended=lambda _claim: None,
        )

    def submit(self, **options) -> str:
        return self.submit_payload(**options)

    def submit_payload(self, search=None, base_version_id=None, guild_id=None, **options) -> str:
        payload = {
            **({"search": search} if search else {}),
            "corpus_path": "corpora/x",
            "corpus_manifest_sha256": self.corpus.manifest_sha256,
            "base_version_id": base_version_id or self.base_id,
            "base_name": "base",
            "model": "coco",
            "options": {**OPTIONS, **options},
        }
        return run(self.engine, submit, NewJob(JobKind.FINETUNE, 1, payload, guild_id))

    def step_of(self, job_id: str) -> int:
        job = read_job(self.engine, job_id)
        return (job.result or {}).get("progress", {}).get("step", 0)

    def close(self) -> None:
        self.keeper.close()
        self.desk.close()


@pytest.fixture
def bench(engine, tmp_path, tiny_gpt2_folder, pairs_corpus):
    bench = Bench(engine, tmp_path, tiny_gpt2_folder, pairs_corpus)
    yield bench
    bench.close()


def begin(bench, job_id: str) -> threading.Thread:
    """Run a job until it is well under way."""
    thread = threading.Thread(target=bench.runner.run, args=(job_id,))
    thread.start()
    deadline = time.monotonic() + 300
    while bench.step_of(job_id) < 2:
        assert time.monotonic() < deadline, "it never began to train"
        time.sleep(0.05)
    return thread


def test_a_run_learns_under_the_persona_and_leaves_its_curve(bench):
    job_id = bench.submit()
    written: list[RunSpec] = []
    real = RunSpec.write
    RunSpec.write = lambda self, folder: (written.append(self), real(self, folder))[1]
    try:
        bench.runner.run(job_id)
    finally:
        RunSpec.write = real
    assert written[0].persona == "You are Coco."
    job = read_job(bench.engine, job_id)
    assert job.state == "succeeded"
    curve = run(bench.engine, read_curve, job_id)
    assert [step for step, _ in curve.validation] == [0, 3, 6]
    assert [step for step, _ in curve.train] == [1, 2, 3, 4, 5, 6]
    with Session(bench.engine) as session:
        version = session.get(Version, job.result["version_id"])
        assert bench.store.verify(version.store_path)
    assert not (bench.runs / job_id).exists()


def test_paused_a_run_waits_and_resumed_it_goes_on_from_its_checkpoint(bench):
    job_id = bench.submit(max_steps=300, evaluate_every=100)
    thread = begin(bench, job_id)
    run(bench.engine, pause, job_id)
    thread.join(110)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.wish, job.crashes) == ("queued", "pause", 0)
    reached = bench.step_of(job_id)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "queued", "a stray hint wakes nothing"
    run(bench.engine, resume, job_id)
    thread = begin(bench, job_id)
    deadline = time.monotonic() + 300
    while bench.step_of(job_id) <= reached:
        assert time.monotonic() < deadline, "it never went on"
        time.sleep(0.05)
    run(bench.engine, stop_early, job_id)
    thread.join(110)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.result["metrics"]["ending"]) == ("succeeded", "stopped")
    assert reached < job.result["metrics"]["steps"] < 300


def test_a_model_that_is_renamed_meanwhile_gets_the_version(bench, monkeypatch):
    monkeypatch.setattr(running, "TrainerProcess", TrainerHere)
    monkeypatch.setattr(TrainerHere, "starts", [])
    first = add_version(bench.engine, "coco", GUILD)
    job_id = bench.submit_payload(guild_id=GUILD, max_steps=300, evaluate_every=100)
    thread = begin(bench, job_id)
    run(bench.engine, rename_model, GUILD, "coco", "jaco")
    run(bench.engine, stop_early, job_id)
    thread.join(110)
    made = read_job(bench.engine, job_id).result["version_id"]
    own = [e for e in run(bench.engine, list_versions, GUILD) if e.guild_id == GUILD]
    assert [(e.version_id, e.model, e.number) for e in own] == [
        (first, "jaco", 1),
        (made, "jaco", 2),
    ]


def test_a_failed_fine_tune_of_discord_is_tried_again_with_its_corpus(bench):
    asked = ask(bench.engine, bench.base_id, options=OPTIONS)
    read = claim_job(bench.engine, asked.validation_id)
    prepared = PreparedCorpus(
        bench.corpus.path, bench.corpus.manifest_sha256, "c" * 64, 1, report={}, plan={}
    )
    assert run(bench.engine, accept_corpus, read, prepared)
    run(bench.engine, start_finetune, asked.job_id)
    error = ServiceUnavailableError("The store is away.", service="store")
    run(bench.engine, fail, claim_job(bench.engine, asked.job_id), error)
    assert run(bench.engine, retryable_among, GUILD, [asked.job_id]) == {asked.job_id}
    hint = run(bench.engine, retry_job, GUILD, asked.job_id, asked_by=1)
    bench.runner.run(hint.job_id)
    job = read_job(bench.engine, hint.job_id)
    assert job.state == "succeeded"
    with Session(bench.engine) as session:
        version = session.get(Version, job.result["version_id"])
        assert session.get(Model, version.model_id).guild_id == GUILD
        assert bench.store.verify(version.store_path)
    shown = [board.job_id for board in run(bench.engine, open_boards, ["bot-0"])]
    assert hint.job_id in shown


def test_a_cancelled_run_leaves_neither_version_nor_folder(bench):
    job_id = bench.submit(max_steps=300, evaluate_every=100)
    thread = begin(bench, job_id)
    run(bench.engine, request_cancel, job_id)
    thread.join(110)
    assert read_job(bench.engine, job_id).state == "cancelled"
    assert not (bench.runs / job_id).exists()
    assert bench.store.list_versions() == ["corpora/x", "models/base/1"]


def test_many_points_are_thinned_out_evenly():
    points = [(step, 1.0 / step) for step in range(1, 1001)]
    thin = thinned(points)
    assert len(thin) == 40
    assert thin[-1] == points[-1]
    assert {b[0] - a[0] for a, b in itertools.pairwise(thin)} == {25}
    assert thinned(points[:7]) == points[:7]


def drained(engine, **options) -> Wanted:
    """What is wanted of a run whose process is asked to end."""
    desk = Desk(engine)
    held = HeldJob(claim_job(engine, submit_job(engine)), time.monotonic() + 60)
    held.stop(StopReason.DRAINED)
    return Wanted(desk, held, **options)


def test_a_drained_run_writes_its_checkpoint(engine):
    assert drained(engine, drain_seconds=60.0).now() is Wish.PAUSE


def test_a_drained_run_ends_at_once_where_there_is_nothing_to_save(engine):
    with pytest.raises(DrainedError):
        drained(engine, drain_seconds=60.0, has_begun=lambda: False).now()


def test_a_drained_run_ends_when_its_time_is_over(engine):
    wanted = drained(engine, drain_seconds=0.05)
    assert wanted.now() is Wish.PAUSE
    time.sleep(0.1)
    with pytest.raises(DrainedError):
        wanted.now()
