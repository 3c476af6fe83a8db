"""Publishes again what the broker lost or never got."""

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.jobs.outbox import Hint, mark_dispatched, never_sent, sent_long_ago
from core.jobs.states import JobKind
from core.monitoring.figures.upkeep import RELAYED
from core.monitoring.tracing import resume
from core.settings import LedgerSettings
from core.transport.courier import send_hint
from core.transport.names import PRIORITIES, broker_key, queue_of

log = structlog.get_logger(__name__)

_LIMIT = 500
# A hint is taken for lost after so many times the age at which an empty queue has it sent again; so
# many of them go out in one pass.
_LOST_AFTER = 5
_LOST_LIMIT = 50
# So many ids are named in a line of the log.
_TOLD = 20


class Relay:
    """Sends the hints that the ledger owes.

    Never sent: at once. Sent long ago and still queued: where the broker's queue is empty, since
    otherwise the hint most likely waits its turn and a second one would only lengthen the queue.
    Sent so long ago that it may have been lost: a few at a time, whatever the queue holds.
    """

    def __init__(
        self,
        engine: Engine,
        app: Celery,
        client: redis.Redis,
        key_prefix: str,
        settings: LedgerSettings,
    ) -> None:
        self._engine = engine
        self._app = app
        self._client = client
        self._key_prefix = key_prefix
        self._settings = settings
        self._is_reachable = True

    def run_once(self) -> int:
        """Send what is owed now.

        Returns:
            How many hints went out; 0 also while the broker is away, which is noted once.

        Raises:
            SQLAlchemyError: the database cannot be reached.
        """
        with Session(reading(self._engine)) as session:
            owed = never_sent(
                session, grace_seconds=self._settings.relay_interval_seconds, limit=_LIMIT
            )
            age = self._settings.redispatch_after_seconds
            stale = sent_long_ago(session, age_seconds=age, limit=_LIMIT)
            lost: list[Hint] = []
            if stale:
                lost = sent_long_ago(session, age_seconds=age * _LOST_AFTER, limit=_LOST_LIMIT)
        sent: list[str] = []
        try:
            empty = {kind for kind in JobKind if self._is_empty(kind)} if stale else set()
            again = [hint for hint in stale if hint in lost or hint.kind in empty]
            for hint in [*owed, *again]:
                self._send(hint)
                sent.append(hint.job_id)
            self._is_reachable = True
        except (OperationalError, RedisError, OSError) as exc:
            if self._is_reachable:
                log.warning("broker_unreachable", error=type(exc).__name__)
            self._is_reachable = False
        if sent:
            with Session(self._engine) as session, session.begin():
                mark_dispatched(session, sent)
            RELAYED.inc(len(sent))
            log.info("relayed", count=len(sent), job_ids=sent[:_TOLD])
        return len(sent)

    def _send(self, hint: Hint) -> None:
        with resume("send hint again", hint.trace, job_id=hint.job_id):
            send_hint(self._app, hint)

    def _is_empty(self, kind: JobKind) -> bool:
        keys = [broker_key(self._key_prefix, queue_of(kind), number) for number in PRIORITIES]
        return not self._client.exists(*keys)
