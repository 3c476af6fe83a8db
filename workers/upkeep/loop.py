"""The upkeep process: relay, reaper, retention, each at its own interval."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.conversations.forgetting import purge_expired
from core.jobs.outbox import reap
from core.jobs.presence import forget_silent
from core.settings import Settings
from core.transport.courier import make_publishing_celery
from workers.process import build_process
from workers.upkeep.relay import Relay

log = structlog.get_logger(__name__)

_RETENTION_INTERVAL_SECONDS = 600.0
_SILENT_SECONDS = 3600.0


@dataclass
class Chore:
    """Something done again and again."""

    name: str
    interval_seconds: float
    run: Callable[[], object]
    due_at: float = field(default=0.0)


def run_upkeep(settings: Settings) -> None:
    """Run the chores until SIGTERM or SIGINT."""
    process = build_process(settings, "upkeep")
    client = redis.Redis.from_url(settings.redis.url, socket_timeout=2, socket_connect_timeout=2)
    relay = Relay(
        process.engine,
        make_publishing_celery(settings),
        client,
        settings.redis.key_prefix,
        settings.ledger,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    process.start()
    try:
        run_chores(_chores(settings, process.engine, relay), ended)
    finally:
        process.close()
        client.close()


def run_chores(chores: list[Chore], ended: threading.Event) -> None:
    """Run each chore when it is due, until ``ended`` is set.

    While SQL is away the chores are skipped and tried again at their next time.
    """
    is_reachable = True
    while not ended.is_set():
        for chore in chores:
            if time.monotonic() < chore.due_at:
                continue
            chore.due_at = time.monotonic() + chore.interval_seconds
            try:
                chore.run()
                is_reachable = True
            except SQLAlchemyError as exc:
                if is_reachable:
                    log.warning("chore_failed", chore=chore.name, error=type(exc).__name__)
                is_reachable = False
        ended.wait(max(0.0, min(c.due_at for c in chores) - time.monotonic()))


def reap_once(engine: Engine, max_crashes: int) -> None:
    """End the leases that have run out."""
    with Session(engine) as session, session.begin():
        reaped = reap(session, max_crashes=max_crashes)
    for outcome, job_ids in (
        ("requeued", reaped.requeued),
        ("failed", reaped.failed),
        ("cancelled", reaped.cancelled),
    ):
        for job_id in job_ids:
            log.warning("lease_expired", job_id=job_id, outcome=outcome)


def retain_once(engine: Engine, messages_days: float, jobs_days: float) -> None:
    """Delete what is past its retention, and the rows of processes long silent."""
    with Session(engine) as session, session.begin():
        count = purge_expired(session, messages_days=messages_days, jobs_days=jobs_days)
        forget_silent(session, silent_seconds=_SILENT_SECONDS)
    if count:
        log.info("retention_deleted", count=count)


def _chores(settings: Settings, engine: Engine, relay: Relay) -> list[Chore]:
    ledger, retention = settings.ledger, settings.retention
    return [
        Chore("relay", ledger.relay_interval_seconds, relay.run_once),
        Chore(
            "reaper",
            ledger.reap_interval_seconds,
            lambda: reap_once(engine, ledger.max_crashes),
        ),
        Chore(
            "retention",
            _RETENTION_INTERVAL_SECONDS,
            lambda: retain_once(engine, retention.messages_days, retention.jobs_days),
        ),
    ]
