from core.corpora.curves import Curve, read_curve
from core.jobs.events import record
from tests.core.corpora.helpers import run
from tests.workers.ledger_helpers import submit_job


def test_a_curve_takes_the_newest_word_on_each_step(any_engine):
    job_id, other = submit_job(any_engine), submit_job(any_engine)
    assert run(any_engine, read_curve, job_id) == Curve()
    assert Curve().best_step is None
    run(any_engine, record, job_id, "evaluated", step=0, loss=4.0)
    run(any_engine, record, job_id, "evaluated", step=4, loss=3.0, train=[[1, 3.9], [4, 3.5]])
    run(any_engine, record, job_id, "evaluated", step=8, loss=None, train=[[8, 9.0]])
    run(any_engine, record, job_id, "checkpointed", step=4)
    run(any_engine, record, other, "evaluated", step=9, loss=1.0)
    # It went on from step 4.
    run(any_engine, record, job_id, "evaluated", step=8, loss=2.0, train=[[5, 3.2], [8, 2.5]])
    curve = run(any_engine, read_curve, job_id)
    assert curve.validation == ((0, 4.0), (4, 3.0), (8, 2.0))
    assert curve.train == ((1, 3.9), (4, 3.5), (5, 3.2), (8, 2.5))
    assert curve.best_step == 8


def test_without_evaluations_a_curve_stands_with_the_checkpoints(any_engine):
    job_id = submit_job(any_engine)
    run(any_engine, record, job_id, "checkpointed", step=2, train=[[1, 3.9], [2, 3.5]])
    assert run(any_engine, read_curve, job_id) == Curve(train=((1, 3.9), (2, 3.5)))
