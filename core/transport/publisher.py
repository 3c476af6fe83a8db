"""One thread that publishes hints, so that no event loop ever waits for the broker."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from core.db.desk import Desk
from core.errors import ServiceUnavailableError
from core.jobs.outbox import Hint, mark_dispatched
from core.monitoring.tracing import resume
from core.transport.courier import send_hint

log = structlog.get_logger(__name__)

_BATCH = 100
# What is not taken within this many waiting hints is left to the relay, which reads it from SQL.
_MAX_WAITING = 10_000

_Waiting = tuple[Hint, Callable[[], None]]


def _nothing() -> None:
    """Nobody waits."""


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

    def __init__(self, app: Celery, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(_MAX_WAITING)
        self._is_reachable = True
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the thread; it opens its connection to the broker at once."""
        self._thread.start()

    def publish(self, hint: Hint, then: Callable[[], None] = _nothing) -> None:
        """Send a hint soon.

        Args:
            hint: the hint.
            then: is called in the publisher's thread once the broker was tried, and here at once
                where it is known to be away.
        """
        waits = self._is_reachable
        try:
            self._waiting.put_nowait((hint, then if waits else _nothing))
        except queue.Full:
            log.warning("hint_left_to_relay", job_id=hint.job_id)
            waits = False
        if not waits:
            then()

    @property
    def health(self) -> PublisherHealth:
        """How the broker answered last."""
        return PublisherHealth(self._is_reachable, self._waiting.qsize())

    def close(self, timeout_seconds: float = 3.0) -> None:
        """Send what waits and end the thread, if it was started."""
        if not self._thread.is_alive():
            return
        try:
            self._waiting.put(None, timeout=timeout_seconds)
        except queue.Full:
            # The broker is stuck; the relay reads from SQL what was not sent.
            log.warning("hints_left_to_relay", waiting=self._waiting.qsize())
            return
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        self._warm_up()
        while True:
            first = self._waiting.get()
            if first is None:
                return
            batch, is_last = self._gather(first)
            try:
                self._stamp([hint.job_id for hint, then in batch if self._send(hint, then)])
            except Exception:
                # A defect must not end the sending of all hints to come; the relay has these.
                log.exception("publishing_failed")
            if is_last:
                return

    def _warm_up(self) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                producer.connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, RedisError, OSError) as exc:
            self._note_unreachable(exc)

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        batch = [first]
        while len(batch) < _BATCH:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False

    def _send(self, hint: Hint, then: Callable[[], None]) -> bool:
        try:
            with resume("send hint", hint.trace, job_id=hint.job_id):
                send_hint(self._app, hint)
        except (OperationalError, RedisError, OSError) as exc:
            self._note_unreachable(exc)
            return False
        except Exception:
            log.exception("hint_not_sent", job_id=hint.job_id)
            return False
        else:
            self._is_reachable = True
            return True
        finally:
            then()

    def _stamp(self, job_ids: list[str]) -> None:
        if not job_ids:
            return
        try:
            stamped = self._desk.hand_in(lambda session: mark_dispatched(session, job_ids))
        except ServiceUnavailableError as exc:
            _note_unstamped(exc)
        else:
            stamped.add_done_callback(_check_stamped)

    def _note_unreachable(self, exc: Exception) -> None:
        if self._is_reachable:
            log.warning("broker_unreachable", error=type(exc).__name__)
        self._is_reachable = False


def _check_stamped(stamped: Future[None]) -> None:
    exc = None if stamped.cancelled() else stamped.exception()
    if exc is not None:
        _note_unstamped(exc)


def _note_unstamped(exc: BaseException) -> None:
    # The relay will send these once more, and a second hint is a no-op.
    log.warning("dispatch_stamp_failed", error=type(exc).__name__)
