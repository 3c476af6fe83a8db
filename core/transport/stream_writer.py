"""The workers' end of the token streams."""

import queue
import threading

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.transport.names import stream_key
from core.transport.streams import StreamEntry

log = structlog.get_logger(__name__)

_BATCH = 256
# Words are for the eyes of this moment. What members said must not outlive it here: /forget reaches
# SQL alone.
KEPT_SECONDS = 60
_MAX_WAITING = 20_000


def make_writing_client(url: str) -> redis.Redis:
    """A client that gives up soon.

    redis-py waits for seconds between its tries; here a second try at once is for a connection that
    went stale, and what Redis does not take then is not worth waiting for.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=2,
        socket_connect_timeout=2,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
    )


class StreamWriter:
    """Appends entries from many threads in pipelines of one.

    Best effort: what Redis does not take is dropped and noted. ``write`` never blocks. Entries
    older than a minute are cut off with every write, and a stream that nobody writes to goes.
    """

    def __init__(self, client: redis.Redis, key_prefix: str, max_entries: int) -> None:
        self._client = client
        self._key_prefix = key_prefix
        self._max_entries = max_entries
        self._waiting: queue.Queue[tuple[str, StreamEntry] | None] = queue.Queue(_MAX_WAITING)
        self._is_reachable = True
        # The newest entry's time of each stream, by Redis' own clock.
        self._newest: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="stream-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def write(self, process_name: str, entry: StreamEntry) -> None:
        """Append an entry to the stream of a bot process soon."""
        try:
            self._waiting.put_nowait((process_name, entry))
        except queue.Full:
            log.warning("stream_entry_dropped", job_id=entry.job_id)

    def close(self, timeout_seconds: float = 3.0) -> None:
        """Write what waits and end the thread, if it was started."""
        if not self._thread.is_alive():
            return
        try:
            self._waiting.put(None, timeout=timeout_seconds)
        except queue.Full:
            # Redis is stuck; the words that count are in SQL.
            log.warning("stream_entries_dropped", waiting=self._waiting.qsize())
            return
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            is_last = False
            while len(batch) < _BATCH and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    is_last = True
                    break
                batch.append(item)
            self._append(batch)
            if is_last:
                return

    def _append(self, batch: list[tuple[str, StreamEntry]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        keys = [stream_key(self._key_prefix, process_name) for process_name, _ in batch]
        for key, (_, entry) in zip(keys, batch, strict=True):
            pipeline.xadd(
                key,
                entry.to_fields(),  # type: ignore[arg-type]  # redis-py's dict is invariant
                maxlen=self._max_entries,
                approximate=True,
            )
        for key in dict.fromkeys(keys):
            pipeline.expire(key, KEPT_SECONDS)
            if key in self._newest:
                oldest = self._newest[key] - KEPT_SECONDS * 1000
                pipeline.xtrim(key, minid=oldest, approximate=False)
        try:
            ids = pipeline.execute()[: len(keys)]
            self._newest |= {k: int(i.partition(b"-")[0]) for k, i in zip(keys, ids, strict=True)}
            self._is_reachable = True
        except (RedisError, OSError) as exc:
            if self._is_reachable:
                log.warning("stream_unreachable", error=type(exc).__name__)
            self._is_reachable = False
