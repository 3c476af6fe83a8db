"""Bounds of members, over the wire: who asks too much is told so once, in their language."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue
from core.db.tables import Job
from playground import cast
from tests.bot.wire import eventually

TOO_MANY = Catalogue.load().say("en", "chat-too-many")


@pytest.fixture
def wire_variables():
    return {"PERROQUET_CHAT__MEMBER_MAX_IN_FLIGHT": "1"}


def ask(wire, member: str, text: str) -> None:
    wire.world.say(member, cast.GENERAL, f"<@{cast.BOT_ID}> {text}")


async def test_who_asks_too_much_is_told_once_and_may_ask_again_when_answered(wire):
    async with wire.bot():
        ask(wire, cast.ALICE, "one")
        (first,) = await wire.queued()
        ask(wire, cast.ALICE, "two")
        ask(wire, cast.ALICE, "three")
        ask(wire, cast.BRUNO, "four")
        _, second = await wire.queued(2)
        await eventually(lambda: wire.said_by_bot().count(TOO_MANY) == 1)
        await asyncio.sleep(0.2)
        assert wire.said_by_bot().count(TOO_MANY) == 1
        wire.answer(first, "Seeds.")
        await eventually(lambda: "Seeds." in wire.said_by_bot())
        # The text is there a moment before the bot has seen that it was the last of it.
        for _ in range(100):
            ask(wire, cast.ALICE, "five")
            await asyncio.sleep(0.2)
            if len(await wire.queued()) == 2:
                break
        await wire.queued(2)
    with Session(wire.engine) as session:
        priorities = dict(session.execute(select(Job.id, Job.priority)).all())
    assert (priorities[first], priorities[second]) == (0, 1), "the server is busy by then"
