"""One thread that publishes hints, so that no event loop ever waits for the broker."""

import queue
import threading
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.jobs.outbox import Hint, mark_dispatched
from core.transport.courier import send_hint

log = structlog.get_logger(__name__)

_BATCH = 100
# What is not taken within this many waiting hints is left to the relay, which reads it from SQL.
_MAX_WAITING = 10_000


@dataclass(frozen=True)
class PublisherHealth:
    """Whether the last hint reached the broker, and how many wait."""

    is_reachable: bool
    waiting: int


class Publisher:
    """Sends hints in the order given and stamps ``dispatched_at``.

    Best effort on purpose: a hint that cannot be sent is dropped here and stays owed in SQL, where
    the relay finds it. ``publish`` never blocks and never raises.
    """

    def __init__(self, app: Celery, engine: Engine) -> None:
        self._app = app
        self._engine = engine
        self._waiting: queue.Queue[Hint | None] = queue.Queue(_MAX_WAITING)
        self._is_reachable = True
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the thread; it opens its connection to the broker at once."""
        self._thread.start()

    def publish(self, hint: Hint) -> None:
        """Send a hint soon."""
        try:
            self._waiting.put_nowait(hint)
        except queue.Full:
            log.warning("hint_left_to_relay", job_id=hint.job_id)

    @property
    def health(self) -> PublisherHealth:
        """How the broker answered last."""
        return PublisherHealth(self._is_reachable, self._waiting.qsize())

    def close(self, timeout_seconds: float = 3.0) -> None:
        """Send what waits and end the thread."""
        self._waiting.put(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        self._warm_up()
        while True:
            hint = self._waiting.get()
            if hint is None:
                return
            batch, is_last = self._gather(hint)
            self._stamp([h.job_id for h in batch if self._send(h)])
            if is_last:
                return

    def _warm_up(self) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                producer.connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, RedisError, OSError) as exc:
            self._note_unreachable(exc)

    def _gather(self, first: Hint) -> tuple[list[Hint], bool]:
        batch = [first]
        while len(batch) < _BATCH:
            try:
                hint = self._waiting.get_nowait()
            except queue.Empty:
                break
            if hint is None:
                return batch, True
            batch.append(hint)
        return batch, False

    def _send(self, hint: Hint) -> bool:
        try:
            send_hint(self._app, hint)
        except (OperationalError, RedisError, OSError) as exc:
            self._note_unreachable(exc)
            return False
        self._is_reachable = True
        return True

    def _stamp(self, job_ids: list[str]) -> None:
        if not job_ids:
            return
        try:
            with Session(self._engine) as session, session.begin():
                mark_dispatched(session, job_ids)
        except SQLAlchemyError as exc:
            # The relay will send these once more, and a second hint is a no-op.
            log.warning("dispatch_stamp_failed", count=len(job_ids), error=type(exc).__name__)

    def _note_unreachable(self, exc: Exception) -> None:
        if self._is_reachable:
            log.warning("broker_unreachable", error=type(exc).__name__)
        self._is_reachable = False
