"""Where the writers of an SQLite file wait for its one write lock.

SQLite's own waiting sleeps for up to 100 ms at a time, however soon the lock is free, and lets
whoever comes at the right moment go first: under load most of a writer's time was sleep. Here the
threads of a process wait for each other, and only one of them looks, every millisecond or so.
"""

import sqlite3
import threading
import time

from sqlalchemy import Connection

BUSY_MILLISECONDS = 10_000
# A transaction of ours takes about this long. Who waits for longer looks less often.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0003, 0.005
_GROWTH = 1.3
# A deferred BEGIN fails with "database is locked" whenever a read turns into a write while
# another connection writes; taking the write lock at BEGIN waits for it instead.
_BEGIN = "BEGIN IMMEDIATE"


class WriteQueue:
    """Begins the write transactions of one process on one file."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def begin(self, connection: Connection) -> None:
        """Take the write lock.

        Raises:
            OperationalError: "database is locked", since another held it all the time.
        """
        file: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        wait_seconds = BUSY_MILLISECONDS / 1000
        deadline = time.monotonic() + wait_seconds
        is_its_turn = self._turn.acquire(timeout=wait_seconds)
        try:
            file.execute("PRAGMA busy_timeout=0")
            if not _is_begun(file, deadline):
                # Once more, so that the error is of SQLAlchemy's kind.
                connection.exec_driver_sql(_BEGIN)
        finally:
            file.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
            if is_its_turn:
                self._turn.release()


def _is_begun(file: sqlite3.Connection, deadline: float) -> bool:
    """False where it cannot be, or not in time."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            file.execute(_BEGIN)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                return False
        else:
            return True
        time.sleep(pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
