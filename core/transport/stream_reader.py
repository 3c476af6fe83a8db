"""The bot's end of the token streams."""

import asyncio
from collections.abc import AsyncIterator
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
    """Reads one process' stream from now on, for ever, across losses of Redis.

    After a loss it goes on from what is new: the sweep over SQL delivers what was missed.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        key_prefix: str,
        process_name: str,
        *,
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self._client = client
        self._read_seconds = read_seconds
        self._key = stream_key(key_prefix, process_name)
        self._last_id = "$"
        self.is_reachable = True

    async def entries(self) -> AsyncIterator[StreamEntry]:
        """Yield entries as they come; ends only by cancellation."""
        while True:
            try:
                async with asyncio.timeout(self._read_seconds):
                    batch = await self._read()
            except (RedisError, OSError, TimeoutError) as exc:
                self._note_unreachable(exc)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self.is_reachable = True
            for entry in batch:
                yield entry

    async def _read(self) -> list[StreamEntry]:
        if self._last_id == "$":
            self._last_id = await self._newest_id()
        reply = await self._client.xread(
            {self._key: self._last_id}, count=_COUNT, block=_BLOCK_MILLISECONDS
        )
        if not reply:
            return []
        rows = _rows(reply)
        self._last_id = rows[-1][0].decode()
        return [entry for _, fields in rows if (entry := _parse(fields)) is not None]

    async def _newest_id(self) -> str:
        """Where the stream ends now; a fixed id, so that nothing falls between two reads."""
        newest: Any = await self._client.xrevrange(self._key, count=1)
        return newest[0][0].decode() if newest else "0-0"

    def _note_unreachable(self, exc: Exception) -> None:
        if self.is_reachable:
            log.warning("stream_unreachable", error=type(exc).__name__)
        self.is_reachable = False
        # A Redis that lost its data starts its ids anew.
        self._last_id = "$"


def _rows(reply: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The rows of the one stream read, from either protocol version's form of the reply."""
    if isinstance(reply, dict):
        nested = next(iter(reply.values()))
        return nested[0] if nested and isinstance(nested[0], list) else nested
    assert isinstance(reply, list)  # noqa: S101 - RESP2
    rows: list[tuple[bytes, dict[bytes, bytes]]] = reply[0][1]
    return rows


def _parse(fields: dict[bytes, bytes]) -> StreamEntry | None:
    try:
        return StreamEntry.from_fields(fields)
    except MalformedEntryError:
        log.warning("stream_entry_malformed")
        return None
