"""Child processes that never outlive their parent."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_LEASH = Path(__file__).with_name("leash.py")
_LOG_MAX_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ChildSpec:
    """A process to run: what it is for people, its command, its environment, its log file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    stop_seconds: float = 20.0


@dataclass
class Child:
    """A running process of ours, started again by ``restart`` where it ended by itself."""

    spec: ChildSpec
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)
    restarts: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    @property
    def ending(self) -> str:
        """How it ended, as the end of a sentence."""
        code = self.process.returncode
        if code is None:
            return "runs"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def restart(self) -> None:
        """Start it anew, after what is left of it was ended."""
        self.kill()
        self.process = _spawn(self.spec)
        self.started_at = time.monotonic()
        self.restarts += 1

    def bound_log(self) -> None:
        """Keep its log bounded while it runs: set a long one aside, and go on with an empty one.

        What it writes in the instant between the two is lost.
        """
        if _is_long(self.spec.log_file):
            _copy_aside(self.spec.log_file)
            os.truncate(self.spec.log_file, 0)

    def terminate(self) -> None:
        """Ask it to end; does not wait."""
        if not self.has_ended:
            self.process.terminate()

    def kill(self) -> None:
        """End it and its own children at once."""
        # They share its group; the group outlives the process while one of them lives.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_child(spec: ChildSpec) -> Child:
    """Start a process in a group of its own that ends when this process does, however it ends.

    The kernel ties it to the calling thread: call this from the main thread.
    """
    spec.log_file.parent.mkdir(parents=True, exist_ok=True)
    return Child(spec, _spawn(spec))


def _spawn(spec: ChildSpec) -> subprocess.Popen[bytes]:
    _rotate(spec.log_file)
    leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid())]
    with spec.log_file.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - commands of our own making
            [*leash, *spec.command],
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _rotate(log_file: Path) -> None:
    """Keep one older log, so that logs stay bounded over many starts."""
    if _is_long(log_file):
        log_file.replace(_older(log_file))


def _is_long(log_file: Path) -> bool:
    return log_file.exists() and log_file.stat().st_size > _LOG_MAX_BYTES


def _older(log_file: Path) -> Path:
    return log_file.with_suffix(".old.log")


def _copy_aside(log_file: Path) -> None:
    # A process that runs holds the file itself, so it is the content that moves.
    partial = log_file.with_suffix(".partial.log")
    try:
        shutil.copyfile(log_file, partial)
        partial.replace(_older(log_file))
    except OSError:
        # A full disk needs the room more than the past.
        partial.unlink(missing_ok=True)
