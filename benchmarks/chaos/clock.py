"""A wall clock that can be made to jump, for SQL and for Python, without touching the machine's.

The shift stands in a file that every process of a run looks at. SQLite asks its process for the
time, so its ``julianday`` is replaced there by one that adds the shift; PostgreSQL has a clock of
its own, before which a function of the same name is put.
"""

import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, text

_VARIABLE = "BENCH_CHAOS_CLOCK"
_UNIX_EPOCH_DAYS = 2_440_587.5
_DAY_SECONDS = 86_400.0

_POSTGRESQL = (
    "CREATE SCHEMA chaos",
    "CREATE TABLE chaos.clock (shift_seconds double precision NOT NULL)",
    "INSERT INTO chaos.clock VALUES (0)",
    "CREATE FUNCTION chaos.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
    "$$ SELECT pg_catalog.clock_timestamp() "
    "+ make_interval(secs => (SELECT shift_seconds FROM chaos.clock)) $$",
    "ALTER DATABASE postgres SET search_path = public, chaos, pg_catalog",
)


class JumpingClock:
    """The clock as the driver of a run sees it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.shift_seconds = 0.0
        self.environment = {_VARIABLE: str(self._file)}
        self._write()

    def prepare(self, connection: Connection) -> None:
        """Put the jumping clock before a migrated PostgreSQL's own."""
        for statement in _POSTGRESQL:
            connection.execute(text(statement))

    def jump(self, seconds: float) -> None:
        """Move every process' time, and that of SQLite."""
        self.shift_seconds += seconds
        self._write()

    def jump_postgresql(self, connection: Connection) -> None:
        """Bring PostgreSQL's clock to the same time."""
        statement = text("UPDATE chaos.clock SET shift_seconds = :shift")
        connection.execute(statement, {"shift": self.shift_seconds})

    def _write(self) -> None:
        partial = self._file.with_suffix(".partial")
        partial.write_text(str(self.shift_seconds), encoding="ascii")
        partial.rename(self._file)


_files: list[Path] = []


def live_by(environment: Mapping[str, str]) -> None:
    """From now on this process lives by the clock of a run."""
    _files.append(Path(environment[_VARIABLE]))


def install() -> None:
    """Have this process ask a clock that can jump; before anything else is imported."""
    machine_time, machine_nanoseconds = time.time, time.time_ns

    def shift() -> float:
        return float(_files[-1].read_text(encoding="ascii")) if _files else 0.0

    def shifted_time() -> float:
        return machine_time() + shift()

    def julianday(moment: str) -> float:
        if moment != "now":
            raise ValueError(moment)
        return _UNIX_EPOCH_DAYS + shifted_time() / _DAY_SECONDS

    def replace(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.create_function("julianday", 1, julianday)

    time.time = shifted_time
    time.time_ns = lambda: machine_nanoseconds() + int(shift() * 1e9)
    event.listen(Engine, "connect", replace)
