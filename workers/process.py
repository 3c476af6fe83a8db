"""What every worker process is made of: SQL, Redis, an identity, a heartbeat."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import structlog
from sqlalchemy import Engine

from core.db.desk import Desk
from core.db.engines import make_engine
from core.monitoring.figures.jobs import JOBS_HELD
from core.monitoring.server import MonitoringServer, redis_check
from core.settings import Settings
from core.transport.stream_writer import StreamWriter, make_writing_client
from migrations.runner import require_schema
from workers.leases import LeaseKeeper, StopReason

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerProcess:
    """The parts that the composition functions of all kinds share."""

    settings: Settings
    engine: Engine
    desk: Desk
    streams: StreamWriter
    keeper: LeaseKeeper
    monitoring: MonitoringServer

    def start(self) -> None:
        """Start the threads.

        Raises:
            SettingsError: the port for monitoring is taken.
        """
        self.monitoring.start()
        self.desk.start()
        self.streams.start()
        self.keeper.start()

    def drain(self, *, at_once: bool = False) -> None:
        """Let jobs end within the drain time, then have the rest give themselves back.

        ``at_once`` gives them back without waiting: for jobs that go on from a checkpoint.
        """
        deadline = time.monotonic() + (0 if at_once else self.settings.ledger.drain_seconds)
        log.info("draining", jobs=self.keeper.count)
        while self.keeper.count and time.monotonic() < deadline:
            time.sleep(0.1)
        self.keeper.stop_all(StopReason.DRAINED)

    def close(self) -> None:
        """End the threads and connections."""
        self.monitoring.close()
        self.keeper.close()
        self.desk.close()
        self.streams.close()
        self.engine.dispose()


def build_process(
    settings: Settings, kind: str, renew_figures: Callable[[Engine], object] = lambda _engine: None
) -> WorkerProcess:
    """Build the shared parts of a worker process. Connects to nothing yet.

    Args:
        settings: the installation's.
        kind: of the process.
        renew_figures: brings those figures up to date that are only known when asked for.
    """
    engine = make_engine(settings.database_url, pool_size=settings.database.pool_size)
    client = make_writing_client(settings.redis.url)
    streams = StreamWriter(client, settings.redis.key_prefix, settings.redis.stream_max_entries)
    keeper = LeaseKeeper(engine, make_worker_id(kind), kind, settings.ledger.lease_seconds)
    keeper.info = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": version("perroquet"),
    }
    JOBS_HELD.labels(kind).set_function(lambda: keeper.count)
    monitoring = MonitoringServer(
        settings.monitoring,
        ready={
            "database": lambda: require_schema(engine),
            "redis": redis_check(settings.redis.url),
        },
        before=lambda: renew_figures(engine),
    )
    return WorkerProcess(settings, engine, Desk(engine), streams, keeper, monitoring)


def make_worker_id(kind: str) -> str:
    """A name that no other process, before or after, has."""
    return f"{kind}-{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
