import json
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy.exc import OperationalError

from core.corpora.curves import CHECKPOINTED, EVALUATED
from core.jobs.ledger import confirm_cancel, record_held, report_progress, succeed
from core.jobs.queries import show_job
from core.jobs.states import JobKind, JobState
from tests.cli.running import perroquet
from tests.core.corpora.helpers import add_version, submit
from tests.core.jobs.jobs_of_guilds import GUILD, OTHER_GUILD, add_job
from tests.core.jobs.jobs_of_guilds import run as run_in
from tests.workers.ledger_helpers import claim_job, read_job, set_job


@pytest.fixture
def jobs(monkeypatch, capsys):
    return partial(perroquet, monkeypatch, capsys, "jobs")


def listed(jobs, *arguments):
    result = jobs("list", *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    return [job["id"] for job in json.loads(result.out)["jobs"]]


def test_jobs_are_listed_as_a_table_and_as_json(shell_engine, jobs):
    tune = add_job(shell_engine, JobState.FAILED, JobKind.FINETUNE, model="coco")
    answer = add_job(shell_engine, guild_id=OTHER_GUILD)
    shown = jobs("list")
    assert shown.code == 0
    for words in (tune, answer, "coco", "failed", "queued", str(GUILD)):
        assert words in shown.out
    assert listed(jobs) == [answer, tune]
    assert listed(jobs, "--state", "failed") == [tune]
    assert listed(jobs, "--kind", "generate") == [answer]
    assert listed(jobs, "--model", "coco") == [tune]
    assert listed(jobs, "--member", "5") == []
    assert listed(jobs, "--since", "1h", "--guild", str(OTHER_GUILD)) == [answer]
    assert listed(jobs, "--before", answer) == [tune]
    page = jobs("list", "--limit", "1")
    assert f"--before {answer}" in page.out
    assert "no such jobs" in jobs("list", "--guild", "1").out


def test_ids_stay_whole_on_a_narrow_terminal(shell_engine, jobs, monkeypatch):
    job_id = add_job(shell_engine, kind=JobKind.FINETUNE, model="a-model-with-a-long-name")
    monkeypatch.setenv("COLUMNS", "80")
    assert job_id in jobs("show", job_id).out


def test_a_job_is_one_line_and_its_model_is_whole_on_80_columns(shell_engine, jobs, monkeypatch):
    model = "a-model-with-a-long-name"
    cancelled = add_job(shell_engine, JobState.CANCELLED, JobKind.VALIDATE, member=2**60)
    job_id = add_job(shell_engine, JobState.FAILED, JobKind.FINETUNE, model=model)
    set_job(
        shell_engine, job_id, created_at=1.79e9, started_at=1.79e9, finished_at=1.79e9 + 98765.4
    )
    at = f"{datetime.fromtimestamp(1.79e9).astimezone():%m-%d %H:%M}"
    monkeypatch.setenv("COLUMNS", "80")
    head, first, second = jobs("list").out.splitlines()
    assert head.split() == ["job", "kind", "state", "model", "submitted"]
    assert first.split() == [job_id, "finetune", "failed", model, *at.split()]
    assert second.startswith(f"{cancelled}  validate  cancelled  ")
    monkeypatch.setenv("COLUMNS", "60")
    head, first, _ = jobs("list").out.splitlines()
    assert head.split() == ["job", "kind", "state", "model"]
    assert first.startswith(f"{job_id}  finetune  failed     a-model")
    assert first.endswith("…")
    monkeypatch.setenv("COLUMNS", "140")
    wide = jobs("list").out
    assert all(word in wide for word in (model, str(2**60), str(GUILD), at, "98765.4 s"))
    assert len(wide.splitlines()) == 3


def test_a_filter_that_means_nothing_is_a_wrong_usage_or_one_sentence(shell_engine, jobs):
    assert jobs("list", "--state", "asleep").code == 2
    refused = jobs("list", "--since", "whenever")
    assert (refused.code, "whenever" in refused.err) == (2, True)


def test_what_asks_for_json_is_told_of_an_error_in_json_too(shell_engine, jobs, monkeypatch):
    for arguments, code in ((("show", "nope"), 1), (("list", "--since", "whenever"), 2)):
        result = jobs(*arguments, "--json")
        error = json.loads(result.out)["error"]
        assert (result.code, result.err) == (code, error["message"] + "\n")
        assert arguments[-1] in error["message"]
    assert error["code"] == "since"
    monkeypatch.setenv("PERROQUET_COLOUR", "red")
    result = jobs("list", "--json")
    assert (result.code, json.loads(result.out)["error"]["code"]) == (2, "settings")


def test_a_job_is_shown_with_its_timeline(shell_engine, jobs):
    job_id = add_job(
        shell_engine, JobState.FAILED, JobKind.FINETUNE, model="coco", options={"epochs": 2}
    )
    shown = jobs("show", job_id)
    for words in ("submitted", "claimed", "Too odd. (invalid-input)", "epochs 2", "coco"):
        assert words in shown.out
    detail = json.loads(jobs("show", job_id, "--json").out)
    assert detail["summary"]["state"] == "failed"
    assert [entry["type"] for entry in detail["timeline"]] == ["submitted", "claimed", "failed"]
    waiting = jobs("show", add_job(shell_engine))
    assert "1 of 1" in waiting.out
    assert "attempts" not in waiting.out


def test_a_job_that_has_ended_takes_no_longer(shell_engine, jobs):
    job_id = add_job(shell_engine, kind=JobKind.FINETUNE)
    taken = claim_job(shell_engine, job_id)
    run_in(shell_engine, report_progress, taken, {"step": 3, "steps": 9, "seconds_left": 61})
    assert "seconds_left 61" in jobs("show", job_id).out
    assert "3/9" in jobs("list").out
    assert jobs("cancel", job_id).code == 0
    run_in(shell_engine, confirm_cancel, taken)
    shown = jobs("show", job_id).out
    assert ("step 3" in shown, "seconds_left" in shown) == (True, False)
    assert "progress" not in jobs("list").out


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "retry"])
def test_an_id_that_is_not_there_ends_with_1_and_one_sentence(shell_engine, jobs, command):
    foreign = add_job(shell_engine)
    for arguments in (["0" * 20], [foreign, "--guild", "1"]):
        result = jobs(command, *arguments)
        assert (result.code, result.out) == (1, "")
        assert result.err == f"There is no job {arguments[0]}.\n"
    assert read_job(shell_engine, foreign).state == "queued"


