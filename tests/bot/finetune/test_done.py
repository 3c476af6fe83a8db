"""The end of a run and what is done with it, over the wire."""

from sqlalchemy.orm import Session

from core.catalog.resolution import resolve_version
from core.db.tables import Board, Version
from playground import cast
from tests.bot.finetune.helpers import (
    board,
    finish,
    labels,
    press,
    press_id,
    report_evaluation,
    started,
    text_of,
    title,
    whispers,
    work,
)
from tests.bot.wire import eventually

USES = ["Use here", "Use on this server"]


def answers(wire, channel: str, guild: str | None = cast.PERROQUET_GUILD) -> str | None:
    with Session(wire.engine) as session:
        guild_id = None if guild is None else int(guild)
        return resolve_version(session, guild_id, int(channel), wire.settings.generation.model)


async def done(wire, **changes) -> str:
    """A fine-tune that went well and is shown; returns its version's id."""
    taken = work(wire, await started(wire))
    version_id = finish(wire, taken, **changes)
    await eventually(lambda: "version 1" in title(wire))
    return version_id


async def say_buttons(wire, user: str, message: dict) -> dict:
    """The ephemeral question that a press led to."""
    await eventually(
        lambda: any(
            m.get("only_user_id") == user and m["components"]
            for m in wire.world.messages[message["channel_id"]].values()
        )
    )
    return next(
        m
        for m in reversed(wire.world.messages[message["channel_id"]].values())
        if m.get("only_user_id") == user and m["components"]
    )


async def test_base_and_new_stand_side_by_side_in_figures_and_words(wire):
    async with wire.bot():
        taken = work(wire, await started(wire))
        report_evaluation(wire, taken, 0, 4.0)
        report_evaluation(wire, taken, 100, 3.0)
        finish(wire, taken)
        await eventually(lambda: "version 1" in title(wire))
        said = text_of(board(wire))
        for fragment in (
            "base 31.25 → new 12.50",
            "base 32.25 → new 13.50",
            "12 min 34 s",
            "ended at step 120",
            "the best is that of step 100",
            "before: I am a language model.",
            r"after: **Coco! \*croak\* @everyone**",
        ):
            assert fragment in said
        assert said.count("before:") == 3
        assert labels(board(wire)) == [*USES, "Compare", "Download", "Discard"]
        assert board(wire)["embeds"][0]["image"]["url"].endswith("curve.png")
        assert not board(wire)["mention_everyone"]


async def test_worse_than_the_base_is_said_and_not_offered_first(wire):
    wire.world.guilds[cast.PERROQUET_GUILD]["preferred_locale"] = "fr"
    async with wire.bot():
        from tests.bot.finetune import helpers

        await helpers.start(wire, ("pairs.jsonl", helpers.PAIRS))
        await eventually(lambda: "lis" in title(wire))
        job_id = helpers.validate(wire)
        await eventually(lambda: "prêt" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Commencer")
        await eventually(lambda: "attente" in title(wire))
        finish(wire, work(wire, job_id), is_better=False)
        await eventually(lambda: "version 1" in title(wire))
        assert "moins bon que sa base" in text_of(board(wire))
        assert labels(board(wire))[0] == "Jeter"


async def test_without_validation_nobody_is_told_that_it_is_better(wire):
    figures = {"samples": []}
    async with wire.bot():
        await done(wire, is_better=None, base=figures, tuned=figures, ending="finished")
        said = text_of(board(wire))
        assert "too little text" in said
        assert "perplexity" not in said.lower()


async def test_use_here_answers_in_this_channel_alone_and_everybody_is_told(wire):
    async with wire.bot():
        before = answers(wire, cast.GENERAL)
        version_id = await done(wire)
        await press(wire, cast.CAMILLE, board(wire), "Use here")
        await eventually(lambda: answers(wire, cast.GENERAL) == version_id)
        assert answers(wire, cast.RANDOM) == before
        assert answers(wire, cast.SALON, cast.AVIARY_GUILD) == before
        messages = wire.world.messages[cast.GENERAL]
        await eventually(lambda: "coco" in list(messages.values())[-1]["content"])
        assert not list(messages.values())[-1]["flags"] & 64


async def test_use_on_this_server_answers_in_all_its_channels(wire):
    async with wire.bot():
        before = answers(wire, cast.GENERAL)
        version_id = await done(wire)
        await press(wire, cast.CAMILLE, board(wire), "Use on this server")
        await eventually(lambda: answers(wire, cast.RANDOM) == version_id)
        assert answers(wire, cast.GENERAL) == version_id
        assert answers(wire, cast.SALON, cast.AVIARY_GUILD) == before


async def test_discard_asks_once_then_deletes_and_the_board_says_so(wire):
    async with wire.bot():
        before = answers(wire, cast.GENERAL)
        version_id = await done(wire)
        shown = board(wire)
        buttons = shown["components"]
        await press(wire, cast.CAMILLE, shown, "Use here")
        await press(wire, cast.CAMILLE, shown, "Discard")
        question = await say_buttons(wire, cast.CAMILLE, shown)
        await press(wire, cast.CAMILLE, question, "Keep it")
        assert answers(wire, cast.GENERAL) == version_id
        await press(wire, cast.CAMILLE, shown, "Discard")
        question = await say_buttons(wire, cast.CAMILLE, shown)
        await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(lambda: "discarded" in shown["embeds"][0]["title"])
        assert labels(shown) == []
        assert answers(wire, cast.GENERAL) == before
        stale = wire.world.post(cast.GENERAL, cast.BOT_ID, "x", components=buttons)
        await press(wire, cast.CAMILLE, stale, "Use here")
        await eventually(lambda: "no longer exists" in whispers(wire, cast.CAMILLE)[-1])
    with Session(wire.engine) as session:
        assert session.get(Version, version_id).retired_at is not None
        assert session.query(Board).one().closed_at is not None


async def custom_id_of(wire, action: str) -> str:
    with Session(wire.engine) as session:
        return f"finetune:{action}:{session.query(Board).one().job_id}"


async def test_neither_members_nor_other_guilds_choose_or_discard(wire):
    async with wire.bot():
        before = answers(wire, cast.SALON, cast.AVIARY_GUILD)
        version_id = await done(wire)
        forged = wire.world.post(cast.SALON, cast.BOT_ID, "x", components=board(wire)["components"])
        for number, action in enumerate(("here", "server", "discard"), start=1):
            custom_id = await custom_id_of(wire, action)
            await press_id(wire, cast.ALICE, board(wire), custom_id)
            await eventually(lambda n=number: len(whispers(wire, cast.ALICE)) == n)
            await press_id(wire, cast.BRUNO, forged, custom_id)
            await eventually(lambda n=number: len(whispers(wire, cast.BRUNO, cast.SALON)) == n)
        assert all("may not" in told for told in whispers(wire, cast.ALICE))
        assert all("no longer exists" in told for told in whispers(wire, cast.BRUNO, cast.SALON))
        assert answers(wire, cast.SALON, cast.AVIARY_GUILD) == before
        assert answers(wire, cast.GENERAL) != version_id
