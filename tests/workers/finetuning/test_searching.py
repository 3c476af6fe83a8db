"""Searches with a real ledger and the real trainer, in this process to save its start."""

import json
import threading
import time

import pytest
from sqlalchemy.orm import Session

from core.corpora.searches import TRIAL_ENDED, SearchSpec, TrialState, best_trial, read_trials
from core.db.tables import Version
from core.jobs.outbox import reap
from core.jobs.states import JobWish
from core.jobs.steering import stop_early
from tests.core.corpora.helpers import run as transact
from tests.workers.finetuning.test_running import Bench
from tests.workers.finetuning.trainer_here import TrainerHere
from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, set_job
from workers.finetuning import running, searching
from workers.finetuning.reporting import TrialReporter
from workers.finetuning.supervisor import Outcome
from workers.finetuning.wishes import Wish
from workers.leases import HeldJob

RATES = {"learning_rate": {"choices": [1e-2, 1e-4, 3e-3, 1e-3]}}
GRID = SearchSpec.make(trials=4, sampler="grid", space=RATES).to_json()


@pytest.fixture
def bench(engine, tmp_path, tiny_gpt2_folder, pairs_corpus, monkeypatch):
    monkeypatch.setattr(searching, "TrainerProcess", TrainerHere)
    monkeypatch.setattr(TrainerHere, "starts", [])
    bench = Bench(engine, tmp_path, tiny_gpt2_folder, pairs_corpus)
    yield bench
    bench.close()


def submit_search(bench, asked=GRID, **options) -> str:
    return bench.submit_payload(search=asked, evaluate_every=2, **options)


@pytest.fixture(scope="module")
def whole_trials():
    """The trials of an undisturbed search, once there was one."""
    return []


def search_whole(bench, whole_trials) -> str:
    job_id = submit_search(bench)
    bench.runner.run(job_id)
    whole_trials[:] = transact(bench.engine, read_trials, job_id)
    return job_id


def test_a_search_publishes_the_best_of_its_trials(bench, whole_trials):
    job_id = search_whole(bench, whole_trials)
    job = read_job(bench.engine, job_id)
    assert job.state == "succeeded", job.error
    trials = transact(bench.engine, read_trials, job_id)
    assert len(trials) == 4
    assert sorted(one.options["learning_rate"] for one in trials) == [1e-4, 1e-3, 3e-3, 1e-2]
    best = best_trial(trials)
    assert best.options == {"learning_rate": 1e-2}
    assert job.result["search"] == {"best": best.number, "trials": 4}
    assert job.result["metrics"]["tuned"]["validation"]["loss"] == best.loss
    assert {one.state for one in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    with Session(bench.engine) as session:
        assert session.get(Version, job.result["version_id"]).metrics == job.result["metrics"]
    assert not (bench.runs / job_id).exists()
    assert list(bench.runs.parent.glob(f"tensorboard/coco-{job_id}/trial-*/events*"))


def test_a_trial_that_falls_behind_is_ended_early(bench):
    rates = {"learning_rate": {"choices": [1e-2, 9e-3, 1e-6, 1e-7]}}
    asked = SearchSpec.make(trials=4, sampler="grid", space=rates).to_json()
    # The seed of an order in which the two better rates come first.
    job_id = submit_search(bench, asked, seed=5)
    bench.runner.run(job_id)
    trials = transact(bench.engine, read_trials, job_id)
    states = {one.options["learning_rate"]: one.state for one in trials}
    assert states[1e-2] is states[9e-3] is TrialState.COMPLETE
    assert TrialState.PRUNED in states.values()


def test_a_drained_search_goes_on_where_it_was_and_ends_alike(bench, whole_trials, monkeypatch):
    if not whole_trials:
        search_whole(bench, whole_trials)
        TrainerHere.starts.clear()
    job_id = submit_search(bench)
    real, drained = TrainerHere.run, threading.Event()

    def drain_in_the_third(self, wanted):
        is_third = len(self.starts) == 2 and not drained.is_set()
        if is_third:
            drained.set()
        return real(self, (lambda: Wish.PAUSE) if is_third else wanted)

    monkeypatch.setattr(TrainerHere, "run", drain_in_the_third)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "queued"
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "succeeded"
    assert TrainerHere.starts == ["trial-0", "trial-1", "trial-2", "trial-2", "trial-3"]
    found = transact(bench.engine, read_trials, job_id)
    assert [(one.options, one.loss) for one in found] == [
        (one.options, one.loss) for one in whole_trials
    ]


class KilledError(Exception):
    """A trainer is gone without a last word."""


def test_a_search_that_comes_further_is_not_given_up(bench, monkeypatch):
    real, killed = TrainerHere.run, set()

    def run_until_killed(self, wanted):
        hear = self._on_event

        def hear_and_die(event):
            hear(event)
            moment = (self._run_dir.name, event.get("step"))
            if event["event"] == "checkpointed" and moment not in killed and len(killed) < 3:
                killed.add(moment)
                raise KilledError

        self._on_event = hear_and_die
        try:
            return real(self, wanted)
        except KilledError:
            return Outcome("died", -9, {}, "")

    monkeypatch.setattr(TrainerHere, "run", run_until_killed)
    asked = SearchSpec.make(trials=2, sampler="grid", space=RATES).to_json()
    job_id = submit_search(bench, asked, max_steps=4)
    for _ in range(3):
        bench.runner.run(job_id)
        expire_lease(bench.engine, job_id)
        assert transact(bench.engine, reap, max_crashes=2).requeued == (job_id,)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "succeeded"


def test_a_trial_that_ended_without_a_checkpoint_is_progress_too(bench):
    job_id = submit_search(bench)
    set_job(bench.engine, job_id, token=3, crashes=3)
    held = HeldJob(claim_job(bench.engine, job_id), time.monotonic() + 60)
    reporter = TrialReporter(bench.desk, held, 0, 4, lambda *_: None)
    reporter.record(TRIAL_ENDED, number=0, state="failed", loss=None, seconds=None)
    assert read_job(bench.engine, job_id).crashes == 0


def test_a_search_that_lost_its_host_makes_its_best_again(bench, monkeypatch):
    job_id = submit_search(bench)
    real = searching.Search._drop_all_but
    monkeypatch.setattr(searching.Search, "_drop_all_but", lambda self, _best: real(self, None))
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    best = best_trial(transact(bench.engine, read_trials, job_id))
    assert job.state == "succeeded"
    assert TrainerHere.starts[-1] == f"trial-{best.number}"
    assert job.result["metrics"]["tuned"]["validation"]["loss"] == best.loss


def test_stopped_a_search_keeps_the_best_so_far(bench, monkeypatch):
    job_id = submit_search(bench)
    real = TrainerHere.run

    def stop_in_the_second(self, wanted):
        if len(self.starts) == 1:
            transact(bench.engine, stop_early, job_id)
        return real(self, wanted)

    monkeypatch.setattr(TrainerHere, "run", stop_in_the_second)
    monkeypatch.setattr("workers.finetuning.reporting._WISH_SECONDS", 0.0)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.wish) == ("succeeded", JobWish.STOP)
    assert job.result["search"]["trials"] == 2