def test_a_job_is_cancelled_once_and_a_running_one_is_asked_to_stop(shell_engine, jobs):
    waiting, running = add_job(shell_engine), add_job(shell_engine, JobState.RUNNING)
    assert "is cancelled" in jobs("cancel", waiting).out
    assert json.loads(jobs("cancel", running, "--json").out)["state"] == "running"
    assert read_job(shell_engine, running).cancel_requested
    done = jobs("cancel", add_job(shell_engine, JobState.SUCCEEDED))
    assert (done.code, done.err) == (1, "The job had succeeded before.\n")


def test_cancelling_a_fine_tune_takes_its_upload_along(shell_engine, jobs, tmp_path):
    submitted = submit(shell_engine, add_version(shell_engine))
    corpus_id = read_job(shell_engine, submitted.job_id).payload["corpus_id"]
    from core.corpora.uploads import Uploads

    folder = tmp_path / "data" / "store" / Uploads.path_of(corpus_id)
    folder.mkdir(parents=True)
    (folder / "0").write_text("words")
    assert jobs("cancel", submitted.job_id).code == 0
    assert not folder.exists()


def test_a_failed_job_is_tried_again_and_a_sound_one_is_not(shell_engine, jobs):
    failed = add_job(shell_engine, JobState.FAILED)
    new_id = jobs("retry", failed).out.strip()
    assert read_job(shell_engine, new_id).state == "queued"
    again = jobs("retry", failed)
    assert (again.code, new_id in again.err) == (1, True)
    assert jobs("retry", new_id).code == 1
    cancelled = add_job(shell_engine, JobState.CANCELLED)
    assert json.loads(jobs("retry", cancelled, "--json").out)["job"] == cancelled


