import time

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from core.errors import CancelledJobError, LeaseLostError
from core.jobs.ledger import request_cancel
from core.jobs.outbox import reap
from core.jobs.presence import alive
from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, submit_job
from workers.leases import DrainedError, HeldJob, LeaseKeeper, StopReason

LEASE_SECONDS = 0.4


@pytest.fixture
def keeper(engine):
    keeper = LeaseKeeper(engine, "w", "generate", LEASE_SECONDS)
    keeper.start()
    yield keeper
    keeper.close()


def _wait_for_stop(held: HeldJob, error: type[Exception]) -> None:
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            held.check()
        except error:
            return
        time.sleep(0.01)
    pytest.fail("the job was not stopped")


def test_a_held_lease_outlives_its_first_term(engine, keeper):
    job_id = submit_job(engine)
    taken = claim_job(engine, job_id, lease=LEASE_SECONDS)
    with keeper.keeping(taken, time.monotonic()) as held:
        time.sleep(LEASE_SECONDS * 2)
        held.check()
        with Session(engine) as session, session.begin():
            assert reap(session, max_crashes=4).requeued == ()
    assert read_job(engine, job_id).state == "running"


def test_a_job_let_go_of_without_an_end_runs_out_while_its_worker_lives(engine, keeper):
    job_id = submit_job(engine)
    with keeper.keeping(claim_job(engine, job_id, lease=LEASE_SECONDS), time.monotonic()):
        pass
    time.sleep(LEASE_SECONDS * 2)
    with Session(engine) as session, session.begin():
        assert reap(session, max_crashes=4).requeued == (job_id,)


def test_a_job_taken_away_stops(engine, keeper):
    job_id = submit_job(engine)
    taken = claim_job(engine, job_id, lease=LEASE_SECONDS)
    with keeper.keeping(taken, time.monotonic()) as held:
        expire_lease(engine, job_id)
        with Session(engine) as session, session.begin():
            reap(session, max_crashes=4)
        claim_job(engine, job_id, worker_id="another")
        _wait_for_stop(held, LeaseLostError)


def test_a_cancelled_job_stops_and_its_callback_runs_once(engine, keeper):
    job_id = submit_job(engine)
    taken = claim_job(engine, job_id, lease=LEASE_SECONDS)
    calls: list[str] = []
    with keeper.keeping(taken, time.monotonic()) as held:
        held.on_stop(lambda: calls.append("stopped"))
        with Session(engine) as session, session.begin():
            request_cancel(session, job_id)
        _wait_for_stop(held, CancelledJobError)
        held.stop(StopReason.LOST)
    assert calls == ["stopped"]


def test_without_a_database_a_job_stops_before_its_lease_ends(engine, tmp_path):
    unreachable = create_engine(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    keeper = LeaseKeeper(unreachable, "w", "generate", LEASE_SECONDS)
    taken = claim_job(engine, submit_job(engine), lease=LEASE_SECONDS)
    started = time.monotonic()
    keeper.start()
    with keeper.keeping(taken, started) as held:
        _wait_for_stop(held, LeaseLostError)
    assert time.monotonic() - started < LEASE_SECONDS
    keeper.close()


def test_a_drain_asks_every_job_to_stop(engine, keeper):
    taken = claim_job(engine, submit_job(engine), lease=LEASE_SECONDS)
    with keeper.keeping(taken, time.monotonic()) as held:
        keeper.stop_all(StopReason.DRAINED)
        with pytest.raises(DrainedError):
            held.check()


def test_on_stop_after_the_stop_runs_at_once(engine):
    held = HeldJob(claim_job(engine, submit_job(engine)), time.monotonic() + 30)
    held.stop(StopReason.CANCELLED)
    calls: list[int] = []
    held.on_stop(lambda: calls.append(1))
    assert calls == [1]


def test_a_process_is_seen_while_it_lives_and_gone_when_it_ends(engine):
    keeper = LeaseKeeper(engine, "w", "generate", LEASE_SECONDS)
    keeper.info = {"device": "cpu"}
    keeper.start()
    time.sleep(0.1)
    with Session(engine) as session:
        (seen,) = alive(session, within_seconds=5)
    assert (seen.id, seen.kind, seen.info["device"]) == ("w", "generate", "cpu")
    keeper.close()
    with Session(engine) as session:
        assert alive(session, within_seconds=5) == []


def test_a_device_that_cannot_be_asked_loses_no_lease(engine, keeper):
    def fail():
        raise RuntimeError("the device is broken")

    keeper.observe = fail
    job_id = submit_job(engine)
    taken = claim_job(engine, job_id, lease=LEASE_SECONDS)
    with keeper.keeping(taken, time.monotonic()) as held:
        time.sleep(LEASE_SECONDS * 2)
        held.check()


def test_the_way_out_of_a_lost_attempt_leaves_the_next_attempt_its_lease(engine):
    # Nobody beats here but the test, so that no lease is renewed by chance.
    keeper = LeaseKeeper(engine, "w", "generate", LEASE_SECONDS)
    job_id = submit_job(engine)
    first = keeper.keeping(claim_job(engine, job_id, lease=LEASE_SECONDS), time.monotonic())
    first.__enter__()
    expire_lease(engine, job_id)
    with Session(engine) as session, session.begin():
        reap(session, max_crashes=4)
    with keeper.keeping(claim_job(engine, job_id), time.monotonic()) as second:
        first.__exit__(None, None, None)
        assert keeper.count == 1
        deadline = second.deadline
        keeper._beat()
        assert second.deadline > deadline


def test_a_claim_that_was_on_its_way_when_the_process_drained_is_drained_too(engine, keeper):
    taken = claim_job(engine, submit_job(engine), lease=LEASE_SECONDS)
    keeper.stop_all(StopReason.DRAINED)
    with keeper.keeping(taken, time.monotonic()) as held, pytest.raises(DrainedError):
        held.check()
