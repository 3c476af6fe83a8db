import threading

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.tables import Job, JobEvent
from core.errors import CancelledJobError, InvalidInputError, LeaseLostError, NotFoundError
from core.jobs.ledger import (
    claim,
    confirm_cancel,
    fail,
    is_set_apart,
    release,
    renew,
    report_progress,
    request_cancel,
    succeed,
)
from core.jobs.outbox import mark_dispatched, never_sent, reap, sent_long_ago
from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, set_job, submit_job


def run(engine, function, *arguments, **named):
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def test_a_claim_raises_the_token_and_keeps_others_out(any_engine):
    job_id = submit_job(any_engine)
    taken = claim_job(any_engine, job_id)
    assert taken.token == 1
    assert run(any_engine, claim, job_id, "other", 30) is None


def test_of_two_who_claim_at_once_one_wins(any_engine):
    job_id = submit_job(any_engine)
    taken: list[object] = []
    barrier = threading.Barrier(4)

    def try_it(name: str) -> None:
        barrier.wait()
        taken.append(run(any_engine, claim, job_id, name, 30))

    threads = [threading.Thread(target=try_it, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(t is not None for t in taken) == 1


def test_a_result_ends_the_job_once(any_engine):
    job_id = submit_job(any_engine)
    taken = claim_job(any_engine, job_id)
    run(any_engine, report_progress, taken, {"step": 1})
    run(any_engine, succeed, taken, {"text": "x"})
    job = read_job(any_engine, job_id)
    assert (job.state, job.result, job.lease_until) == ("succeeded", {"text": "x"}, None)
    with pytest.raises(LeaseLostError):
        run(any_engine, succeed, taken, {"text": "y"})


def test_who_lost_the_lease_can_write_nothing(any_engine):
    job_id = submit_job(any_engine)
    stale = claim_job(any_engine, job_id)
    expire_lease(any_engine, job_id)
    assert run(any_engine, reap, max_crashes=4).requeued == (job_id,)
    fresh = claim_job(any_engine, job_id, worker_id="other")
    for write in (
        lambda s: succeed(s, stale, {}),
        lambda s: fail(s, stale, InvalidInputError("x")),
        lambda s: confirm_cancel(s, stale),
        lambda s: release(s, stale),
        lambda s: report_progress(s, stale, {}),
    ):
        with pytest.raises(LeaseLostError):
            run(any_engine, write)
    assert read_job(any_engine, job_id).state == "running"
    run(any_engine, succeed, fresh, {})


def test_a_failure_says_why(any_engine):
    job_id = submit_job(any_engine)
    error = InvalidInputError("Too odd.", limit=3)
    run(any_engine, fail, claim_job(any_engine, job_id), error)
    job = read_job(any_engine, job_id)
    assert (job.state, job.error_code, job.error) == ("failed", "invalid-input", "Too odd.")


def test_a_lease_that_runs_out_gives_the_job_back_until_it_has_crashed_too_often(any_engine):
    job_id = submit_job(any_engine)
    for crash in range(1, 5):
        claim_job(any_engine, job_id)
        expire_lease(any_engine, job_id)
        reaped = run(any_engine, reap, max_crashes=4)
        assert read_job(any_engine, job_id).crashes == crash
    assert reaped.failed == (job_id,)
    job = read_job(any_engine, job_id)
    assert (job.state, job.error_code) == ("failed", "job-crashed")
    with Session(any_engine) as session:
        events = session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id)).all()
    assert events == ["lease_expired"] * 4


def test_a_drain_is_no_crash(any_engine):
    job_id = submit_job(any_engine)
    run(any_engine, mark_dispatched, [job_id])
    run(any_engine, release, claim_job(any_engine, job_id))
    job = read_job(any_engine, job_id)
    assert (job.state, job.crashes, job.dispatched_at) == ("queued", 0, None)


