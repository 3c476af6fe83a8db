"""Two bot processes share the servers; each server's questions are answered by who hears it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from core.conversations.answers import load_question
from core.db.tables import Reply
from core.jobs.ledger import claim
from core.transport.streams import StreamEntry
from playground import cast
from tests.bot.wire import eventually

# A server whose second shard of two (and of four) hears it; the playground's own are in the first.
FAR_GUILD, FAR_CHANNEL = str(5 << 22), str((5 << 22) + 7)
ASK = f"<@{cast.BOT_ID}> what do parrots eat?"


class Process:
    """A bot process, started as an operator starts it."""

    def __init__(self, wire, folder: Path, shards: str) -> None:
        self.log = folder / f"bot-{shards.replace('/', '-of-')}.log"
        settings = wire.settings
        environment = {
            **os.environ,
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis.url,
            "PERROQUET_REDIS__KEY_PREFIX": settings.redis.key_prefix,
            "PERROQUET_DATA_DIR": str(settings.data_dir),
            "PERROQUET_DISCORD__API_BASE": settings.discord.api_base,
            "PERROQUET_DISCORD__GATEWAY_URL": settings.discord.gateway_url,
            "PERROQUET_CHAT__EDIT_INTERVAL_SECONDS": "0.05",
            "PERROQUET_CHAT__SWEEP_INTERVAL_SECONDS": "0.2",
            "PERROQUET_LOG__FORMAT": "json",
        }
        command = [sys.executable, "-m", "cli", "bot", "--shards", shards]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log)

    def events(self, name: str) -> list[dict]:
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == name]

    async def stop(self, *, kill: bool = False) -> int:
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 15)


@pytest.fixture
async def wire(wire):
    wire.server.shard_advice.max_concurrency = 16
    members = {cast.BOT_ID: False, cast.ALICE: False}
    wire.world.guilds[FAR_GUILD] = cast.guild(FAR_GUILD, "Far", members, cast.ALICE)
    wire.world.channels[FAR_CHANNEL] = cast.channel(FAR_CHANNEL, FAR_GUILD, "far")
    return wire


def begin(wire, job_id, text):
    """Claim a job as a worker would and send a first piece of its answer."""
    with Session(wire.engine) as session, session.begin():
        taken = claim(session, job_id, "test", 30)
        question = load_question(session, taken, max_messages=50, default_model="parrot")
    wire.streams.write(question.stream, StreamEntry(job_id, taken.token, 0, text))
    return question.stream, taken


def is_delivered(wire, job_id) -> bool:
    with Session(wire.engine) as session:
        return session.get(Reply, job_id).delivered_at is not None


async def test_two_processes_share_the_servers(wire, tmp_path):
    near, far = Process(wire, tmp_path, "0/2"), Process(wire, tmp_path, "1/2")
    running = [near, far]
    gateway = wire.server.gateway
    try:
        await eventually(lambda: gateway.shards == [(0, 2), (1, 2)], 30)
        await eventually(lambda: near.events("ready") and far.events("ready"), 30)
        assert near.events("ready")[0]["guilds"] == 2
        assert far.events("ready")[0]["guilds"] == 1
        assert [command["name"] for command in wire.world.commands], "the first process did so"

        # Each question is heard by one, and its words come to that one as they are made.
        direct = wire.world.open_direct(cast.BRUNO)["id"]
        channels = {FAR_CHANNEL: far, cast.GENERAL: near, direct: near}
        for channel, hearer in channels.items():
            wire.world.say(cast.ALICE, channel, ASK)
            (job_id,) = await wire.queued()
            stream, taken = begin(wire, job_id, "Seeds")
            assert stream == ("shard-1-of-2" if hearer is far else "shard-0-of-2")
            await eventually(lambda c=channel: wire.said_by_bot(c) == ["Seeds"])
            with Session(wire.engine) as session, session.begin():
                from core.conversations.answers import write_answer

                write_answer(session, taken, "Seeds and fruit.", bot_name="P", facts={})
            wire.streams.write(stream, StreamEntry(job_id, taken.token, 0, "", is_end=True))
            await eventually(lambda c=channel: wire.said_by_bot(c) == ["Seeds and fruit."])
            await eventually(lambda j=job_id: is_delivered(wire, j))
            heard = [p for p in running if job_id in p.log.read_text()]
            assert heard == [hearer]

        # One dies with an answer owed; the shards are divided anew, and the answer comes all the
        # same, from the process that hears the server now.
        wire.world.say(cast.ALICE, FAR_CHANNEL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot(FAR_CHANNEL)[1:] == ["🦜 …"])
        assert await far.stop(kill=True) == -9
        assert await near.stop() == 0
        wire.answer(job_id, "Nuts.")
        running += [Process(wire, tmp_path, "0,2-3/4"), Process(wire, tmp_path, "1/4")]
        await eventually(lambda: wire.said_by_bot(FAR_CHANNEL)[1:] == ["Nuts."], 30)
        await eventually(lambda: is_delivered(wire, job_id))
        with Session(wire.engine) as session:
            assert session.get(Reply, job_id).process_name == "shard-1-of-4"
    finally:
        for process in running:
            if process.process.poll() is None:
                await process.stop()


async def test_a_process_alone_takes_as_many_shards_as_are_recommended(wire):
    wire.server.shard_advice.shards = 3
    started = time.monotonic()
    async with wire.bot() as bot:
        await eventually(lambda: len(wire.server.gateway.shards) == 3)
        assert wire.server.gateway.shards == [(0, 3), (1, 3), (2, 3)]
        assert bot.shard_count == 3
        wire.world.say(cast.ALICE, FAR_CHANNEL, ASK)
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Seeds.")
        await eventually(lambda: wire.said_by_bot(FAR_CHANNEL) == ["Seeds."])
        with Session(wire.engine) as session:
            assert session.get(Reply, job_id).process_name == "bot-0"
    assert time.monotonic() - started < 10, "they need not wait five seconds for each other"
