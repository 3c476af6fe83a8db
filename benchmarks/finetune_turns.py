"""Contenders that take turns: each in a process of its own, one at work at a time.

Whatever else a machine does then meets them all alike, and each one's peak of memory is its own.
A contender waits for a line on standard input, works, and answers with ``turn`` or, in the end,
with ``figures`` and these as JSON. What else is printed, by libraries, is passed over.
"""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

TURN = "turn"
FIGURES = "figures "
# A turn, with whatever the contender does before its first or behind its last.
_TIMEOUT_SECONDS = 600
# Characters of what a failed contender said, its end.
_SAID = 2000

Figures = dict[str, Any]


def take_turns(names: Sequence[str], folder: Path) -> Iterator[tuple[str, Figures]]:
    """Let contenders work in turn until each has given its figures, or failed.

    Args:
        names: of the variants (:mod:`benchmarks.finetune_variant`).
        folder: with the inputs that they share.
    """
    # All import what they need at once; then they wait.
    contenders = {name: Contender(name, folder) for name in names}
    try:
        while contenders:
            for name, contender in list(contenders.items()):
                found = contender.work()
                if found is not None:
                    contenders.pop(name).end()
                    yield name, found
    finally:
        for contender in contenders.values():
            contender.end()


class Contender:
    """One variant's process."""

    def __init__(self, name: str, folder: Path) -> None:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (end closes it)
        self._process = subprocess.Popen(  # noqa: S603 (our own module, in our own interpreter)
            [sys.executable, "-m", "benchmarks.finetune_variant", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def work(self) -> Figures | None:
        """Let it have its turn; its figures once it has done all."""
        try:
            self._tell_to_go()
            while (line := self._lines.get(timeout=_TIMEOUT_SECONDS)) is not None:
                if line.strip() == TURN:
                    return None
                if line.startswith(FIGURES):
                    return {**json.loads(line.removeprefix(FIGURES)), **self._remarks()}
        except queue.Empty:
            reason = f"a turn not done after {_TIMEOUT_SECONDS} s"
            return {"failed": reason, "said": self._all_said()[-_SAID:]}
        return {"failed": f"exit {self._process.wait()}", "said": self._all_said()[-_SAID:]}

    def end(self) -> None:
        """Stop it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._said.close()

    def _tell_to_go(self) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.write("go\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return

    def _read(self, stream: IO[str] | None) -> None:
        if stream is not None:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def _remarks(self) -> Figures:
        """What a contender's own log says of how it computed."""
        said, found = self._all_said(), {}
        if "attention_masked" in said:
            found["attention"] = "masked"
        if "WON'T CONVERT" in said:
            found |= {"compiled": "no", "said": said[-_SAID:]}
        return found

    def _all_said(self) -> str:
        self._said.seek(0)
        return self._said.read()
