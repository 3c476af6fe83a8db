import os
import signal
import threading
import time
from unittest.mock import Mock

import pytest
from sqlalchemy.exc import OperationalError

from core.corpora.uploads import Uploads
from core.settings import Settings
from models_store.store import ModelStore
from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, submit_job
from workers.chores import Chore, _run_chores_or_end, run_chores, start_later
from workers.upkeep.loop import _rounds, reap_once
from workers.upkeep.relay import Relay


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


def test_a_slow_round_does_not_keep_the_others_from_theirs():
    ended, listing, relayed = threading.Event(), threading.Event(), threading.Event()

    def list_for_long() -> None:
        listing.set()
        ended.wait()

    def relay() -> None:
        if listing.is_set():
            relayed.set()

    rounds = {"housekeeping": [Chore("garbage", 1.0, list_for_long)]}
    threads = start_later({**rounds, "ledger": [Chore("relay", 0.01, relay)]}, ended)
    for thread in threads:
        thread.start()
    try:
        assert relayed.wait(5)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("name", ["garbage", "folders", "retention", "validations"])
def test_what_may_take_long_stands_in_another_round_than_what_jobs_wait_for(engine, name):
    rounds = _rounds(Settings(), engine, Mock(Relay), Mock(ModelStore), Mock(Uploads))
    found = {chore.name: round_ for round_, chores in rounds.items() for chore in chores}
    assert found["relay"] == found["reaper"] != found[name]


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
    reap_once(engine, max_crashes=4, lease_seconds=20.0)
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
