"""What the bot tells an operator's tools, over the wire."""

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from core.embedded import free_port
from playground import cast
from tests.bot.wire import eventually, open_wire
from tests.core.monitoring.scraping import get


@pytest.fixture
async def monitored(database_url, valkey, tmp_path):
    port = free_port()
    variables = {"PERROQUET_MONITORING__PORT": str(port)}
    async with open_wire(database_url, valkey, tmp_path, **variables) as wire:
        wire.publish_model()
        yield wire, port


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def test_a_question_is_counted_from_its_arrival_to_its_delivery(monitored):
    wire, port = monitored
    names = (
        ("perroquet_questions_total", {}),
        ("perroquet_first_token_seconds_count", {}),
        ("perroquet_replies_total", {"outcome": "succeeded"}),
        ("perroquet_discord_requests_total", {"method": "POST", "status": "200"}),
    )
    before = [figure(name, **labels) for name, labels in names]
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}> what do parrots eat?")
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds ", "and fruit.")
        await eventually(lambda: figure("perroquet_replies_total", outcome="succeeded") > before[2])
        status, page = await asyncio.to_thread(get, port, "/metrics")
    assert status == 200
    assert "perroquet_gateway_latency_seconds" in page
    assert "parrots eat" not in page
    after = [figure(name, **labels) for name, labels in names]
    gained = [new - old for new, old in zip(after, before, strict=True)]
    assert gained[:3] == [1, 1, 1]
    assert gained[3] >= 1


async def test_the_bot_is_ready_once_the_gateway_is_and_alive_while_its_loop_turns(monitored):
    wire, port = monitored
    async with wire.bot() as bot:
        status, page = await asyncio.to_thread(get, port, "/readyz")
        everything = {"status": "ok", "discord": "ok", "database": "ok", "redis": "ok"}
        assert (status, json.loads(page)) == (200, everything)
        assert (await asyncio.to_thread(get, port, "/healthz"))[0] == 200
        bot._ready.clear()
        status, page = await asyncio.to_thread(get, port, "/readyz")
        assert (status, json.loads(page)["discord"]) == (503, "ServiceUnavailableError")
