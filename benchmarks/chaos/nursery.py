"""Makes the processes of a run by forking one that has imported everything already.

Faults start hundreds of processes anew, and an interpreter that imports torch costs five seconds of
a core; a fork costs nothing. What runs in it is what would run otherwise.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.chaos import clock

_PRELOADED = "benchmarks.chaos.preload"


class Child(Protocol):
    """A process, as :class:`subprocess.Popen` describes one."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, or None while it lives."""
        ...

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises ``subprocess.TimeoutExpired``."""
        ...


class ForkedChild:
    """A process of the product's own: ``bot``, ``generate``, ``finetune`` or ``upkeep``."""

    def __init__(self, kind: str, environment: dict[str, str], log_file: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_PRELOADED])
        arguments = (kind, environment, str(log_file))
        self._process = context.Process(target=_live, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid is not None  # noqa: S101 - it was started
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it lives."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal; one that has ended hears nothing."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code


def end_at_once(child: Child) -> None:
    """End a process without a word."""
    child.send_signal(signal.SIGKILL)


def _live(kind: str, environment: dict[str, str], log_file: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    clock.live_by(environment)
    sys.argv = ["perroquet", kind]
    sys.exit(_main_of(kind)())


def _main_of(kind: str) -> Callable[[], int]:
    if kind == "bot":
        from bot.main import main as run_bot

        return run_bot
    if kind == "generate":
        from benchmarks.chaos.worker import main as run_worker

        return run_worker
    from workers.main import main as run_main

    return run_main
