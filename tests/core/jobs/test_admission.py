import threading

import pytest
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.tables import Job
from core.errors import NotFoundError
from core.jobs.admission import admit, amend, refuse
from core.jobs.ledger import NewJob, claim, request_cancel, submit
from core.jobs.outbox import never_sent, reap
from core.jobs.states import JobKind, JobState
from tests.workers.ledger_helpers import read_job, set_job


def run(engine, function, *arguments, **named):
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


@pytest.fixture
def validating(any_engine):
    new = NewJob(JobKind.FINETUNE, 1, {"model": "coco"})
    return run(any_engine, submit, new, JobState.VALIDATING)


def test_a_validating_job_is_neither_sent_nor_claimed_nor_reaped(any_engine, validating):
    set_job(any_engine, validating, created_at=epoch_now() - 99)
    assert run(any_engine, never_sent, grace_seconds=1, limit=9) == []
    assert run(any_engine, claim, validating, "w", 30) is None
    assert run(any_engine, reap, max_crashes=1).requeued == ()
    assert read_job(any_engine, validating).state == "validating"


def test_an_admitted_job_is_owed_and_admitted_once(any_engine, validating):
    assert run(any_engine, amend, validating, corpus_path="corpora/x")
    assert run(any_engine, admit, validating)
    assert not run(any_engine, admit, validating)
    (hint,) = run(any_engine, never_sent, grace_seconds=-1, limit=9)
    assert (hint.job_id, hint.kind) == (validating, JobKind.FINETUNE)
    taken = run(any_engine, claim, validating, "w", 30)
    assert taken.payload == {"model": "coco", "corpus_path": "corpora/x"}
    assert not run(any_engine, amend, validating, corpus_path="corpora/y")
    assert not run(any_engine, refuse, validating, "corpus", "Bad.", {})
    assert read_job(any_engine, validating).state == "running"


def test_a_refused_job_says_why_and_starts_no_more(any_engine, validating):
    assert run(any_engine, refuse, validating, "corpus", "a.txt: bad.", {"file": "a.txt"})
    job = read_job(any_engine, validating)
    assert (job.state, job.error_code, job.error) == ("failed", "corpus", "a.txt: bad.")
    assert job.result == {"error_data": {"file": "a.txt"}}
    assert not run(any_engine, admit, validating)
    assert not run(any_engine, refuse, validating, "other", "Again.", {})


def test_what_the_guards_exclude_is_not_admitted(any_engine, validating):
    with pytest.raises(NotFoundError):
        run(any_engine, admit, validating, Job.guild_id == 5)
    assert read_job(any_engine, validating).state == "validating"


def test_of_start_and_cancel_pressed_at_once_one_wins(any_engine, validating):
    barrier = threading.Barrier(2)
    outcomes: dict[str, object] = {}

    def press(name, function) -> None:
        barrier.wait()
        outcomes[name] = run(any_engine, function, validating)

    threads = [
        threading.Thread(target=press, args=("start", admit)),
        threading.Thread(target=press, args=("cancel", request_cancel)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Cancelled it is in the end, whether Start came first or not; never both queued and cancelled.
    assert outcomes["cancel"] == "cancelled"
    assert read_job(any_engine, validating).state == "cancelled"
