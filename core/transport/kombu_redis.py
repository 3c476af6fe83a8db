"""Kombu's Redis transport with one client for each connection pool.

Kombu makes a new client for every command that it sends, three for each task, and redis-py 8 fills
a table of some three hundred callbacks each time (docs/log.md). A client is only a view of its pool
and may be shared among threads, so one is kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis

log = structlog.get_logger(__name__)

_SCHEMES = ("redis", "rediss")


class QoS(kombu_redis.QoS):
    """Counts the messages that a consumer has in its hands.

    Kombu forgets one only once Redis was told of its acknowledgement. Where that fails, the place
    would be taken for ever, and a consumer of one message at a time would never hear another. The
    message itself comes again after its visibility timeout, as a hint that changes nothing.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; its place is free whether or not Redis hears of it."""
        try:
            self._remove_from_indices(delivery_tag).execute()  # type: ignore[no-untyped-call]
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]


class Channel(kombu_redis.Channel):
    """A channel that keeps its client and its places."""

    QoS = QoS
    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Lend ``client``, or the one of this channel's pool."""
        yield client or self._client_of_pool()

    def _brpop_read(self, **options: Any) -> Any:
        """Read one message; one that is none of kombu's is dropped, where kombu ends the worker."""
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu's
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            log.warning("message_malformed", error=type(exc).__name__)
            return True

    def _client_of_pool(self) -> Any:
        # Kombu drops the pool of a channel whose connection is lost.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = self._create_client()  # type: ignore[no-untyped-call]  # kombu's
        return self._kept


class Transport(kombu_redis.Transport):
    """The transport of those channels."""

    Channel = Channel


def install() -> None:
    """Have ``redis://`` and ``rediss://`` mean this transport in this process."""
    TRANSPORT_ALIASES.update(dict.fromkeys(_SCHEMES, f"{__name__}:Transport"))
