"""The database's clock goes back, as a wrong one does: nothing waits for it to catch up."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.db.tables import Job, Worker
from core.jobs.outbox import mark_dispatched, never_sent, reap, sent_long_ago, shorten_leases
from core.jobs.presence import alive, announce
from tests.workers.ledger_helpers import claim_job, expire_lease, read_job, submit_job

HOUR, LEASE = 3600.0, 20.0


def run(engine, function, *arguments, **named):
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def turn_back(engine) -> None:
    """Write all times as an hour later than now, which is what they are once the clock is back."""
    columns = (Job.lease_until, Job.dispatched_at, Job.created_at)
    run(engine, lambda s: s.execute(update(Job).values({c: c + HOUR for c in columns})))
    run(engine, lambda s: s.execute(update(Worker).values(seen_at=Worker.seen_at + HOUR)))


def test_a_lease_is_brought_back_to_its_length_and_its_job_is_owed_again_in_time(any_engine):
    job_id = submit_job(any_engine)
    claim_job(any_engine, job_id, lease=LEASE)
    turn_back(any_engine)
    assert run(any_engine, reap, max_crashes=4).requeued == ()
    assert run(any_engine, shorten_leases, LEASE) == [job_id]
    assert read_job(any_engine, job_id).state == "running", "its worker may be alive"
    expire_lease(any_engine, job_id)
    assert run(any_engine, reap, max_crashes=4).requeued == (job_id,)


def test_a_lease_of_its_proper_length_is_left_alone(any_engine):
    job_id = submit_job(any_engine)
    claim_job(any_engine, job_id, lease=LEASE)
    before = read_job(any_engine, job_id).lease_until
    assert run(any_engine, shorten_leases, LEASE) == []
    assert read_job(any_engine, job_id).lease_until == before


def test_what_was_never_sent_is_owed_at_once(any_engine):
    job_id = submit_job(any_engine)
    turn_back(any_engine)
    owed = run(any_engine, never_sent, grace_seconds=30.0, limit=9)
    assert [hint.job_id for hint in owed] == [job_id]


def test_what_was_sent_may_have_been_sent_long_ago(any_engine):
    job_id = submit_job(any_engine)
    run(any_engine, mark_dispatched, [job_id])
    assert run(any_engine, sent_long_ago, age_seconds=30.0, limit=9) == []
    turn_back(any_engine)
    sent = run(any_engine, sent_long_ago, age_seconds=30.0, limit=9)
    assert [hint.job_id for hint in sent] == [job_id]


def test_a_process_that_was_seen_in_the_future_is_not_taken_for_alive(any_engine):
    run(any_engine, announce, "w", "generate", {})
    assert [process.id for process in run(any_engine, alive)] == ["w"]
    turn_back(any_engine)
    assert run(any_engine, alive) == []
    run(any_engine, announce, "w", "generate", {})
    assert [process.id for process in run(any_engine, alive)] == ["w"]
