import asyncio
import time
from itertools import pairwise

from bot.identifying import IdentifyTurns
from core.embedded import free_port
from core.transport.stream_reader import make_reading_client

PERIOD = 0.3


async def test_shards_of_all_processes_identify_one_after_the_other(valkey):
    clients = [make_reading_client(valkey.url) for _ in range(2)]
    processes = [IdentifyTurns(client, valkey.key_prefix, PERIOD) for client in clients]
    moments: list[float] = []

    async def identify(process, shard_id):
        await process.take(shard_id, 1)
        moments.append(time.monotonic())

    await asyncio.gather(*(identify(p, n) for n, p in enumerate(processes * 2)))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(moments) == 4
    assert min(gaps) >= PERIOD * 0.9
    for client in clients:
        await client.aclose()


async def test_shards_of_other_rests_do_not_wait_for_each_other(valkey):
    client = make_reading_client(valkey.url)
    turns = IdentifyTurns(client, valkey.key_prefix, period_seconds=60)
    async with asyncio.timeout(5):
        await asyncio.gather(*(turns.take(shard_id, 16) for shard_id in range(16)))
    await client.aclose()


async def test_without_redis_a_shard_waits_for_the_whole_period():
    client = make_reading_client(f"redis://127.0.0.1:{free_port()}/0")
    started = time.monotonic()
    await IdentifyTurns(client, "p", PERIOD).take(0, 1)
    assert time.monotonic() - started >= PERIOD
    await client.aclose()
