import threading
import time

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.db.tables import Job
from core.errors import InvalidInputError
from core.jobs.ledger import Claim, request_cancel, succeed
from tests.workers.ledger_helpers import read_job, set_job, submit_job
from workers.leases import HeldJob, LeaseKeeper, StopReason
from workers.runner import JobRunner


class Bench:
    """A runner over a real ledger whose work each test chooses."""

    def __init__(self, engine) -> None:
        self.engine = engine
        self.keeper = LeaseKeeper(engine, "w", "generate", 2.0)
        self.ended: list[str] = []
        self.work = self.succeed
        self.brief = lambda session, claim: None
        self.desk = Desk(engine)
        self.desk.start()
        self.runner = JobRunner(
            self.desk,
            self.keeper,
            isolate_after_crashes=2,
            work=lambda held: self.work(held),
            ended=lambda claim: self.ended.append(claim.job_id),
            brief=lambda session, claim: self.brief(session, claim),
        )

    def succeed(self, held: HeldJob) -> None:
        with Session(self.engine) as session, session.begin():
            succeed(session, held.claim, {"text": "done"})


@pytest.fixture
def bench(engine):
    bench = Bench(engine)
    yield bench
    bench.desk.close()


def test_work_that_goes_well_ends_the_job(bench):
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).result == {"text": "done"}
    assert bench.ended == [job_id]


def test_every_outcome_is_counted_for_monitoring(bench):
    def count(outcome: str) -> float:
        labels = {"kind": "generate", "outcome": outcome}
        return REGISTRY.get_sample_value("perroquet_jobs_total", labels) or 0

    def refuse(held: HeldJob) -> None:
        raise InvalidInputError("Too odd.")

    def be_drained(held: HeldJob) -> None:
        held.stop(StopReason.DRAINED)
        held.check()

    def lose(held: HeldJob) -> None:
        held.stop(StopReason.LOST)
        held.check()

    works = {
        "succeeded": bench.succeed,
        "failed": refuse,
        "released": be_drained,
        "lease_lost": lose,
    }
    for outcome, work in works.items():
        before = count(outcome)
        bench.work = work
        bench.runner.run(submit_job(bench.engine))
        assert count(outcome) == before + 1, outcome


def test_a_second_hint_is_a_no_op(bench):
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).token == 1
    assert bench.ended == [job_id]


def test_a_hint_without_a_job_is_a_no_op(bench):
    bench.runner.run("0" * 20)
    assert bench.ended == []


def test_an_error_of_ours_fails_the_job_with_its_code(bench):
    def work(held: HeldJob) -> None:
        raise InvalidInputError("Too odd.", limit=3)

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.error_code, job.error) == ("failed", "invalid-input", "Too odd.")
    assert job.result == {"error_data": {"limit": 3}}


def test_the_work_is_briefed_in_the_transaction_of_its_claim(bench):
    def brief(session: Session, claim: Claim) -> str:
        return f"{session.scalar(select(Job.state).where(Job.id == claim.job_id))} {claim.token}"

    def work(held: HeldJob) -> None:
        briefs.append(held.brief)
        bench.succeed(held)

    briefs: list[str] = []
    bench.brief, bench.work = brief, work
    bench.runner.run(submit_job(bench.engine))
    assert briefs == ["running 1"]


def test_a_brief_that_fails_fails_the_job_and_keeps_the_claim(bench):
    def brief(session: Session, claim: Claim) -> None:
        raise InvalidInputError("Nothing to do.")

    bench.brief = brief
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.token, job.error) == ("failed", 1, "Nothing to do.")
    assert bench.ended == [job_id]


def test_a_surprise_fails_the_job_without_telling_its_text(bench):
    def work(held: HeldJob) -> None:
        raise ZeroDivisionError("what a member said")

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.error_code) == ("failed", "internal")
    assert "member" not in job.error


def test_a_cancelled_job_ends_cancelled(bench):
    def work(held: HeldJob) -> None:
        with Session(bench.engine) as session, session.begin():
            request_cancel(session, held.claim.job_id)
        bench.succeed(held)

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "cancelled"
    assert bench.ended == [job_id]


def test_a_drained_job_goes_back_unharmed(bench):
    def work(held: HeldJob) -> None:
        held.stop(StopReason.DRAINED)
        held.check()

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.crashes, job.dispatched_at) == ("queued", 0, None)
    assert bench.ended == []


def test_after_a_drain_began_nothing_is_claimed(bench):
    bench.runner.drain()
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "queued"


def test_the_result_of_a_lost_lease_is_dropped(bench):
    def work(held: HeldJob) -> None:
        set_job(bench.engine, held.claim.job_id, token=held.claim.token + 1)
        bench.succeed(held)

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    job = read_job(bench.engine, job_id)
    assert (job.state, job.result) == ("running", None)
    assert bench.ended == []


def test_a_job_that_loses_its_database_is_left_to_the_reaper(bench):
    def work(held: HeldJob) -> None:
        raise OperationalError("SELECT 1", {}, OSError("gone"))

    bench.work = work
    job_id = submit_job(bench.engine)
    bench.runner.run(job_id)
    assert read_job(bench.engine, job_id).state == "running"
    assert bench.ended == []


def test_a_job_with_two_crashes_waits_until_it_is_alone(bench):
    neighbour_is_in, neighbour_may_leave = threading.Event(), threading.Event()
    seen: list[str] = []

    def work(held: HeldJob) -> None:
        if held.claim.job_id == neighbour:
            neighbour_is_in.set()
            neighbour_may_leave.wait(5)
        seen.append(held.claim.job_id)
        bench.succeed(held)

    bench.work = work
    neighbour, poison = submit_job(bench.engine), submit_job(bench.engine)
    set_job(bench.engine, poison, token=2, crashes=2)

    threads = [threading.Thread(target=bench.runner.run, args=(neighbour,))]
    threads[0].start()
    assert neighbour_is_in.wait(2)
    threads.append(threading.Thread(target=bench.runner.run, args=(poison,)))
    threads[1].start()
    time.sleep(0.1)
    assert read_job(bench.engine, poison).state == "queued", "it holds no lease while it waits"
    neighbour_may_leave.set()
    for thread in threads:
        thread.join(5)
    assert seen == [neighbour, poison]
