import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.tables import Job, JobEvent
from core.errors import NotFoundError
from core.jobs.ledger import claim, release, request_cancel, succeed
from core.jobs.outbox import mark_dispatched, never_sent, reap, sent_long_ago
from core.jobs.states import JobKind
from core.jobs.steering import pause, read_wish, resume, stop_early
from tests.workers.ledger_helpers import (
    claim_job,
    expire_lease,
    read_job,
    set_job,
    submit_job,
)


def run(engine, function, *arguments, **named):
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def owed(engine):
    fresh = run(engine, never_sent, grace_seconds=-1, limit=9)
    return fresh + run(engine, sent_long_ago, age_seconds=-1, limit=9)


@pytest.fixture
def job_id(any_engine):
    return submit_job(any_engine, JobKind.FINETUNE)


def test_a_paused_job_waits_until_it_is_resumed(any_engine, job_id):
    taken = claim_job(any_engine, job_id)
    assert run(any_engine, read_wish, taken) is None
    assert run(any_engine, pause, job_id)
    assert not run(any_engine, pause, job_id), "it is asked for once"
    assert run(any_engine, read_wish, taken) == "pause"
    run(any_engine, release, taken)
    assert owed(any_engine) == []
    assert run(any_engine, claim, job_id, "w", 30) is None
    assert run(any_engine, resume, job_id)
    assert [hint.job_id for hint in owed(any_engine)] == [job_id]
    assert run(any_engine, read_wish, claim_job(any_engine, job_id)) is None
    with Session(any_engine) as session:
        events = session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id)).all()
    assert events == ["pause_requested", "released", "resumed"]


def test_a_job_that_waits_in_its_queue_is_paused_there(any_engine, job_id):
    run(any_engine, mark_dispatched, [job_id])
    set_job(any_engine, job_id, dispatched_at=epoch_now() - 99)
    assert run(any_engine, pause, job_id)
    assert owed(any_engine) == []
    assert run(any_engine, claim, job_id, "w", 30) is None, "a hint may still be under way"


def test_a_pause_outlives_the_crash_of_its_worker(any_engine, job_id):
    claim_job(any_engine, job_id)
    run(any_engine, pause, job_id)
    expire_lease(any_engine, job_id)
    run(any_engine, reap, max_crashes=4)
    assert owed(any_engine) == []


def test_a_paused_job_is_run_once_more_to_keep_its_best(any_engine, job_id):
    assert not run(any_engine, stop_early, job_id), "nothing is there to keep"
    taken = claim_job(any_engine, job_id)
    run(any_engine, pause, job_id)
    run(any_engine, release, taken)
    assert run(any_engine, stop_early, job_id)
    assert not run(any_engine, stop_early, job_id)
    assert not run(any_engine, pause, job_id), "it is to end"
    assert not run(any_engine, resume, job_id)
    assert len(owed(any_engine)) == 1
    assert run(any_engine, read_wish, claim_job(any_engine, job_id)) == "stop"


def test_an_ended_or_cancelled_job_hears_no_wish(any_engine, job_id):
    taken = claim_job(any_engine, job_id)
    run(any_engine, request_cancel, job_id)
    assert not run(any_engine, pause, job_id)
    set_job(any_engine, job_id, cancel_requested=False)
    run(any_engine, succeed, taken, {})
    assert not run(any_engine, stop_early, job_id)
    assert read_job(any_engine, job_id).wish is None


def test_who_lost_the_job_hears_no_wish_of_it(any_engine, job_id):
    stale = claim_job(any_engine, job_id)
    expire_lease(any_engine, job_id)
    run(any_engine, reap, max_crashes=4)
    claim_job(any_engine, job_id)
    run(any_engine, pause, job_id)
    assert run(any_engine, read_wish, stale) is None


@pytest.mark.parametrize("wish", [pause, resume, stop_early])
def test_what_the_guards_exclude_does_not_exist(any_engine, job_id, wish):
    with pytest.raises(NotFoundError):
        run(any_engine, wish, job_id, Job.guild_id == 5)
