"""A bot that is started before Discord can be reached."""

import asyncio
import os
import signal

from aiohttp import web
from discord.http import Route
from structlog.testing import capture_logs

from bot.arriving import await_discord
from bot.main import run_bot
from core.embedded import free_port
from core.settings import load_settings
from tests.bot.wire import eventually


async def test_discord_is_waited_for_until_it_answers_and_that_is_said_once(monkeypatch):
    port, statuses = free_port(), [503, 502, 401]
    monkeypatch.setattr(Route, "BASE", f"http://127.0.0.1:{port}/api")

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=statuses.pop(0))

    runner = web.ServerRunner(web.Server(answer))
    with capture_logs() as logs:
        waiting = asyncio.create_task(await_discord(first_wait_seconds=0.01))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.wait_for(waiting, 8)
    await runner.cleanup()
    assert statuses == []
    assert [entry["event"] for entry in logs] == ["discord_away", "discord_back"]


async def test_sigterm_ends_the_waiting(database_url, valkey, tmp_path):
    dead = f"127.0.0.1:{free_port()}"
    variables = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url,
        "PERROQUET_DATA_DIR": str(tmp_path),
        "PERROQUET_DISCORD__API_BASE": f"http://{dead}/api/v10",
        "PERROQUET_DISCORD__GATEWAY_URL": f"ws://{dead}/gateway",
    }
    with capture_logs() as logs:
        running = asyncio.create_task(run_bot(load_settings(variables, tmp_path / "none")))
        await eventually(lambda: "discord_away" in {entry["event"] for entry in logs})
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 8)
    assert "ending" in {entry["event"] for entry in logs}
