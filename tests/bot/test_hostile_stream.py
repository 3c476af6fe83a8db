"""Who can write to the token streams shows words for a moment, and neither keeps nor learns any."""

import asyncio

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Message
from core.ids import new_id
from core.transport.names import stream_key
from core.transport.streams import StreamEntry
from playground import cast
from tests.bot.wire import eventually

ASK = f"<@{cast.BOT_ID}> what do parrots eat?"
SECRET = "the far server's secret"


async def test_forged_words_do_not_outlast_the_job_and_reach_no_other_channel(wire):
    async with wire.bot():
        wire.world.say(cast.BRUNO, cast.SALON, f"{ASK} {SECRET}")
        (other,) = await wire.queued()
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        await wire.queued(2)
        (job_id,) = [found for found in await wire.queued(2) if found != other]
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])

        stream = stream_key(wire.settings.redis.key_prefix, "bot-0")
        for fields in ({}, {"job": job_id}, {"job": job_id, "token": "x", "offset": "0"}):
            wire.client.xadd(stream, fields or {"nothing": "at all"})
        wire.streams.write("bot-0", StreamEntry(new_id(), 9, 0, "of a job that is none"))
        wire.streams.write("bot-0", StreamEntry(job_id, 9, 0, "forged @everyone"))
        await eventually(lambda: wire.said_by_bot() == ["forged @everyone"])
        # Said to have ended; SQL knows better.
        wire.streams.write("bot-0", StreamEntry(job_id, 9, 0, "", is_end=True))

        wire.answer(other, "A secret answer.")
        await eventually(lambda: wire.said_by_bot(cast.SALON) == ["A secret answer."])
        assert wire.answer(job_id, "Seeds.") == ["what do parrots eat?"], "and nothing forged"
        await eventually(lambda: wire.said_by_bot() == ["Seeds."])
        await asyncio.sleep(0.3)
        assert wire.said_by_bot() == ["Seeds."]
    with Session(wire.engine) as session:
        said = session.scalars(select(Message.content)).all()
    assert not [text for text in said if "forged" in text]
    near = [m["content"] for m in wire.world.messages[cast.GENERAL].values()]
    assert not [text for text in near if "secret" in text]
    message = next(reversed(wire.world.messages[cast.GENERAL].values()))
    assert (message["mention_everyone"], message["mentions"]) == (False, [])
