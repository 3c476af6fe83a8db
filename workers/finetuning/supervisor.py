"""Starts the trainer as a child process, hears its events, passes wishes on."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import structlog

from workers.bare_environment import bare_environment
from workers.finetuning.events import Event, parse_event
from workers.finetuning.shrinking import Shrinkage, read_note
from workers.finetuning.wishes import Wish

log = structlog.get_logger(__name__)

LOG_FILE = "trainer.log"
_MODULE = "workers.finetuning.run"
_ENDINGS = ("finished", "paused", "cancelled", "failed")
_LOG_TAIL_BYTES = 2000
_LEAVE_SECONDS = 30
_CANCEL_SECONDS = 5.0

Ending = Literal["finished", "paused", "cancelled", "failed", "died"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended.

    Attributes:
        ending: ``died`` where it said nothing: killed, or out of host memory.
        exit_code: negative for a signal.
        event: its last word, with metrics or the error; empty where it died.
        log_tail: the end of what it logged, for the operator.
    """

    ending: Ending
    exit_code: int
    event: Event
    log_tail: str


class TrainerProcess:
    """One child process. To be used by the thread that starts it: it dies with that thread.

    Args:
        run_dir: with its ``spec.json``.
        on_event: is called in :meth:`wait`'s thread with every event, in order.
        processes: that train together, started by ``torchrun``.
        nice: added to the niceness of this process for the child's.
        grace_seconds: how long a wish may take before the child is killed. A step and a
            checkpoint must fit.
        poll_seconds: how often ``wanted`` is asked.
        environment: of the child; None passes on what opens no door
            (:func:`workers.bare_environment.bare_environment`).
    """

    def __init__(
        self,
        run_dir: Path,
        on_event: Callable[[Event], None],
        *,
        processes: int = 1,
        nice: int = 0,
        grace_seconds: float = 120.0,
        poll_seconds: float = 0.5,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._on_event = on_event
        self._processes = processes
        self._nice = nice
        self._grace_seconds = grace_seconds
        self._poll_seconds = poll_seconds
        self._environment = bare_environment(os.environ) if environment is None else environment
        self._sent: Wish | None = None
        self._deadline = float("inf")
        self._last: Event = {}

    def run(self, wanted: Callable[[], Wish | None]) -> Outcome:
        """Start the child and stay until it ended.

        Where one of several processes found that they need smaller steps
        (:class:`workers.finetuning.shrinking.Shrinkage`), all of them are started again.

        Args:
            wanted: what is wanted now; asked every ``poll_seconds``. A stronger wish may follow
                a weaker one.

        Raises:
            Whatever ``on_event`` or ``wanted`` raise; the child is killed before.
        """
        while True:
            size = read_note(self._run_dir)
            outcome = self._run_once(wanted)
            is_wanted = outcome.ending != "finished" and self._sent is not Wish.CANCEL
            if not is_wanted or read_note(self._run_dir) in (size, Shrinkage()):
                return outcome
            log.info("trainer_shrunk", run=self._run_dir.name)
            # What is wished for is told again to those who begin.
            self._sent, self._deadline, self._last = None, float("inf"), {}

    def _run_once(self, wanted: Callable[[], Wish | None]) -> Outcome:
        with (self._run_dir / LOG_FILE).open("ab") as log_file:
            child = subprocess.Popen(  # noqa: S603 (our own module, in our own interpreter)
                [sys.executable, *self._torchrun(), "-m", _MODULE, str(self._run_dir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=self._environment,
            )
        if self._nice:
            # Before its first thread, all of which inherit it.
            os.setpriority(
                os.PRIO_PROCESS,
                child.pid,
                min(19, os.getpriority(os.PRIO_PROCESS, 0) + self._nice),
            )
        log.info("trainer_started", pid=child.pid, run=self._run_dir.name)
        try:
            self._follow(child, wanted)
        finally:
            exit_code = self._end(child)
            _close(child.stdin, child.stdout)
        log.info("trainer_ended", pid=child.pid, exit_code=exit_code)
        return self._outcome(exit_code)

    def _torchrun(self) -> list[str]:
        if self._processes == 1:
            return []
        # Standalone takes a free port of the loopback for the rendezvous of the processes.
        return [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={self._processes}",
        ]

    def _end(self, child: subprocess.Popen[str]) -> int:
        """The exit code. A child that has said its last word gets a moment to leave."""
        try:
            return child.wait(_LEAVE_SECONDS if self._last.get("event") in _ENDINGS else 0)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _follow(self, child: subprocess.Popen[str], wanted: Callable[[], Wish | None]) -> None:
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
        reader.start()
        while True:
            self._pass_on(child, wanted())
            if time.monotonic() > self._deadline:
                log.warning("trainer_killed", pid=child.pid, wish=self._sent)
                child.kill()
                self._deadline = float("inf")
            try:
                line = lines.get(timeout=self._poll_seconds)
            except queue.Empty:
                continue
            if line is None:
                break
            event = parse_event(line)
            if event is not None:
                self._last = event
                self._on_event(event)
        reader.join()

    def _pass_on(self, child: subprocess.Popen[str], wish: Wish | None) -> None:
        if wish is None or wish is self._sent or child.stdin is None:
            return
        self._sent = wish
        self._deadline = time.monotonic() + self._patience_with(wish)
        try:
            child.stdin.write(f"{wish}\n")
            child.stdin.flush()
        except BrokenPipeError:
            return

    def _patience_with(self, wish: Wish) -> float:
        """Seconds after which the child is killed."""
        if wish is Wish.STOP:
            # It still judges and publishes, which takes its time.
            return float("inf")
        if wish is Wish.CANCEL and self._processes == 1:
            # A step, or the evaluation of a base, can take minutes that nobody wants any more.
            return min(_CANCEL_SECONDS, self._grace_seconds)
        return self._grace_seconds

    def _outcome(self, exit_code: int) -> Outcome:
        tail = _tail(self._run_dir / LOG_FILE)
        name = self._last.get("event")
        for ending in _ENDINGS:
            if name == ending:
                return Outcome(ending, exit_code, self._last, tail)  # type: ignore[arg-type]
        return Outcome("died", exit_code, {}, tail)


def _read(stream: IO[str] | None, lines: "queue.SimpleQueue[str | None]") -> None:
    if stream is not None:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _close(*streams: IO[str] | None) -> None:
    for stream in streams:
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LOG_TAIL_BYTES))
        return stream.read().decode("utf-8", errors="replace")
