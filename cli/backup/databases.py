"""The rows of a backup: SQLite's online backup, PostgreSQL's own dump."""

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, make_url

from core.errors import InvalidInputError, PerroquetError, ServiceUnavailableError


class DumpFailedError(PerroquetError):
    """SQLite or PostgreSQL's tool could not do it; the message has its own words."""

    code = "dump-failed"


class RowKeeper(Protocol):
    """Saves a database to a file and makes one of it again."""

    kind: str

    def save(self, file: Path) -> None:
        """Write a consistent copy while others work."""
        ...

    def load(self, file: Path) -> None:
        """Fill an empty database from a copy."""
        ...


class SqliteRows:
    """SQLite's backup API copies page by page and begins anew where somebody wrote meanwhile."""

    kind = "sqlite"

    def __init__(self, url: URL) -> None:
        self._file = Path(url.database or "")

    def save(self, file: Path) -> None:
        """Write a consistent copy while others work.

        Raises:
            InvalidInputError: there is no database yet.
            DumpFailedError: it cannot be read, or the copy cannot be written.
        """
        if not self._file.exists():
            raise InvalidInputError(f"There is no database {self._file} to back up.")
        try:
            _copy(self._file, file)
        except sqlite3.Error as exc:
            raise DumpFailedError(
                f"{self._file} cannot be copied: {exc}. Is there room on the disk of the backup?"
            ) from exc

    def load(self, file: Path) -> None:
        """Make the database.

        Raises:
            InvalidInputError: there is one already.
        """
        if self._file.exists():
            raise InvalidInputError(
                f"{self._file} is there already; move it aside or restore into another data folder."
            )
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(file, self._file)


class PostgresqlRows:
    """``pg_dump`` and ``pg_restore``, which must be of the server's version or newer."""

    kind = "postgresql"

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql")

    def save(self, file: Path) -> None:
        """Write a consistent copy while others work.

        Raises:
            ServiceUnavailableError: there is no ``pg_dump``.
            DumpFailedError: it failed.
        """
        self._run("pg_dump", "--format=custom", "--no-owner", f"--file={file}")

    def load(self, file: Path) -> None:
        """Fill the database.

        Raises:
            ServiceUnavailableError: there is no ``pg_restore``.
            DumpFailedError: it failed; nothing was changed.
        """
        self._run("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", str(file))

    def _run(self, tool: str, *arguments: str) -> None:
        program = shutil.which(tool)
        if program is None:
            raise ServiceUnavailableError(
                f"{tool} is not installed; install PostgreSQL's client of your server's version "
                "(Debian: postgresql-client), or back the server up with its own tools.",
                service="database",
            )
        # The password goes by the environment; a command line is for all of the machine to read.
        public = self._url._replace(password=None).render_as_string()
        command = [program, *arguments, f"--dbname={public}"]
        environment = {"PGPASSWORD": str(self._url.password or "")}
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own tool
            command, check=False, capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise DumpFailedError(f"{tool} failed: {done.stderr.strip()}")


def row_keeper(url: str) -> RowKeeper:
    """What saves the database of a URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteRows(parsed)
    return PostgresqlRows(parsed)


def _copy(source: Path, target: Path) -> None:
    reading = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    writing = sqlite3.connect(target)
    try:
        reading.backup(writing)
    finally:
        writing.close()
        reading.close()
