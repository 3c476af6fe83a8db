"""What a worker process does before it imports anything heavy."""

import os
import subprocess
import sys

import pytest

import workers.main
from core.settings import load_settings


@pytest.mark.parametrize(("given", "found"), [(None, "10000"), ("7", "7")])
def test_waiting_threads_spin_shortly_unless_the_operator_says_otherwise(
    monkeypatch, tmp_path, database_url, given, found
):
    monkeypatch.setenv("GOMP_SPINCOUNT", given or "")
    if given is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    counts = []
    monkeypatch.setattr(
        workers.main, "_run", lambda *_: counts.append(os.environ["GOMP_SPINCOUNT"])
    )
    settings = load_settings({"DATABASE_URL": database_url}, tmp_path / "none")
    workers.main.run_worker("generate", settings)
    assert counts == [found]


def test_pytorch_is_not_there_before():
    code = "import sys, workers.main, cli.processes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
