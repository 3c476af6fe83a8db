"""The bot is invited and removed, also while its process is away."""

from sqlalchemy.orm import Session

from core.conversations.places import join_guild
from core.db.tables import Guild
from playground import cast
from tests.bot.wire import eventually
from tests.workers.ledger_helpers import read_job

ASK = f"<@{cast.BOT_ID}> hello"


def is_noted(wire, guild_id: str) -> bool:
    """Whether the bot's rows say that it is in a guild."""
    with Session(wire.engine) as session:
        return session.get(Guild, int(guild_id)).left_at is None


async def asked(wire) -> str:
    wire.world.say(cast.ALICE, cast.GENERAL, ASK)
    (job_id,) = await wire.queued()
    return job_id


async def test_a_guild_that_removes_the_bot_while_it_is_away_is_left_at_the_next_start(wire):
    async with wire.bot():
        job_id = await asked(wire)
    wire.world.remove_bot(cast.PERROQUET_GUILD)
    async with wire.bot():
        await eventually(lambda: not is_noted(wire, cast.PERROQUET_GUILD))
    assert read_job(wire.engine, job_id).state == "cancelled"
    wire.world.invite_bot(cast.PERROQUET_GUILD)
    async with wire.bot():
        await eventually(lambda: is_noted(wire, cast.PERROQUET_GUILD))


async def test_a_guild_that_the_bot_is_in_keeps_its_work(wire):
    async with wire.bot():
        job_id = await asked(wire)
    async with wire.bot():
        wire.answer(job_id, "Hello!")
        await eventually(lambda: "Hello!" in wire.said_by_bot())
    assert is_noted(wire, cast.PERROQUET_GUILD)


async def test_a_process_leaves_only_what_it_would_hear(wire):
    near, far = 1 << 22, 2 << 22
    with Session(wire.engine) as session, session.begin():
        for guild_id in (near, far):
            join_guild(session, guild_id, "Gone", "en")
    shared = wire.settings.discord.model_copy(update={"shards": "0/2"})
    wire.settings = wire.settings.model_copy(update={"discord": shared})
    wire.server.shard_advice.max_concurrency = 16
    async with wire.bot():
        await eventually(lambda: not is_noted(wire, str(far)))
        assert is_noted(wire, str(near))
