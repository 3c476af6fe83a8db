from core.ids import new_id
from core.jobs.ledger import request_cancel
from core.jobs.states import JobKind
from tests.core.corpora.helpers import run
from tests.workers.ledger_helpers import claim_job, submit_job
from workers.folders import sweep_folders


def make_run(parent, job_id):
    folder = parent / job_id / "checkpoint-8"
    folder.mkdir(parents=True)
    (folder / "optimizer.safetensors").write_bytes(b"x")


def test_the_folders_of_jobs_that_are_ended_or_gone_are_swept(engine, tmp_path):
    waiting, running, cancelled = (submit_job(engine, JobKind.FINETUNE) for _ in range(3))
    claim_job(engine, running)
    run(engine, request_cancel, cancelled)
    for job_id in (waiting, running, cancelled, new_id()):
        make_run(tmp_path / "runs", job_id)
    (tmp_path / "runs" / "notes").mkdir()
    sweep_folders(engine, tmp_path / "runs")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {waiting, running, "notes"}


def test_where_nothing_ran_nothing_is_swept(engine, tmp_path):
    sweep_folders(engine, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
