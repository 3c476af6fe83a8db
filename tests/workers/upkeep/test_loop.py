import os
import signal
import threading
import time

from sqlalchemy.exc import OperationalError

from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, submit_job
from workers.upkeep.loop import Chore, _run_chores_or_end, reap_once, run_chores


def test_each_chore_runs_at_its_own_interval():
    ended = threading.Event()
    counts = {"often": 0, "seldom": 0}

    def count(name: str) -> None:
        counts[name] += 1
        if counts["often"] == 5:
            ended.set()

    chores = [
        Chore("often", 0.01, lambda: count("often")),
        Chore("seldom", 60.0, lambda: count("seldom")),
    ]
    run_chores(chores, ended)
    assert counts == {"often": 5, "seldom": 1}


def test_a_chore_without_a_database_is_tried_again():
    ended = threading.Event()
    tries: list[float] = []

    def fail_twice() -> None:
        tries.append(time.monotonic())
        if len(tries) == 3:
            ended.set()
            return
        raise OperationalError("SELECT 1", {}, OSError("gone"))

    run_chores([Chore("flaky", 0.01, fail_twice)], ended)
    assert len(tries) == 3


def test_reaping_gives_a_silent_worker_s_job_back(engine):
    job_id = submit_job(engine)
    claim_job(engine, job_id)
    expire_lease(engine, job_id)
    reap_once(engine, max_crashes=4)
    job = read_job(engine, job_id)
    assert (job.state, job.crashes) == ("queued", 1)


def test_a_defect_in_a_chore_ends_the_process_so_that_it_is_started_anew(monkeypatch):
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: signals.append(arguments))

    def break_down() -> None:
        raise ZeroDivisionError

    _run_chores_or_end([Chore("broken", 1.0, break_down)], threading.Event())
    assert signals == [(os.getpid(), signal.SIGTERM)]
    ended = threading.Event()
    _run_chores_or_end([Chore("last", 1.0, ended.set)], ended)
    assert len(signals) == 1, "an orderly end is none"
