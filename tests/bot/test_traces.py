"""One trace from the gateway event of a message to the last edit of its answer."""

import asyncio

import pytest
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.db.tables import Job, Reply
from core.monitoring import tracing
from core.settings import ChatSettings, GenerationSettings
from core.transport.courier import make_publishing_celery
from playground import cast
from tests.bot.wire import eventually
from tests.workers.generation.test_answering import Script
from workers.generation.answering import Answerer
from workers.generation.protocol import Chunk, FinishReason
from workers.generation.serving import ModelPool
from workers.leases import LeaseKeeper
from workers.runner import JobRunner
from workers.upkeep.relay import Relay

ASK = f"<@{cast.BOT_ID}> what do parrots eat?"


@pytest.fixture
def worker(wire):
    """A generation worker's parts, but for Celery and the model."""
    desk = Desk(wire.engine)
    desk.start()
    script = Script(Chunk("Seeds ", 1), Chunk("and fruit.", 2, FinishReason.STOP))
    pool = ModelPool(lambda _weights: script, 1)
    answerer = Answerer(desk, pool, wire.streams, GenerationSettings(), ChatSettings())
    yield JobRunner(
        desk,
        LeaseKeeper(wire.engine, "w", "generate", 30.0),
        isolate_after_crashes=2,
        brief=answerer.brief,
        work=answerer.answer,
        ended=answerer.announce_end,
    )
    desk.close()


def is_delivered(wire, job_id) -> bool:
    with Session(wire.engine) as session:
        return session.get(Reply, job_id).delivered_at is not None


async def test_from_the_gateway_event_to_the_last_edit(wire, worker, spans):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
        await asyncio.to_thread(worker.run, job_id)
        await eventually(lambda: wire.said_by_bot() == ["Seeds and fruit."])
        await eventually(lambda: any(span.name == "reply" for span in spans()))
    by_name = {span.name: span for span in spans()}
    message = by_name["message"]
    assert message.parent is None
    assert {span.context.trace_id for span in spans()} == {message.context.trace_id}
    for name, above in {
        "send hint": "message",
        "generate job": "message",
        "generate": "generate job",
        "write answer": "generate job",
        "reply": "message",
        "post": "reply",
        "edit": "reply",
    }.items():
        assert by_name[name].parent.span_id == by_name[above].context.span_id, name
    assert [event.name for event in by_name["generate"].events] == ["first words"]
    edit, reply = by_name["edit"], by_name["reply"]
    assert message.start_time < edit.start_time < edit.end_time <= reply.end_time
    for span in spans():
        assert "parrots" not in span.to_json()
        assert "Seeds" not in span.to_json()
    assert by_name["generate job"].attributes["job_id"] == job_id
    assert by_name["reply"].attributes["guild_id"] == int(cast.PERROQUET_GUILD)


async def test_it_goes_on_after_a_lost_hint_and_a_bot_that_began_anew(wire, worker, spans):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
        await eventually(lambda: wire.said_by_bot() == ["🦜 …"])
    with Session(wire.engine) as session, session.begin():
        session.get(Job, job_id).dispatched_at = None
        session.get(Job, job_id).created_at -= 60
    app = make_publishing_celery(wire.settings)
    prefix = wire.settings.redis.key_prefix
    relay = Relay(wire.engine, app, wire.client, prefix, wire.settings.ledger)
    assert relay.run_once() == 1
    app.close()
    await asyncio.to_thread(worker.run, job_id)
    async with wire.bot():
        await eventually(lambda: wire.said_by_bot() == ["Seeds and fruit."])
        await eventually(lambda: is_delivered(wire, job_id))
        await eventually(lambda: sum(span.name == "reply" for span in spans()) == 2)
    (message,) = [span for span in spans() if span.name == "message"]
    again = [span for span in spans() if span.name in ("send hint again", "reply")]
    assert len(again) == 3
    assert {span.context.trace_id for span in again} == {message.context.trace_id}


async def test_a_message_that_is_not_traced_leaves_nothing_in_its_row(wire):
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, ASK)
        (job_id,) = await wire.queued()
    with Session(wire.engine) as session:
        assert tracing.TRACE not in session.get(Job, job_id).payload
