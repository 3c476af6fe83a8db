"""Shards identify one after the other, over all processes.

Discord takes ``max_concurrency`` IDENTIFYs in five seconds: one of each rest of ``shard_id %
max_concurrency``. Who comes too early is refused and has to begin again.
"""

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_PERIOD_SECONDS = 5.0
# The client is made for reads that block, so it has no timeout of its own.
_PATIENCE_SECONDS = 2.0


class IdentifyTurns:
    """Turns that the bot processes of an installation take through Redis.

    While Redis is away a shard waits for the whole period, as discord.py does by itself; that keeps
    the shards of one process apart, and leaves those of several to Discord's refusal.
    """

    def __init__(
        self, client: Redis, key_prefix: str, period_seconds: float = _PERIOD_SECONDS
    ) -> None:
        self._client = client
        self._key_prefix = key_prefix
        self._period_seconds = period_seconds

    async def take(self, shard_id: int, max_concurrency: int) -> None:
        """Return once the shard may identify."""
        key = f"{self._key_prefix}:identify:{shard_id % max(1, max_concurrency)}"
        milliseconds = round(self._period_seconds * 1000)
        try:
            while not await self._try(key, milliseconds):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    left: int = await self._client.pttl(key)
                await asyncio.sleep(max(left, 10) / 1000)
        except (RedisError, OSError) as exc:
            log.warning("identify_turn_not_taken", error=type(exc).__name__)
            await asyncio.sleep(self._period_seconds)

    async def _try(self, key: str, milliseconds: int) -> bool:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return bool(await self._client.set(key, "taken", nx=True, px=milliseconds))
