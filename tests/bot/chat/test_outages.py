"""What members see while SQL or Redis is away. Nothing is lost, and they are told once."""

import asyncio
import sqlite3
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bot.chat import cog, intake
from core.db.tables import Job
from core.embedded import free_port
from playground import cast
from tests.bot.wire import eventually, open_wire

ASK = f"<@{cast.BOT_ID}> what do parrots eat?"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(cog, "_PATIENCE_SECONDS", 0.1)


@contextmanager
def frozen(engine):
    """A database that takes no write for a while."""
    connection = sqlite3.connect(engine.url.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


def count_jobs(engine) -> int:
    with Session(engine) as session:
        return session.query(Job).count()


async def test_a_frozen_database_is_told_once_and_loses_nothing(
    sqlite_url, valkey, tmp_path, impatient
):
    async with open_wire(sqlite_url, valkey, tmp_path) as wire:
        wire.publish_model()
        async with wire.bot():
            with frozen(wire.engine):
                wire.world.say(cast.ALICE, cast.GENERAL, ASK)
                await eventually(lambda: len(wire.said_by_bot()) == 1)
                wire.world.say(cast.ALICE, cast.GENERAL, f"{ASK} Tell me more.")
                await asyncio.sleep(0.4)
                (told,) = wire.said_by_bot()
                assert "cannot reach my memory" in told
                shown = wire.world.messages[cast.GENERAL].values()
                (notice,) = [m for m in shown if m["author"]["id"] == cast.BOT_ID]
                assert "message_reference" not in notice, "a successor would take it for the answer"
            for job_id in await wire.queued(2):
                wire.answer(job_id, "Seeds.")
            await eventually(lambda: wire.said_by_bot()[1:] == ["Seeds.", "Seeds."])


async def test_a_database_that_fails_is_tried_again_until_it_is_back(
    database_url, valkey, tmp_path, impatient, monkeypatch
):
    receive, failures = intake.receive, [True]

    def failing(*arguments):
        if failures:
            failures.pop()
            raise OperationalError("INSERT", {}, ConnectionRefusedError())
        return receive(*arguments)

    monkeypatch.setattr(intake, "receive", failing)
    async with open_wire(database_url, valkey, tmp_path) as wire:
        wire.publish_model()
        async with wire.bot():
            wire.world.say(cast.BRUNO, cast.GENERAL, ASK)
            (job_id,) = await wire.queued()
            wire.answer(job_id, "Seeds.")
            await eventually(lambda: wire.said_by_bot()[-1:] == ["Seeds."])


async def test_a_message_deleted_while_it_waits_is_never_taken_in(
    database_url, valkey, tmp_path, impatient, monkeypatch
):
    is_away, receive = [True], intake.receive

    def failing(*arguments):
        if is_away:
            raise OperationalError("INSERT", {}, ConnectionRefusedError())
        return receive(*arguments)

    monkeypatch.setattr(intake, "receive", failing)
    async with open_wire(database_url, valkey, tmp_path) as wire:
        wire.publish_model()
        async with wire.bot():
            said = wire.world.say(cast.ALICE, cast.GENERAL, ASK)
            await eventually(lambda: len(wire.said_by_bot()) == 1)
            wire.world.delete(cast.GENERAL, said["id"])
            wire.world.say(cast.BRUNO, cast.GENERAL, f"{ASK} And you?")
            await asyncio.sleep(0.1)
            is_away.clear()
            (job_id,) = await wire.queued()
            assert wire.answer(job_id, "Seeds.") == ["what do parrots eat? And you?"]
            await asyncio.sleep(1.0)
        assert count_jobs(wire.engine) == 1


async def test_without_redis_a_member_is_told_of_the_delay_and_answered_at_last(
    database_url, valkey, tmp_path
):
    variables = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "PERROQUET_CHAT__DELAYED_AFTER_SECONDS": "0.2",
    }
    async with open_wire(database_url, valkey, tmp_path, **variables) as wire:
        wire.publish_model()
        async with wire.bot():
            wire.world.say(cast.ALICE, cast.GENERAL, ASK)
            (job_id,) = await wire.queued()
            await eventually(lambda: wire.said_by_bot()[-1:] != ["🦜 …"] and wire.said_by_bot())
            assert "Part of me is down" in wire.said_by_bot()[0]
            wire.answer(job_id, "Seeds.")
            await eventually(lambda: wire.said_by_bot() == ["Seeds."])


async def test_more_messages_than_can_wait_are_lost_with_a_word_in_the_log(
    sqlite_url, valkey, tmp_path, impatient, monkeypatch, capsys
):
    monkeypatch.setattr(cog, "_MAX_WAITING", 1)
    async with open_wire(sqlite_url, valkey, tmp_path) as wire:
        wire.publish_model()
        async with wire.bot():
            with frozen(wire.engine):
                wire.world.say(cast.ALICE, cast.GENERAL, ASK)
                await eventually(lambda: len(wire.said_by_bot()) == 1)
                wire.world.say(cast.ALICE, cast.GENERAL, ASK)
                await eventually(lambda: "message_lost" in capsys.readouterr().out)
            await wire.queued()
        assert count_jobs(wire.engine) == 1
