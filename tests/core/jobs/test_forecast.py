"""When a waiting job is likely to begin."""

import pytest
from sqlalchemy import update

from core.db.clock import epoch_now
from core.db.tables import Job
from core.jobs.forecast import expected_wait
from core.jobs.ledger import claim, report_progress
from core.jobs.presence import announce
from core.jobs.states import JobKind, JobState
from tests.core.jobs.jobs_of_guilds import OTHER_GUILD, add_job, run

FINETUNE = JobKind.FINETUNE


def add_history(engine, *seconds: float, kind: JobKind = FINETUNE) -> None:
    """Jobs of another guild that took so long."""
    for lasted in seconds:
        job_id = add_job(engine, JobState.SUCCEEDED, kind, OTHER_GUILD)
        change = update(Job).where(Job.id == job_id)
        run(
            engine,
            lambda session, c=change, s=lasted: session.execute(
                c.values(started_at=epoch_now() - s, finished_at=epoch_now())
            ),
        )


def add_worker(engine, name: str = "finetune-a", kind: str = "finetune", **info) -> None:
    run(engine, announce, name, kind, info)


def begin(engine, **progress) -> None:
    """A job that runs, and what its worker last said of it."""
    job_id = add_job(engine, kind=FINETUNE)
    taken = run(engine, claim, job_id, "finetune-a", 30)
    if progress:
        run(engine, report_progress, taken, progress)


def wait(engine, ahead: int, kind: JobKind = FINETUNE) -> float | None:
    return run(engine, expected_wait, kind, ahead)


def test_nothing_is_foretold_without_a_worker_or_without_experience(any_engine):
    add_history(any_engine, 100)
    assert wait(any_engine, 0) is None
    add_worker(any_engine, "generate-a", "generate")
    assert wait(any_engine, 0) is None
    assert wait(any_engine, 0, JobKind.GENERATE) is None


def test_a_free_worker_begins_at_once_and_each_before_takes_its_usual_time(any_engine):
    add_history(any_engine, 50, 100, 900)
    add_worker(any_engine)
    assert wait(any_engine, 0) == 0
    assert wait(any_engine, 1) == pytest.approx(100, abs=1)
    assert wait(any_engine, 3) == pytest.approx(300, abs=3)


def test_a_running_job_that_says_how_long_it_takes_is_believed(any_engine):
    add_history(any_engine, 100)
    add_worker(any_engine)
    begin(any_engine, step=1, steps=9, seconds_left=1234)
    assert wait(any_engine, 0) == pytest.approx(1234, abs=1)


def test_a_running_job_that_says_nothing_takes_as_long_as_usual(any_engine):
    add_history(any_engine, 100)
    add_worker(any_engine)
    begin(any_engine)
    assert wait(any_engine, 0) == pytest.approx(100, abs=5)


def test_several_hosts_share_the_queue(any_engine):
    add_history(any_engine, 100)
    add_worker(any_engine)
    add_worker(any_engine, "finetune-b")
    begin(any_engine, seconds_left=30)
    assert wait(any_engine, 0) == 0
    assert wait(any_engine, 1) == pytest.approx(30, abs=1)
    assert wait(any_engine, 2) == pytest.approx(100, abs=1)


def test_a_worker_of_many_slots_takes_many_at_once(any_engine):
    add_history(any_engine, 10, kind=JobKind.GENERATE)
    add_worker(any_engine, "generate-a", "generate", slots=16)
    assert wait(any_engine, 15, JobKind.GENERATE) == 0
    assert wait(any_engine, 16, JobKind.GENERATE) == pytest.approx(10, abs=1)
    assert wait(any_engine, 16_000, JobKind.GENERATE) == pytest.approx(10_000, rel=0.01)


def test_upkeep_reads_the_uploads(any_engine):
    add_history(any_engine, 7, kind=JobKind.VALIDATE)
    add_worker(any_engine, "upkeep-a", "upkeep")
    assert wait(any_engine, 1, JobKind.VALIDATE) == pytest.approx(7, abs=1)
