"""Small child processes, and looking at whether they live."""

import os
import sys
import textwrap
import time

from cli.up.children import ChildSpec

SLEEP = "import time; time.sleep(60)"


def spec(folder, code=SLEEP, name="child", stop_seconds=5.0, environment=None):
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = dict(os.environ) if environment is None else environment
    return ChildSpec(name, command, environment, folder / f"{name}.log", stop_seconds)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
