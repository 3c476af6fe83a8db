"""Child processes that never outlive their parent."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


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

    def restart(self) -> None:
        """Start it anew."""
        self.process = _spawn(self.spec)
        self.started_at = time.monotonic()
        self.restarts += 1

    def stop(self) -> bool:
        """Ask it to end, wait, and kill its group where it does not.

        Returns:
            Whether it ended by itself.
        """
        if not self.has_ended:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.spec.stop_seconds)
        ended_itself = self.has_ended
        # Grandchildren, such as a trainer, share the group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return ended_itself


def start_child(spec: ChildSpec) -> Child:
    """Start a process in a group of its own that ends when this process does, however it ends."""
    spec.log_file.parent.mkdir(parents=True, exist_ok=True)
    return Child(spec, _spawn(spec))


def _spawn(spec: ChildSpec) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def end_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have ended before the line above.
        if os.getppid() != parent:
            os._exit(1)

    with spec.log_file.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - commands of our own making
            list(spec.command),
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
