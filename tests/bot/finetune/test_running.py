"""A run as its channel sees it, over the wire."""

import asyncio
import io
import itertools
import time
from dataclasses import replace

import discord
import pytest
from PIL import Image
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue
from bot.finetune.curve_picture import CurveLabels, draw_curve, nice_ticks
from bot.finetune.run_progress import curve_labels, draw_progress
from bot.finetune.wording import bar
from core.corpora.boards import BoardView
from core.corpora.curves import Curve
from core.db.tables import Board, Job
from core.jobs.ledger import confirm_cancel, fail, release
from core.jobs.states import JobState
from playground import cast
from tests.bot.finetune.helpers import (
    board,
    change,
    labels,
    press,
    press_id,
    report_evaluation,
    report_step,
    started,
    text_of,
    title,
    work,
)
from tests.bot.wire import eventually, open_wire
from workers.finetuning.errors import DivergedError


def job(wire, job_id: str) -> Job:
    with Session(wire.engine, expire_on_commit=False) as session:
        return session.get(Job, job_id)


def picture(wire) -> bytes | None:
    """The bytes of the picture that the board's embed shows."""
    shown = board(wire)["embeds"][0].get("image")
    if shown is None:
        return None
    return wire.world.files[shown["url"].removeprefix(wire.server.base)][0]


async def test_progress_and_picture_follow_the_run_across_a_restart(wire):
    async with wire.bot():
        taken = work(wire, await started(wire))
        message_id = board(wire)["id"]
        report_evaluation(wire, taken, 0, 4.0)
        report_step(wire, taken, 50)
        await eventually(lambda: "50 of 200" in text_of(board(wire)))
        said = text_of(board(wire))
        for fragment in ("25 %", "2.500", "4.000 at step 0", "1,23", "1 h 2 min", "0.75"):
            assert fragment in said
        assert picture(wire) is None, "the base alone is no curve"
        report_evaluation(wire, taken, 50, 3.0)
        await eventually(lambda: picture(wire) is not None)
        first = picture(wire)
        assert Image.open(io.BytesIO(first)).size == (800, 450)
        report_step(wire, taken, 60)
        await eventually(lambda: "60 of 200" in text_of(board(wire)))
        assert picture(wire) == first, "an edit between evaluations keeps the picture"
    report_evaluation(wire, taken, 100, 2.0)
    report_step(wire, taken, 110)
    async with wire.bot():
        await eventually(lambda: "110 of 200" in text_of(board(wire)))
        assert picture(wire) != first
        assert board(wire)["id"] == message_id
        assert len(board(wire)["attachments"]) == 1


@pytest.mark.parametrize(("locale", "words"), [("en", "300 of 900"), ("fr", "300 jetons sur 900")])
def test_while_the_base_is_measured_the_board_shows_how_far(locale, words):
    progress = {"measured_tokens": 300, "tokens_to_measure": 900}
    view = BoardView(
        "j", JobState.RUNNING, 1, 2, 3, None, locale, {"model": "coco"}, {"progress": progress},
        None, None, has_run=False, report=None,
    )  # fmt: skip
    embed = discord.Embed(description="I measure the base.")
    draw_progress(Catalogue.load(), embed, view, Curve())
    assert "33 %" in embed.description
    assert "I measure the base." in embed.description
    assert words in embed.fields[0].value
    paused = replace(view, state=JobState.QUEUED)
    words_of_state = discord.Embed(description="It is paused.")
    draw_progress(Catalogue.load(), words_of_state, paused, Curve())
    assert words_of_state.description == "It is paused."


async def test_progress_is_edited_at_its_own_pace(database_url, valkey, tmp_path):
    pace = {"PERROQUET_CHAT__EDIT_INTERVAL_SECONDS": "0.15"}
    async with open_wire(database_url, valkey, tmp_path, **pace) as wire:
        wire.publish_model()
        edits = []
        async with wire.bot():
            taken = work(wire, await started(wire))
            await eventually(lambda: "training" in title(wire))
            wire.world.listen(
                lambda e: edits.append(time.monotonic()) if e.name == "MESSAGE_UPDATE" else None
            )
            for step in range(1, 31):
                report_step(wire, taken, step)
                await asyncio.sleep(0.1)
            await eventually(lambda: "30 of 200" in text_of(board(wire)))
    gaps = [b - a for a, b in itertools.pairwise(edits)]
    assert 2 <= len(edits) <= 2 + (edits[-1] - edits[0]) / 1.4, "an edit each 1.5 s, not each step"
    assert min(gaps) > 1.2