def test_stopped_while_it_waits_a_search_runs_no_more_trials(bench, monkeypatch):
    asked = SearchSpec.make(trials=3, sampler="grid", space=RATES).to_json()
    job_id = submit_search(bench, asked, max_steps=2)
    real = TrainerHere.run

    def drain_in_the_second(self, wanted):
        return real(self, (lambda: Wish.PAUSE) if len(self.starts) == 1 else wanted)

    monkeypatch.setattr(TrainerHere, "run", drain_in_the_second)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "queued"
    assert transact(bench.engine, stop_early, job_id)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "succeeded"
    assert TrainerHere.starts == ["trial-0", "trial-1"]


def test_trials_that_run_away_fail_alone(bench):
    rates = {"learning_rate": {"choices": [1.0, 1e-2]}}
    asked = SearchSpec.make(trials=2, sampler="grid", space=rates).to_json()
    job_id = submit_search(
        bench, asked, method="full", max_steps=60, max_grad_norm=0, schedule="constant",
        warmup_share=0,
    )  # fmt: skip
    bench.runner.run(job_id)
    trials = transact(bench.engine, read_trials, job_id)
    states = {one.options["learning_rate"]: one.state for one in trials}
    assert states == {1.0: TrialState.FAILED, 1e-2: TrialState.COMPLETE}
    assert read_job(bench.engine, job_id).state == "succeeded"


def test_a_malformed_search_fails_with_its_option(bench):
    job_id = submit_search(bench, {"trials": 3, "space": {"seed": {"choices": [1, 2]}}})
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.error_code, job.result["error_data"]) == ("training-option", {"option": "seed"})
    assert not TrainerHere.starts


def test_a_version_that_learns_on_stays_over_the_same_base(bench, monkeypatch):
    monkeypatch.setattr(running, "TrainerProcess", TrainerHere)
    first = bench.submit()
    bench.runner.run(first)
    first_version = read_job(bench.engine, first).result["version_id"]
    second = bench.submit_payload(base_version_id=first_version)
    bench.runner.run(second)
    job = read_job(bench.engine, second)
    assert job.state == "succeeded", job.error
    before = read_job(bench.engine, first).result["metrics"]["tuned"]["validation"]["loss"]
    assert job.result["metrics"]["base"]["validation"]["loss"] == pytest.approx(before, rel=1e-5)
    with Session(bench.engine) as session:
        version = session.get(Version, job.result["version_id"])
        assert (version.base_id, version.number) == (bench.base_id, 2)
        folder = bench.store.fetch(version.store_path, version.manifest_sha256)
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "base"
