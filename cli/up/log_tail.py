"""What the children's logs say that a person at the console should see."""

import re
import time
from collections.abc import Callable
from pathlib import Path

_MAX_BYTES_AT_ONCE = 256 * 2**10
_MAX_LINES_AT_ONCE = 5
_MAX_CHARACTERS = 300
_SERIOUS = re.compile(
    r"""\[(?:warning|error|critical)\s*\]            # structlog on a console
      | "level":\ "(?:warning|error|critical)"       # structlog as JSON
      | ^\d+:[A-Z]\ \d{2}\ \w{3}\ [\d:.\s]+\ \#\     # Valkey marks its warnings so
    """,
    re.VERBOSE,
)
# Valkey warns of kernel settings that matter to servers with gigabytes of data.
_HARMLESS = re.compile(r"overcommit|Transparent Huge Pages|TCP backlog")
# One outage of Redis is noticed by several parts of a process, and again at each of their attempts.
_REDIS_LOST = re.compile(
    r"Connection to broker lost|Cannot connect to redis|broker_unreachable|stream_unreachable"
)
_OUTAGE_SECONDS = 60.0
# The console knows the time, and the screen names the process.
_FRAME = re.compile(
    r"^\d{4}-\d\d-\d\dT[\d:.]+Z \[(?P<level>\w+)\s*\] (?P<said>.*?)(?: process=\S+)?$"
)


class LogTail:
    """Reads on in one log file, from its end at the time of making."""

    def __init__(self, file: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._now = now
        self._outage_at = -_OUTAGE_SECONDS
        self._position = file.stat().st_size if file.exists() else 0
        self._rest = b""

    def new_warnings(self) -> list[str]:
        """The lines of warnings and errors since the last call, shortened, not too many of them.

        That Redis is lost is said once a minute; the log has every attempt.
        """
        lines = [line for line in self._new_lines() if is_serious(line) and self._is_news(line)]
        shown = [shorten(line) for line in lines[:_MAX_LINES_AT_ONCE]]
        if len(lines) > len(shown):
            shown.append(f"… and {len(lines) - len(shown)} more in {self._file}")
        return shown

    def _is_news(self, line: str) -> bool:
        if not _REDIS_LOST.search(line):
            return True
        is_known = self._now() < self._outage_at + _OUTAGE_SECONDS
        if not is_known:
            self._outage_at = self._now()
        return not is_known

    def _new_lines(self) -> list[str]:
        try:
            size = self._file.stat().st_size
            if size < self._position:
                self._position, self._rest = 0, b""
            with self._file.open("rb") as file:
                file.seek(self._position)
                data = file.read(_MAX_BYTES_AT_ONCE)
        except OSError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in lines]


def is_serious(line: str) -> bool:
    """Whether a log line is a warning or worse."""
    return _SERIOUS.search(line) is not None and _HARMLESS.search(line) is None


def shorten(line: str) -> str:
    """A line without control characters and what the screen says itself, of bounded length."""
    text = "".join(c if c.isprintable() else " " for c in line)
    if frame := _FRAME.match(text):
        text = f"{frame['level']}: {' '.join(frame['said'].split())}"
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
