from prometheus_client import REGISTRY
from sqlalchemy.orm import Session

from core.jobs.presence import announce
from tests.workers.ledger_helpers import submit_job
from workers.upkeep.queue_figures import renew_queue_figures


def figure(name: str, kind: str) -> float:
    return REGISTRY.get_sample_value(name, {"kind": kind})


def test_what_waits_and_who_works_is_counted_over_all_hosts(any_engine):
    renew_queue_figures(any_engine)
    assert figure("perroquet_queued_jobs", "generate") == 0
    submit_job(any_engine)
    submit_job(any_engine)
    with Session(any_engine) as session, session.begin():
        announce(session, "generate-a", "generate", {})
        announce(session, "generate-b", "generate", {})
    renew_queue_figures(any_engine)
    assert figure("perroquet_queued_jobs", "generate") == 2
    assert figure("perroquet_oldest_queued_seconds", "generate") >= 0
    assert figure("perroquet_workers", "generate") == 2
    assert figure("perroquet_workers", "finetune") == 0
