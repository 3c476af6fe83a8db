"""Every order of what workers, people and upkeep do to the ledger, against a plain model of it.

Short by default. ``LEDGER_PROFILE=long`` looks further, with a new seed each time.
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.orm import Session

from core.errors import InvalidInputError
from core.jobs.ledger import fail, release, request_cancel
from tests.core.jobs.ledger_machine import LedgerMachine
from tests.workers.ledger_helpers import claim_job, read_job, submit_job

PROFILES = {
    "short": settings(max_examples=25, stateful_step_count=40, derandomize=True),
    "long": settings(max_examples=400, stateful_step_count=120),
}
PROFILE = settings(
    PROFILES[os.environ.get("LEDGER_PROFILE", "short")],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(3600 if "LEDGER_PROFILE" in os.environ else 400)
def test_no_order_of_events_breaks_a_law_of_the_ledger(any_engine):
    run_state_machine_as_test(lambda: LedgerMachine(any_engine), settings=PROFILE)


@pytest.mark.parametrize(
    "leave", [release, lambda session, held: fail(session, held, InvalidInputError("x"))]
)
def test_a_job_that_was_to_end_is_neither_given_back_nor_failed(any_engine, leave):
    job_id = submit_job(any_engine)
    held = claim_job(any_engine, job_id)
    with Session(any_engine) as session, session.begin():
        request_cancel(session, job_id)
        leave(session, held)
    job = read_job(any_engine, job_id)
    assert (job.state, job.error_code, job.error) == ("cancelled", None, None)
    assert job.finished_at is not None
