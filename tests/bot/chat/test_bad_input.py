"""Odd messages over the wire: each has a clear outcome."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.conversations.forgetting import forget_channel
from core.db.tables import Job, Message, Reply
from core.jobs.ledger import claim, confirm_cancel, request_cancel
from core.transport.streams import StreamEntry
from playground import cast
from tests.bot.wire import eventually, open_wire

CALL = f"<@{cast.BOT_ID}>"
ZALGO = "h̸͎̓e̵̝͝l̶̰̈́l̴̰͝o̶͓͋" * 20
RIGHT_TO_LEFT = "مرحبا كيف حالك؟"
PICTURE = {"id": "7", "filename": "a.png", "size": 1, "url": "http://x/a.png", "proxy_url": ""}
CALLED_OFF = "🦜 An admin called this answer off."


def count_jobs(wire) -> int:
    with Session(wire.engine) as session:
        return session.query(Job).count()


@pytest.mark.parametrize("text", [ZALGO, RIGHT_TO_LEFT, "🦜🦜🦜", "<:ara:123456789012345678>"])
async def test_text_of_any_script_and_emoji_alone_reach_the_model_as_they_are(wire, text):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} {text}")
        (job_id,) = await wire.queued()
        (heard,) = wire.answer(job_id, "Oh!")
        assert heard == (":ara:" if text.startswith("<:") else text)
        await eventually(lambda: wire.said_by_bot() == ["Oh!"])


async def test_four_thousand_characters_are_taken_in_whole(wire):
    text = "seed " * 799 + "fruit"
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} {text}")
        (job_id,) = await wire.queued()
        assert wire.answer(job_id, "Yes.") == [text]


async def test_more_than_the_limit_is_refused_with_the_limit_s_number(
    database_url, valkey, tmp_path
):
    limit = {"PERROQUET_CHAT__MESSAGE_MAX_CHARACTERS": "50"}
    async with open_wire(database_url, valkey, tmp_path, **limit) as wire, wire.bot():
        wire.world.say(cast.BRUNO, cast.GENERAL, f"{CALL} {'x' * 51}")
        await eventually(lambda: len(wire.said_by_bot()) == 1)
        assert "50" in wire.said_by_bot()[0]
        assert count_jobs(wire) == 0


@pytest.mark.parametrize("text", ["   ", "\n\u200b\n"])
async def test_whitespace_alone_asks_for_words(wire, text):
    async with wire.bot():
        direct = wire.world.open_direct(cast.ALICE)
        wire.world.say(cast.ALICE, direct["id"], text)
        await eventually(lambda: len(wire.said_by_bot(direct["id"])) == 1)
        assert "Yes?" in wire.said_by_bot(direct["id"])[0]
        wire.world.say(cast.ALICE, direct["id"], text, attachments=[PICTURE])
        await eventually(lambda: len(wire.said_by_bot(direct["id"])) == 2)
        assert "only read text" in wire.said_by_bot(direct["id"])[1]
        assert count_jobs(wire) == 0


async def test_a_message_in_a_thread_is_answered_in_the_thread(wire):
    async with wire.bot():
        thread = wire.world.open_thread(cast.GENERAL, cast.ALICE, "About seeds", None)
        wire.world.say(cast.ALICE, thread["id"], f"{CALL} hello")
        (job_id,) = await wire.queued()
        wire.answer(job_id, "Hi.")
        await eventually(lambda: wire.said_by_bot(thread["id"]) == ["Hi."])
        assert wire.said_by_bot() == []


async def test_typing_is_shown_while_the_answer_takes_time(wire):
    typed = []
    wire.world.listen(lambda event: event.name == "TYPING_START" and typed.append(event.data))
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        (job_id,) = await wire.queued()
        await eventually(lambda: bool(typed))
        wire.answer(job_id, "Hi.")
        await eventually(lambda: wire.said_by_bot() == ["Hi."])
    assert [data["channel_id"] for data in typed] == [cast.GENERAL]


async def test_what_a_moderator_deletes_while_it_grows_stays_deleted(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        placeholder = list(wire.world.messages[cast.GENERAL])[-1]
        wire.world.delete(cast.GENERAL, placeholder)
        wire.answer(job_id, "Seeds.")

        def is_delivered() -> bool:
            with Session(wire.engine) as session:
                return session.get(Reply, job_id).delivered_at is not None

        await eventually(is_delivered)
        assert wire.said_by_bot() == []


async def test_a_cancelled_answer_leaves_nothing_half_said(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        (job_id,) = await wire.queued()
        with Session(wire.engine) as session, session.begin():
            held = claim(session, job_id, "test", 30)
        wire.streams.write("bot-0", StreamEntry(job_id, held.token, 0, "Half a"))
        await eventually(lambda: wire.said_by_bot() == ["Half a"])
        with Session(wire.engine) as session, session.begin():
            request_cancel(session, job_id)
            confirm_cancel(session, held)
        wire.streams.write("bot-0", StreamEntry(job_id, held.token, 0, "", is_end=True))
        await eventually(lambda: wire.said_by_bot() == [CALLED_OFF])
    with Session(wire.engine) as session:
        assert session.scalars(select(Message.role)).all() == ["user"]


async def test_who_asked_is_told_that_an_admin_cancelled_it_before_its_first_word(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        with Session(wire.engine) as session, session.begin():
            request_cancel(session, job_id)
        await eventually(lambda: wire.said_by_bot() == [CALLED_OFF], seconds=15)


async def test_a_forgotten_question_leaves_nothing(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        with Session(wire.engine) as session, session.begin():
            forget_channel(session, int(cast.GENERAL))
        await eventually(lambda: wire.said_by_bot() == [], seconds=15)


async def test_growing_text_replaces_the_placeholder_before_the_end(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"{CALL} hello")
        (job_id,) = await wire.queued()
        with Session(wire.engine) as session, session.begin():
            token = claim(session, job_id, "test", 30).token
        said = []
        for piece in ("Seeds", " and", " fruit"):
            wire.streams.write("bot-0", StreamEntry(job_id, token, len("".join(said)), piece))
            said.append(piece)
            await eventually(lambda: wire.said_by_bot() == ["".join(said)])