async def test_pause_resume_and_stop_are_wishes_in_sql(wire):
    async with wire.bot():
        job_id = await started(wire)
        assert labels(board(wire)) == ["Pause", "Cancel"], "nothing is there to keep yet"
        taken = work(wire, job_id)
        report_step(wire, taken, 50)
        await eventually(lambda: "Stop and keep the best" in labels(board(wire)))
        await press(wire, cast.CAMILLE, board(wire), "Pause")
        await eventually(lambda: "pausing" in title(wire))
        assert job(wire, job_id).wish == "pause"
        change(wire, release, taken)
        await eventually(lambda: "paused" in title(wire))
        assert "50 of 200" in text_of(board(wire))
        assert labels(board(wire)) == ["Stop and keep the best", "Resume", "Cancel"]
        await press(wire, cast.CAMILLE, board(wire), "Resume")
        await eventually(lambda: job(wire, job_id).dispatched_at is not None)
        taken = work(wire, job_id)
        await eventually(lambda: "training" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Stop and keep the best")
        await eventually(lambda: "ending early" in title(wire))
        assert (job(wire, job_id).wish, labels(board(wire))) == ("stop", ["Cancel"])


async def test_cancel_ends_a_run_and_takes_the_picture_away(wire):
    async with wire.bot():
        job_id = await started(wire)
        taken = work(wire, job_id)
        report_evaluation(wire, taken, 0, 4.0)
        report_evaluation(wire, taken, 50, 3.0)
        await eventually(lambda: picture(wire) is not None)
        await press(wire, cast.CAMILLE, board(wire), "Cancel")
        await eventually(lambda: "being cancelled" in title(wire))
        assert (job(wire, job_id).cancel_requested, labels(board(wire))) == (True, [])
        change(wire, confirm_cancel, taken)
        await eventually(lambda: title(wire).endswith(": cancelled"))
        assert (labels(board(wire)), board(wire)["attachments"]) == ([], [])
    with Session(wire.engine) as session:
        assert session.get(Board, job_id).closed_at is not None


async def test_a_run_that_fails_says_why_and_keeps_its_curve(wire):
    async with wire.bot():
        taken = work(wire, await started(wire))
        report_evaluation(wire, taken, 0, 4.0)
        report_evaluation(wire, taken, 50, 9.0)
        change(wire, fail, taken, DivergedError("It diverged.", step=57))
        await eventually(lambda: "did not work" in title(wire))
        assert "step 57" in text_of(board(wire))
        assert "learning_rate" in text_of(board(wire))
        assert picture(wire) is not None


async def test_wishes_of_another_guild_find_nothing(wire):
    async with wire.bot():
        job_id = await started(wire)
        work(wire, job_id)
        forged = wire.world.post(cast.SALON, cast.BOT_ID, "x", components=board(wire)["components"])
        for action in ("pause", "stop", "resume", "cancel"):
            forged["components"][0]["components"][0]["custom_id"] = f"finetune:{action}:{job_id}"
            await press_id(wire, cast.BRUNO, forged, f"finetune:{action}:{job_id}")
        told = wire.world.messages[cast.SALON].values()
        await eventually(lambda: sum("no longer exists" in m["content"] for m in told) == 4)
    assert (job(wire, job_id).wish, job(wire, job_id).cancel_requested) == (None, False)


def test_a_bar_is_full_at_the_end_and_never_longer():
    assert bar(0, 10).count("█") == 0
    assert bar(5, 10).count("█") == 10
    assert bar(12, 10).count("█") == bar(10, 10).count("█") == 20
    assert bar(0, 0).endswith("0 %")


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_the_words_of_a_picture_are_in_the_letters_of_its_font(locale):
    words = curve_labels(Catalogue.load(), locale)
    assert all(word.isascii() for word in vars(words).values())


@pytest.mark.parametrize(
    "curve",
    [
        Curve(validation=((0, 3.0),)),
        Curve(train=((1, 2.0),)),
        Curve(train=((1, 0.0), (2, 0.0))),
        Curve(train=tuple((s, 1e6 / s) for s in range(1, 400)), validation=((0, 1e6), (9, 1.0))),
    ],
    ids=["base", "one step", "all zero", "steep"],
)
def test_any_curve_can_be_drawn(curve):
    words = CurveLabels("step", "loss", "training", "validation")
    image = Image.open(io.BytesIO(draw_curve(curve, words, 10)))
    colours = {colour for _, colour in image.getcolors(maxcolors=10**6)}
    assert len(colours) > 10


def test_lower_losses_are_drawn_lower():
    words = CurveLabels("step", "loss", "training", "validation")

    def heights(curve: Curve) -> list[int]:
        image = Image.open(io.BytesIO(draw_curve(curve, words, 10)))
        green = (62, 207, 122)
        dots = [
            (x, y) for x in (92, 775) for y in range(70, 360) if image.getpixel((x, y)) == green
        ]
        return [min(y for x, y in dots if x == column) for column in (92, 775)]

    left, right = heights(Curve(validation=((0, 3.0), (10, 1.0))))
    assert left < right


def test_letters_can_be_read_where_a_phone_shows_the_picture_small():
    words = CurveLabels("step", "loss", "training", "validation")
    png = draw_curve(Curve(validation=((0, 3.0), (10, 1.0))), words, 10)
    image = Image.open(io.BytesIO(png)).convert("L")
    small = image.resize((330, 330 * image.height // image.width), Image.Resampling.LANCZOS)
    word = small.crop((0, 0, 60, 26)).point(lambda grey: 255 * (grey > 120)).getbbox()
    assert word is not None
    assert word[3] - word[1] >= 8, "the height of the l in loss"


def test_ticks_are_round_and_few():
    assert list(nice_ticks(0, 200)) == [0, 50, 100, 150, 200]
    assert list(nice_ticks(1.13, 1.94)) == [1.25, 1.5, 1.75]
    assert all(3 <= len(list(nice_ticks(0, high))) <= 5 for high in range(1, 500))


async def test_samples_are_shown_as_training_goes(wire):
    async with wire.bot():
        taken = work(wire, await started(wire))
        samples = [{"prompt": f"Who {n}?", "text": f"I am *{n}*."} for n in range(4)]
        report_step(wire, taken, 10, samples=samples, sampled_step=10)
        await eventually(lambda: "Who 1?" in text_of(board(wire)))
        said = text_of(board(wire))
        assert "💬 Who 0?: I am \\*0\\*." in said
        assert "Who 2?" not in said, "two are enough while it runs"
