import json
from functools import partial

import pytest
from rich.console import Console
from sqlalchemy import create_engine

from cli.top import _renewed
from core.jobs.ledger import report_progress
from core.jobs.presence import announce
from core.jobs.states import JobKind, JobState
from tests.cli.running import perroquet
from tests.core.jobs.jobs_of_guilds import add_job, run
from tests.workers.ledger_helpers import claim_job


@pytest.fixture
def top(monkeypatch, capsys):
    return partial(perroquet, monkeypatch, capsys, "top")


INFO = {
    "host": "gpu-1",
    "pid": 77,
    "device": "cuda:0",
    "memory_used_bytes": 3 * 2**30,
    "memory_total_bytes": 12 * 2**30,
    "models": {"models/a/1": {"dtype": "bfloat16"}, "models/b/1": {}},
    "jobs": 5,
    "tokens_per_second": 41.5,
}


def test_processes_queues_and_jobs_are_shown_once_where_nobody_looks(shell_engine, top):
    run(shell_engine, announce, "generate-1", "generate", INFO)
    waiting = add_job(shell_engine)
    failed = add_job(shell_engine, JobState.FAILED, JobKind.FINETUNE, model="coco")
    shown = top()
    assert shown.code == 0
    for words in ("gpu-1", "cuda:0", "3.0/12.0 GiB", "2 bfloat16", "41.5", waiting, failed, "coco"):
        assert words in shown.out
    moment = json.loads(top("--json").out)
    assert moment["processes"][0]["info"]["pid"] == 77
    assert {q["kind"]: q["queued"] for q in moment["queues"]}["generate"] == 1
    assert [job["id"] for job in moment["jobs"]] == [failed, waiting]


def test_a_fine_tune_that_runs_stays_in_sight_of_many_answers(shell_engine, top):
    tune = add_job(shell_engine, kind=JobKind.FINETUNE, model="coco")
    progress = {"step": 3, "steps": 9}
    run(shell_engine, report_progress, claim_job(shell_engine, tune), progress)
    answers = [add_job(shell_engine) for _ in range(20)]
    moment = json.loads(top("--json").out)
    assert [job["id"] for job in moment["jobs"]] == [tune, *reversed(answers[-11:])]
    (line,) = [line for line in top("--once").out.splitlines() if tune in line]
    assert "3/9" in line


def test_no_cell_is_broken_on_a_narrow_terminal(shell_engine, top, monkeypatch):
    long_names = {
        "host": "gpu-host-of-the-cellar",
        "device": "NVIDIA H100 80GB HBM3",
        "pid": 123456,
    }
    run(shell_engine, announce, "generate-1", "generate", INFO | long_names)
    add_job(shell_engine, JobState.FAILED, JobKind.FINETUNE, model="smollm2-135m-instruct")
    monkeypatch.setenv("COLUMNS", "80")
    lines = top().out.splitlines()
    assert "smollm2-135m-instruct" in lines[-1]
    head, process = lines[2:4]
    assert head.split()[-3:] == ["jobs", "tokens/s", "seen"]
    for words in ("generate", "gpu-", "123456", "3.0/12.0 GiB", "2 bfloat16", "41.5", " s"):
        assert words in process


def test_an_idle_installation_says_what_to_start(shell_engine, top):
    shown = top("--once").out
    assert "perroquet up" in shown
    assert "None so far." in shown


def test_a_database_that_goes_away_is_said_and_looked_for_again(tmp_path):
    away = create_engine(f"sqlite:///{tmp_path}/none/none.db")
    console = Console()
    with console.capture() as capture:
        console.print(_renewed(away))
    assert "does not answer" in capture.get()
