"""What a person sees of ``perroquet up``: moving on a terminal, plain lines everywhere else."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

# How often a long wait is heard of: the spinner counts seconds, a log gets a line now and then.
_TICK_SECONDS, _LINE_SECONDS = 1.0, 10.0


class Screen:
    """Says what happens, line by line, and what is being waited for.

    On a terminal the wait has a spinner. Elsewhere every line stands for itself, without colours,
    boxes or wrapping, so that logs of other supervisors stay readable.
    """

    def __init__(self, stream: TextIO | None = None, line_seconds: float = _LINE_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream, highlight=False)
        self._is_terminal = self._console.is_terminal
        self._status: Status | None = None
        self._waiting: dict[str, float] = {}
        self._verb = ""
        self._tick_seconds = _TICK_SECONDS if self._is_terminal else line_seconds

    def say(self, line: str, *, style: str = "") -> None:
        """Say a sentence."""
        if self._is_terminal:
            self._console.print(Text("· ", style="dim") + Text(line, style=style))
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def warn(self, source: str, line: str) -> None:
        """Pass on what a child's log warns of."""
        self.say(f"{source}: {line}", style="yellow")

    def begin(self, what: str, verb: str = "Starting", note: str = "") -> None:
        """Begin to wait for something; ``verb`` says for what, ``note`` what to know of it."""
        self._waiting[what] = time.monotonic()
        self._verb = verb
        if note:
            self.say(f"{verb} {what} ({note})")
        elif not self._is_terminal:
            self.say(f"{verb} {what}")
        self._spin()

    def done(self, what: str, outcome: str = "is ready") -> None:
        """It came to be."""
        seconds = time.monotonic() - self._waiting.pop(what)
        if self._is_terminal:
            self._console.print(
                Text("✓ ", style="green")
                + Text(f"{what} {outcome} ")
                + Text(f"{seconds:.1f} s", style="dim")
            )
        else:
            self.say(f"{what} {outcome} after {seconds:.1f} s")
        self._spin()

    @contextmanager
    def counting(self, what: str, verb: str, outcome: str, note: str = "") -> Iterator[None]:
        """Wait for something long that is done here, and say how long it has taken so far."""
        ended = threading.Event()

        def count() -> None:
            while not ended.wait(self._tick_seconds):
                self._tell_time(what)

        self.begin(what, verb, note)
        counter = threading.Thread(target=count, name="counter", daemon=True)
        counter.start()
        try:
            yield
        except BaseException:
            self.forget(what)
            raise
        else:
            self.done(what, outcome)
        finally:
            ended.set()
            counter.join()

    def forget(self, what: str) -> None:
        """Wait for it no more."""
        self._waiting.pop(what, None)
        self._spin()

    def rest(self) -> None:
        """Stop the spinner, whatever was waited for."""
        self._waiting.clear()
        self._spin()

    def show_table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""
        if not self._is_terminal:
            for row in rows:
                self.say("  ".join(row))
            return
        table = Table(*headings, box=None, pad_edge=False, header_style="dim")
        for row in rows:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        self._console.print(table)

    def show_box(self, text: str) -> None:
        """Say what matters most."""
        if self._is_terminal:
            self._console.print(Panel(Text(text, style="bold"), expand=False, border_style="green"))
        else:
            self.say(text)

    def _tell_time(self, what: str) -> None:
        began = self._waiting.get(what)
        if began is None:
            return
        said = f"{self._verb} {what}: {time.monotonic() - began:.0f} s so far"
        if not self._is_terminal:
            self.say(said)
        elif self._status is not None:
            self._status.update(Text(said))

    def _spin(self) -> None:
        if not self._is_terminal:
            return
        if not self._waiting:
            if self._status is not None:
                self._status.stop()
                self._status = None
            return
        text = Text(f"{self._verb} {', '.join(self._waiting)} …")
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)