def pausing(*deeds):
    """A sleep that does one deed after the other, so that nothing happens between two looks."""
    left = list(deeds)
    return lambda _seconds: left.pop(0)()


def test_a_job_is_watched_to_its_end(shell_engine, jobs, monkeypatch):
    job_id = add_job(shell_engine, kind=JobKind.FINETUNE, model="coco")
    held = []

    def begin():
        held.append(claim_job(shell_engine, job_id, "finetune-host-1"))
        run_in(shell_engine, report_progress, held[0], {"step": 1, "steps": 2})

    def end():
        run_in(shell_engine, succeed, held[0], {"metrics": {}})

    monkeypatch.setattr("time.sleep", pausing(begin, lambda: None, end))
    result = jobs("watch", job_id, "--json")
    assert result.code == 0
    changes = [json.loads(line) for line in result.out.splitlines()]
    assert [change["summary"]["state"] for change in changes] == ["queued", "running", "succeeded"]
    assert changes[1]["summary"]["progress"] == {"step": 1, "steps": 2}
    assert "coco" in jobs("watch", job_id).out


def test_in_a_pipe_a_watched_job_is_told_of_in_lines(shell_engine, jobs, monkeypatch):
    job_id = add_job(shell_engine, kind=JobKind.FINETUNE, model="coco")
    held = []
    now = [1.79e9]

    def begin():
        held.append(claim_job(shell_engine, job_id, "finetune-host-1"))
        go_on(1)

    def go_on(step, seconds=1):
        now[0] += seconds
        run_in(shell_engine, report_progress, held[0], {"step": step, "steps": 90})

    def evaluate():
        run_in(shell_engine, record_held, held[0], EVALUATED, step=2, loss=3.25)
        run_in(shell_engine, record_held, held[0], CHECKPOINTED, step=2)

    def end():
        run_in(shell_engine, succeed, held[0], {"metrics": {}})

    deeds = (begin, lambda: go_on(2), evaluate, lambda: go_on(3), lambda: go_on(9, 61), end)
    monkeypatch.setattr("time.sleep", pausing(*deeds))
    monkeypatch.setattr("cli.jobs.time.time", lambda: now[0])
    result = jobs("watch", job_id)
    lines = result.out.splitlines()
    # Before the whole of its last state.
    told = [line.split("  ", 1)[1] for line in lines[: lines.index(next(filter(is_whole, lines)))]]
    assert told == [
        "queued",
        "running  step 1, steps 90",
        "evaluated  step 2, loss 3.25",
        "running  step 9, steps 90",
        "succeeded",
    ]


def is_whole(line):
    return line.startswith("job ")


def test_a_database_that_goes_away_while_a_job_is_watched_is_waited_for(
    shell_engine, jobs, monkeypatch
):
    job_id = add_job(shell_engine)
    away = []

    def ask(*arguments):
        if away:
            raise OperationalError("SELECT", {}, ConnectionRefusedError())
        return show_job(*arguments)

    def come_back():
        away.clear()
        run_in(shell_engine, succeed, claim_job(shell_engine, job_id), {"text": "x"})

    monkeypatch.setattr("cli.jobs.show_job", ask)
    monkeypatch.setattr("time.sleep", pausing(lambda: away.append(1), lambda: None, come_back))
    changes = jobs("watch", job_id, "--json").out.splitlines()
    states = [json.loads(change)["summary"]["state"] for change in changes]
    assert states == ["queued", "succeeded"]


def test_watching_what_ends_badly_ends_with_1(shell_engine, jobs):
    failed = jobs("watch", add_job(shell_engine, JobState.FAILED))
    assert (failed.code, failed.err) == (1, "Too odd.\n")
    cancelled = jobs("watch", add_job(shell_engine, JobState.CANCELLED), "--json")
    assert (cancelled.code, cancelled.err) == (1, "The job was cancelled.\n")


def test_a_database_that_is_away_ends_with_3(jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/d")
    result = jobs("list")
    assert result.code == 3
    assert "hush" not in result.err


def test_help_names_every_command(jobs):
    shown = jobs("--help").out
    for command in ("list", "show", "watch", "cancel", "retry"):
        assert command in shown
