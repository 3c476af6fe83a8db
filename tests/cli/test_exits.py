"""The exit codes that docs/operators.md promises, of commands and of processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import exits
from core.db.engines import make_engine
from core.jobs.states import JobKind, JobState
from migrations.runner import migrate
from tests.cli.running import perroquet
from tests.core.jobs.jobs_of_guilds import add_job

OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"
AWAY = "postgresql://parrot@127.0.0.1:1/none"


@pytest.fixture
def installation(monkeypatch, tmp_path):
    """A data folder with a database; returns its engine."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    for name in ("DATABASE_URL", "REDIS_URL", "DISCORD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'perroquet.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


def test_the_guide_has_each_code_once():
    told = re.findall(r"^\| (\d+) \|", OPERATORS.read_text(encoding="utf-8"), re.MULTILINE)
    known = [exits.DONE, exits.FAILED, exits.USAGE, exits.UNAVAILABLE, exits.INTERRUPTED]
    assert [int(code) for code in told] == known


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (exits.DONE, ("jobs", "list")),
        (exits.DONE, ("models", "list")),
        (exits.DONE, ("top", "--once")),
        (exits.DONE, ("--help",)),
        (exits.FAILED, ("jobs", "show", "nope")),
        (exits.FAILED, ("jobs", "retry", "nope")),
        (exits.FAILED, ("models", "remove", "nope", "--yes")),
        (exits.FAILED, ("models", "verify", "nope")),
        (exits.USAGE, ("models", "add", "nope")),
        (exits.USAGE, ("models", "add", "path:/nowhere")),
        (exits.USAGE, ("jobs", "list", "--since", "soon")),
        (exits.USAGE, ("jobs", "list", "--state", "odd")),
        (exits.USAGE, ("nope",)),
        (exits.USAGE, ("bench", "nope")),
    ],
)
def test_a_command_ends_with_its_code(installation, monkeypatch, capsys, code, arguments):
    assert perroquet(monkeypatch, capsys, *arguments).code == code


@pytest.mark.parametrize(
    "arguments",
    [("jobs", "list"), ("models", "list"), ("top", "--once"), ("migrate",), ("generate",)],
)
def test_a_database_that_is_away_is_3(installation, monkeypatch, capsys, arguments):
    monkeypatch.setenv("DATABASE_URL", AWAY)
    assert perroquet(monkeypatch, capsys, *arguments).code == exits.UNAVAILABLE


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "list"),
        ("worker", "generate"),
        ("worker", "finetune"),
        ("worker", "upkeep"),
        ("bot",),
    ],
)
def test_another_schema_is_3_for_commands_and_processes_alike(
    installation, monkeypatch, capsys, arguments
):
    migrate(installation, "base")
    migrate(installation, "0001")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("DISCORD_TOKEN", "none")
    result = perroquet(monkeypatch, capsys, *arguments)
    assert (result.code, "perroquet migrate" in result.err) == (exits.UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("workers.main", ["upkeep"]), ("bot.main", []), ("playground.main", [])],
)
def test_a_process_of_up_ends_with_the_same_codes(installation, module, arguments):
    def run(**variables: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            check=False,
        ).returncode

    assert run(PERROQUET_COLOUR="red") == exits.USAGE
    if module != "playground.main":
        migrate(installation, "base")
        variables = {"REDIS_URL": "redis://127.0.0.1:1", "DISCORD_TOKEN": "none"}
        assert run(**variables) == exits.UNAVAILABLE


def test_ctrl_c_is_130(installation):
    job_id = add_job(installation, kind=JobKind.FINETUNE)
    command = [sys.executable, "-m", "cli", "jobs", "watch", "--json", job_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert '"queued"' in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == exits.INTERRUPTED


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (JobState.SUCCEEDED, exits.DONE),
        (JobState.FAILED, exits.FAILED),
        (JobState.CANCELLED, exits.FAILED),
    ],
)
def test_watching_ends_as_the_job_did(installation, monkeypatch, capsys, state, code):
    job_id = add_job(installation, state)
    assert perroquet(monkeypatch, capsys, "jobs", "watch", job_id).code == code


def test_cancelling_what_had_ended_is_1_and_what_is_cancelled_0(installation, monkeypatch, capsys):
    job_id = add_job(installation)
    for _ in range(2):
        assert perroquet(monkeypatch, capsys, "jobs", "cancel", job_id).code == exits.DONE
    failed = add_job(installation, JobState.FAILED)
    assert perroquet(monkeypatch, capsys, "jobs", "cancel", failed).code == exits.FAILED
