"""``/finetune search``: a search among options as its channel sees it, over the wire."""

import io

from PIL import Image

from bot.catalogue import Catalogue
from bot.finetune.run_progress import curve_labels
from bot.finetune.trials_picture import draw_trials
from core.corpora.searches import SEARCH, SearchSpec, Trial, TrialState
from core.jobs.states import JobKind
from playground import cast
from tests.bot.finetune.helpers import (
    ATTACHMENT,
    BOOLEAN,
    INTEGER,
    PAIRS,
    STRING,
    attach,
    board,
    finish,
    jobs,
    open_command,
    open_form,
    press,
    report_step,
    report_trial,
    send_form,
    text_of,
    title,
    use,
    validate,
    work,
)
from tests.bot.wire import eventually


async def search(wire, user: str = cast.CAMILLE, **more) -> dict:
    """Use the command with a file."""
    (file,) = attach(wire, cast.GENERAL, ("pairs.jsonl", PAIRS))
    given = {
        "file": (ATTACHMENT, file["id"]),
        "name": (STRING, "Coco"),
        "rights": (BOOLEAN, True),
        **more,
    }
    options = [{"name": name, "type": kind, "value": v} for name, (kind, v) in given.items()]
    return await use(wire, user, "finetune", "search", options, [file])


async def searching(wire):
    """A search that a worker has."""
    await search(wire, trials=(INTEGER, 3))
    await eventually(lambda: "reading" in title(wire))
    job_id = validate(wire)
    await eventually(lambda: "ready" in title(wire))
    assert "up to 3 trials" in text_of(board(wire))
    await press(wire, cast.CAMILLE, board(wire), "Start")
    await eventually(lambda: "waiting" in title(wire))
    return work(wire, job_id)


async def test_what_is_asked_for_reaches_the_job(wire):
    async with wire.bot():
        said = await search(wire, trials=(INTEGER, 5), sampler=(STRING, "grid"))
        assert "your file" in said["content"]
        refused = await search(wire, user=cast.ALICE)
        assert "may not" in refused["content"]
    (job,) = jobs(wire, JobKind.FINETUNE)
    asked = SearchSpec.from_json(job.payload[SEARCH])
    assert (asked.trials, asked.sampler) == (5, "grid")
    assert "learning_rate" in asked.space


async def test_the_form_leads_to_a_search_too(wire):
    async with wire.bot():
        form = await open_form(
            wire, lambda: open_command(wire, cast.CAMILLE, "finetune", "search", locale="fr")
        )
        (file,) = attach(wire, cast.GENERAL, ("pairs.jsonl", PAIRS))
        await send_form(wire, cast.CAMILLE, form, [[file["id"]], "Coco", "", True], [file])
    (job,) = jobs(wire, JobKind.FINETUNE)
    assert job.payload[SEARCH]["sampler"] == "bayesian"


async def test_the_board_shows_trial_best_and_picture_and_ends_with_the_best(wire):
    async with wire.bot():
        taken = await searching(wire)
        report_trial(wire, taken.job_id, 0, [4.0, 3.0], state="complete", learning_rate=3e-4)
        report_trial(wire, taken.job_id, 1, [4.0, 3.9], learning_rate=1e-3)
        report_step(wire, taken, 10, trial=2, trials=3)
        await eventually(lambda: "2 of 3" in text_of(board(wire)))
        said = text_of(board(wire))
        assert "trial 1, loss 3.000: learning_rate 0.0003" in said
        image = board(wire)["embeds"][0]["image"]["url"].removeprefix(wire.server.base)
        assert Image.open(io.BytesIO(wire.world.files[image][0])).size == (800, 450)
        finish(wire, taken)
        await eventually(lambda: "version 1" in title(wire))
        assert "the best of 2 trials is trial 1: learning_rate 0.0003" in text_of(board(wire))


def test_the_picture_tells_the_best_and_the_given_up_apart():
    def trial(number: int, state: TrialState, *losses: float) -> Trial:
        points = tuple((step * 10, loss) for step, loss in enumerate(losses))
        return Trial(number, {}, state, points, min(losses), 1.0)

    trials = [
        trial(0, TrialState.COMPLETE, 4.0, 3.0, 2.0),
        trial(1, TrialState.PRUNED, 4.0, 3.9),
        trial(2, TrialState.COMPLETE, 4.0, 3.5, 3.0),
        Trial(3, {}),
    ]
    for locale in ("en", "fr"):
        labels = curve_labels(Catalogue.load(), locale)
        image = Image.open(io.BytesIO(draw_trials(trials, labels, 20)))
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
        assert {(0x3E, 0xCF, 0x7A), (0xA3, 0x56, 0x2F), (0x6C, 0x7A, 0x99)} <= colours
