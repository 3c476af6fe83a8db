"""What the children's logs say that a person at the console should see."""

import re
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
# Valkey warns of kernel settings that matter to servers with gigabytes of data, and discord.py of
# packages for voice, which Perroquet does not use.
_HARMLESS = re.compile(r"overcommit|Transparent Huge Pages|TCP backlog|voice will NOT be supported")


class LogTail:
    """Reads on in one log file, from its end at the time of making."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = file.stat().st_size if file.exists() else 0
        self._rest = b""

    def new_warnings(self) -> list[str]:
        """The lines of warnings and errors since the last call, shortened, not too many of them."""
        lines = [line for line in self._new_lines() if is_serious(line)]
        shown = [shorten(line) for line in lines[:_MAX_LINES_AT_ONCE]]
        if len(lines) > len(shown):
            shown.append(f"… and {len(lines) - len(shown)} more in {self._file}")
        return shown

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
    """A line without control characters, of bounded length."""
    text = "".join(c if c.isprintable() else " " for c in line)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
