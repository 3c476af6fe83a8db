"""What a member is told of an answer that has no words yet: the truth."""

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue
from bot.chat.delay import Delay, Why, tell_why
from core.db.tables import Worker
from core.jobs.ledger import claim
from core.jobs.presence import announce
from core.jobs.standing import Standing
from core.jobs.states import JobState
from playground import cast
from tests.bot.wire import eventually

ASK = f"<@{cast.BOT_ID}> what do parrots eat?"


@pytest.fixture
def wire_variables():
    return {"PERROQUET_CHAT__DELAYED_AFTER_SECONDS": "0.5"}


def change(wire, work) -> None:
    with Session(wire.engine) as session, session.begin():
        work(session)


async def test_a_slow_answer_is_told_to_wait_its_turn_then_to_be_thought_about(wire):
    change(wire, lambda session: announce(session, "w", "generate", {"slots": 1}))
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        wire.world.say(cast.BRUNO, cast.GENERAL, ASK)
        first, second = await wire.queued(2)
        await eventually(lambda: any("is next" in said for said in wire.said_by_bot()))
        await eventually(lambda: any("1 other came" in said for said in wire.said_by_bot()))
        change(wire, lambda session: claim(session, first, "w", 600))
        await eventually(lambda: "🦜 I am still thinking." in wire.said_by_bot())
        change(wire, lambda session: session.execute(delete(Worker)))
        await eventually(lambda: all("Part of me is down" in said for said in wire.said_by_bot()))
        wire.answer(second, "Seeds.")
        await eventually(lambda: "Seeds." in wire.said_by_bot())


async def test_an_answer_without_a_worker_is_told_of_the_outage(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        await eventually(lambda: "Part of me is down" in "".join(wire.said_by_bot()))


@pytest.mark.parametrize(
    ("standing", "is_redis_up", "told"),
    [
        (Standing(JobState.QUEUED, 3, is_attended=True), True, Delay(Why.WAITING, 3)),
        (Standing(JobState.RUNNING, 0, is_attended=True), True, Delay(Why.THINKING)),
        (Standing(JobState.RUNNING, 0, is_attended=True), False, Delay(Why.OUTAGE)),
        (Standing(JobState.QUEUED, 0, is_attended=False), True, Delay(Why.OUTAGE)),
    ],
)
def test_only_what_is_away_is_an_outage(standing, is_redis_up, told):
    assert tell_why(standing, is_redis_up=is_redis_up) == told


def test_both_languages_count_who_came_before():
    catalogue = Catalogue.load()
    english = [Delay(Why.WAITING, ahead).say(catalogue, "en") for ahead in (0, 1, 2)]
    french = [Delay(Why.WAITING, ahead).say(catalogue, "fr") for ahead in (0, 1, 2)]
    assert [text.split("; ")[-1] for text in english] == [
        "🦜 Your question is next.",
        "1 other came before it.",
        "2 others came before it.",
    ]
    assert [text.split("; ")[-1] for text in french] == [
        "🦜 Ta question est la prochaine.",
        "1 autre est arrivée avant elle.",
        "2 autres sont arrivées avant elle.",
    ]
