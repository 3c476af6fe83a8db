"""What a trainer says, as the ledger keeps it."""

import time

from sqlalchemy.exc import OperationalError

from core.corpora.curves import Curve, read_curve
from core.db.desk import Desk
from tests.core.corpora.helpers import run
from tests.workers.ledger_helpers import claim_job, read_job, set_job, submit_job
from workers.finetuning import reporting
from workers.finetuning.reporting import Reporter
from workers.leases import HeldJob


def refuse(*_):
    raise OperationalError("SELECT", {}, ConnectionRefusedError())


def test_a_run_that_is_not_evaluated_leaves_its_curve_with_its_checkpoints(engine):
    job_id = submit_job(engine)
    desk = Desk(engine)
    desk.start()
    reporter = Reporter(desk, HeldJob(claim_job(engine, job_id), time.monotonic() + 60))
    for step, loss in ((1, 4.0), (2, 3.0)):
        reporter.hear({"event": "step", "step": step, "loss": loss, "tokens_per_second": 1.0})
    reporter.hear({"event": "checkpointed", "step": 2, "folder": "checkpoint-2"})
    desk.close()
    assert run(engine, read_curve, job_id) == Curve(train=((1, 4.0), (2, 3.0)))


def test_while_the_base_is_measured_that_is_the_progress(engine):
    job_id = submit_job(engine)
    desk = Desk(engine)
    desk.start()
    reporter = Reporter(desk, HeldJob(claim_job(engine, job_id), time.monotonic() + 60))
    measured = {"measured_tokens": 300, "tokens_to_measure": 900}
    reporter.hear({"event": "measured", "time": 1.0, **measured})
    desk.close()
    assert read_job(engine, job_id).result["progress"] == measured
    assert not reporter.has_begun, "a drain has nothing to wait for"


def test_the_samples_of_the_attempt_before_are_shown_until_there_are_new_ones(engine, monkeypatch):
    monkeypatch.setattr(reporting, "_PROGRESS_SECONDS", -1.0)
    job_id = submit_job(engine)
    samples = [{"prompt": "Who?", "text": "Coco."}]
    before = {"step": 7, "samples": samples, "sampled_step": 5}
    set_job(engine, job_id, result={"progress": before})
    desk = Desk(engine)
    desk.start()
    reporter = Reporter(desk, HeldJob(claim_job(engine, job_id), time.monotonic() + 60))
    with monkeypatch.context() as outage:
        outage.setattr(reporting, "_progress", refuse)
        reporter.hear({"event": "step", "step": 5, "loss": 4.0, "tokens_per_second": 1.0})
        assert read_job(engine, job_id).result["progress"] == before, "nothing takes their place"
    reporter.hear({"event": "step", "step": 6, "loss": 4.0, "tokens_per_second": 1.0})
    desk.close()
    told = read_job(engine, job_id).result["progress"]
    assert (told["step"], told["samples"], told["sampled_step"]) == (6, samples, 5)
