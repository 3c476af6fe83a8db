"""The bot's end of the token streams."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from core.transport.names import stream_key
from core.transport.streams import MalformedEntryError, StreamEntry

log = structlog.get_logger(__name__)

_BLOCK_MILLISECONDS = 2000
# A peer that vanished without a word would hold a read until the kernel gives up, after hours.
_READ_SECONDS = 10.0
_COUNT = 512
_RETRY_SECONDS = 1.0


def make_reading_client(url: str) -> redis.asyncio.Redis:
    """A client for blocking reads.

    redis-py's default socket timeout is below the blocking time with a slow network and made reads
    hang and swallow cancellation; without one, the blocking time bounds each read of a peer that
    answers, and :class:`StreamReader` bounds the others.
    """
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=None, socket_connect_timeout=3, socket_keepalive=True
    )


class StreamReader:
    """Reads the streams of a process from now on, for ever, across losses of Redis.

    After a loss it goes on from what is new: the sweep over SQL delivers what was missed.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        key_prefix: str,
        names: Sequence[str],
        *,
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self._client = client
        self._read_seconds = read_seconds
        self._keys = [stream_key(key_prefix, name) for name in names]
        # The last id that was read of each stream; none while that is to be found out.
        self._positions: dict[str, str] = {}
        self.is_reachable = True

    async def entries(self) -> AsyncIterator[StreamEntry]:
        """Yield entries as they come; ends only by cancellation."""
        while True:
            try:
                async with asyncio.timeout(self._read_seconds):
                    batch = await self._read()
            except (RedisError, OSError, TimeoutError) as exc:
                self._note_unreachable(exc)
                # Of a connection that fell silent nothing is to be read any more.
                await self._client.connection_pool.disconnect()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self.is_reachable = True
            for entry in batch:
                yield entry

    async def _read(self) -> list[StreamEntry]:
        if not self._positions:
            self._positions = {key: await self._newest_id(key) for key in self._keys}
        reply = await self._client.xread(
            self._positions,  # type: ignore[arg-type]  # redis-py's dict is invariant
            count=_COUNT,
            block=_BLOCK_MILLISECONDS,
        )
        entries: list[StreamEntry] = []
        for key, rows in _streams(reply):
            self._positions[key.decode()] = rows[-1][0].decode()
            entries += [entry for _, fields in rows if (entry := _parse(fields)) is not None]
        return entries

    async def _newest_id(self, key: str) -> str:
        """Where a stream ends now; a fixed id, so that nothing falls between two reads."""
        newest: Any = await self._client.xrevrange(key, count=1)
        return newest[0][0].decode() if newest else "0-0"

    def _note_unreachable(self, exc: Exception) -> None:
        if self.is_reachable:
            log.warning("stream_unreachable", error=type(exc).__name__)
        self.is_reachable = False
        # A Redis that lost its data starts its ids anew.
        self._positions = {}


_Rows = list[tuple[bytes, dict[bytes, bytes]]]


def _streams(reply: Any) -> list[tuple[bytes, _Rows]]:
    """Each stream's key and rows, from either protocol version's form of the reply."""
    if isinstance(reply, dict):
        # RESP3 wraps the rows of each stream once more.
        unwrapped = {k: v[0] if v and isinstance(v[0], list) else v for k, v in reply.items()}
        return [(key, rows) for key, rows in unwrapped.items() if rows]
    return [(key, rows) for key, rows in reply or []]


def _parse(fields: dict[bytes, bytes]) -> StreamEntry | None:
    try:
        return StreamEntry.from_fields(fields)
    except MalformedEntryError:
        log.warning("stream_entry_malformed")
        return None
