"""Engines for SQLite and PostgreSQL, from one URL."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from core.db.write_queue import BUSY_MILLISECONDS, WriteQueue
from core.errors import SettingsError

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA busy_timeout={BUSY_MILLISECONDS}",
    "PRAGMA foreign_keys=ON",
)
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    # Hosting providers still hand out URLs that begin with postgres://.
    "postgres": "postgresql+psycopg",
}


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """The engine of one process. Event loops use it through :class:`core.db.desk.Desk`.

    Raises:
        SettingsError: the URL names no database that Perroquet speaks to.
    """
    parsed = _parse(url)
    # What a failed statement carried may be what members wrote, and its error goes into a log.
    engine = create_engine(parsed, hide_parameters=True, **_options(parsed, pool_size))
    event.listen(engine, "handle_error", _hide_details)
    if parsed.get_backend_name() == "sqlite":
        _tune_sqlite(engine)
    return engine


def is_missing_file(url: str) -> bool:
    """Whether a URL names an SQLite file that is not there; connecting would make it.

    Raises:
        SettingsError: as for :func:`make_engine`.
    """
    parsed = _parse(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()


def _hide_details(context: ExceptionContext) -> None:
    """PostgreSQL quotes the row that it refuses, under this word; the rest says enough."""
    for exc in (context.original_exception, context.sqlalchemy_exception):
        if exc is not None and exc.args:
            exc.args = (str(exc.args[0]).partition("\nDETAIL:")[0], *exc.args[1:])


def reading(engine: Engine) -> Engine:
    """The same engine for sessions that only read: on SQLite they take no write lock."""
    return engine.execution_options(read_only=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        # What SQLAlchemy says of it may quote the URL, and with it a password.
        raise SettingsError(
            "DATABASE_URL is no database URL; give it the form "
            "postgresql://user:password@host/perroquet or sqlite:////path/to/perroquet.db.",
            key="DATABASE_URL",
        ) from exc
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise SettingsError(
            f"DATABASE_URL names {backend}; Perroquet keeps its rows in SQLite or PostgreSQL.",
            key="DATABASE_URL",
        )
    return parsed.set(drivername=_DRIVERS[backend])


def _options(url: URL, pool_size: int) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 30}
    return {
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_pre_ping": True,
        # A server that is cut off without a word is given up after ten seconds, not two hours.
        "connect_args": {"connect_timeout": 5, "keepalives_idle": 10, "tcp_user_timeout": 10_000},
    }


def _tune_sqlite(engine: Engine) -> None:
    queue = WriteQueue()

    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        # SQLAlchemy begins transactions itself below; the driver's own implicit BEGIN is off.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            for pragma in _PRAGMAS:
                cursor.execute(pragma)
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if connection.get_execution_options().get("read_only", False):
            connection.exec_driver_sql("BEGIN")
        else:
            queue.begin(connection)