def test_a_job_with_crashes_is_left_to_who_runs_it_alone(any_engine):
    job_id = submit_job(any_engine)
    set_job(any_engine, job_id, token=2, crashes=2)
    assert run(any_engine, claim, job_id, "w", 30, crashes_below=2) is None
    assert run(any_engine, is_set_apart, job_id, 2)
    assert run(any_engine, claim, job_id, "w", 30) is not None


def test_a_waiting_job_is_cancelled_at_once(any_engine):
    job_id = submit_job(any_engine)
    assert run(any_engine, request_cancel, job_id) == "cancelled"
    assert run(any_engine, claim, job_id, "w", 30) is None


def test_only_jobs_that_are_named_and_held_are_renewed(any_engine):
    mine, dropped, other = (submit_job(any_engine) for _ in range(3))
    for job_id, worker_id in ((mine, "w"), (dropped, "w"), (other, "v")):
        claim_job(any_engine, job_id, worker_id=worker_id)
    renewals = run(any_engine, renew, "w", 30, [mine, other])
    assert [renewal.job_id for renewal in renewals] == [mine]
    assert run(any_engine, renew, "w", 30, []) == []


def test_a_running_job_hears_of_its_cancellation_with_its_next_heartbeat(any_engine):
    job_id = submit_job(any_engine)
    taken = claim_job(any_engine, job_id)
    assert run(any_engine, request_cancel, job_id) == "running"
    (renewal,) = run(any_engine, renew, "w", 30, [job_id])
    assert renewal.cancel_requested
    with pytest.raises(CancelledJobError):
        run(any_engine, succeed, taken, {})
    run(any_engine, confirm_cancel, taken)
    assert read_job(any_engine, job_id).state == "cancelled"


def test_a_cancelled_job_whose_worker_died_ends_cancelled(any_engine):
    job_id = submit_job(any_engine)
    claim_job(any_engine, job_id)
    run(any_engine, request_cancel, job_id)
    expire_lease(any_engine, job_id)
    assert run(any_engine, reap, max_crashes=1).cancelled == (job_id,)


def test_an_ended_job_stays_as_it_ended(any_engine):
    job_id = submit_job(any_engine)
    run(any_engine, succeed, claim_job(any_engine, job_id), {})
    assert run(any_engine, request_cancel, job_id) == "succeeded"


def test_what_the_guards_exclude_does_not_exist(any_engine):
    job_id = submit_job(any_engine)
    with pytest.raises(NotFoundError):
        run(any_engine, request_cancel, job_id, Job.guild_id == 5)
    with pytest.raises(NotFoundError):
        run(any_engine, request_cancel, "0" * 20)
    assert read_job(any_engine, job_id).state == "queued"


def test_the_relay_is_told_of_fresh_jobs_only_after_a_grace(any_engine):
    job_id = submit_job(any_engine)
    assert run(any_engine, never_sent, grace_seconds=60, limit=9) == []
    set_job(any_engine, job_id, created_at=epoch_now() - 61)
    (hint,) = run(any_engine, never_sent, grace_seconds=60, limit=9)
    assert hint.job_id == job_id
    run(any_engine, mark_dispatched, [job_id])
    assert run(any_engine, never_sent, grace_seconds=60, limit=9) == []
    assert run(any_engine, sent_long_ago, age_seconds=60, limit=9) == []
    set_job(any_engine, job_id, dispatched_at=epoch_now() - 61)
    assert run(any_engine, sent_long_ago, age_seconds=60, limit=9) == [hint]


@pytest.mark.parametrize(
    "values",
    [
        {"state": "asleep"},
        {"kind": "dance"},
        {"state": "running"},
        {"state": "succeeded"},
        {"finished_at": 1.0},
        {"error_code": "x"},
        {"crashes": 1},
        {"token": -1},
    ],
    ids=lambda v: ",".join(v),
)
def test_the_schema_refuses_a_row_that_contradicts_itself(any_engine, values):
    job_id = submit_job(any_engine)
    with Session(any_engine) as session, pytest.raises(IntegrityError):
        session.execute(update(Job).where(Job.id == job_id).values(**values))
