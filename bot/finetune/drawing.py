"""A fine-tune as its board shows it at one moment."""

from dataclasses import dataclass, field
from typing import Any

import discord

from bot.catalogue import Catalogue
from bot.finetune.actions import Action
from bot.finetune.failures import say_failure
from bot.finetune.outcome import draw_outcome, verdict_of
from bot.finetune.report import draw_report
from bot.finetune.run_progress import draw_progress
from core.corpora.boards import BoardView
from core.corpora.curves import Curve
from core.corpora.searches import Trial
from core.jobs.states import JobState, JobWish


@dataclass(frozen=True)
class Draft:
    """What is to be shown.

    Attributes:
        embed: the text.
        actions: the buttons, in order.
        phase: what must be shown at once when it changes; all else may wait for its turn.
        curve: what the picture is drawn from, the trials of a search or one run; None for no
            picture.
        steps: of the whole run, for the picture.
    """

    embed: discord.Embed
    actions: tuple[Action, ...] = ()
    phase: tuple[object, ...] = field(default=())
    curve: Curve | tuple[Trial, ...] | None = None
    steps: int = 1


@dataclass(frozen=True)
class BoardFacts:
    """What a board is drawn from.

    Attributes:
        view: the rows.
        speed: tokens a second of the guild's earlier runs, for an estimate.
        is_rough: the speed is a rule of thumb, for there were no runs.
        curve: of the run so far.
        version_number: of the new version while it lives.
        trials: of a search.
    """

    view: BoardView
    speed: float | None = None
    curve: Curve = field(default_factory=Curve)
    version_number: int | None = None
    trials: tuple[Trial, ...] = ()
    is_rough: bool = False


def draw_board(catalogue: Catalogue, facts: BoardFacts) -> Draft:
    """The board of a fine-tune as it stands."""
    view = facts.view
    phase = (str(view.state), view.is_read, str(view.wish), view.has_run, view.cancel_requested)
    if view.state is JobState.VALIDATING:
        return _draw_validation(catalogue, facts, phase)
    if view.state in (JobState.QUEUED, JobState.RUNNING):
        return _draw_run(catalogue, facts, phase)
    if view.state is JobState.FAILED:
        return Draft(_draw_failure(catalogue, view), (), phase, **_picture(facts))
    if view.state is JobState.CANCELLED:
        embed = _plain(catalogue, view, "board-cancelled", discord.Colour.greyple())
        return Draft(embed, (), phase)
    return _draw_success(catalogue, facts, phase)


def _draw_validation(catalogue: Catalogue, facts: BoardFacts, phase: tuple[object, ...]) -> Draft:
    if facts.view.is_read:
        embed = draw_report(catalogue, facts.view, facts.speed, is_rough=facts.is_rough)
        return Draft(embed, (Action.START, Action.CANCEL), phase)
    embed = _plain(catalogue, facts.view, "board-validating", discord.Colour.blurple())
    return Draft(embed, (Action.CANCEL,), phase)


def _draw_run(catalogue: Catalogue, facts: BoardFacts, phase: tuple[object, ...]) -> Draft:
    """Waiting, training, pausing, paused, stopping or being cancelled; with what was reached."""
    view = facts.view
    embed = _plain(catalogue, view, f"board-{_name_of_run(view)}", discord.Colour.blurple())
    draw_progress(catalogue, embed, view, facts.curve, facts.trials)
    return Draft(embed, _actions_of_run(view), phase, **_picture(facts))


def _name_of_run(view: BoardView) -> str:
    is_running = view.state is JobState.RUNNING
    if view.cancel_requested:
        return "cancelling"
    if view.wish is JobWish.PAUSE:
        return "pausing" if is_running else "paused"
    if view.wish is JobWish.STOP:
        return "stopping"
    return "running" if is_running else "queued"


def _actions_of_run(view: BoardView) -> tuple[Action, ...]:
    if view.cancel_requested:
        return ()
    if view.wish is JobWish.STOP:
        return (Action.CANCEL,)
    pausing = Action.RESUME if view.wish is JobWish.PAUSE else Action.PAUSE
    stopping = (Action.STOP,) if view.has_run else ()
    return (*stopping, pausing, Action.CANCEL)


def _picture(facts: BoardFacts) -> dict[str, Any]:
    """The picture's part of a draft; the base alone is no curve."""
    curve = facts.curve
    if any(len(trial.validation) > 1 for trial in facts.trials):
        steps = max(step for trial in facts.trials for step, _ in trial.validation)
        return {
            "curve": facts.trials,
            "steps": max(steps, int(facts.view.progress.get("steps", 1))),
        }
    if len(curve.validation) + len(curve.train) < 2:
        return {}
    plan = facts.view.payload.get("plan", {})
    steps = int(facts.view.progress.get("steps") or plan.get("steps") or 1)
    return {"curve": curve, "steps": steps}


def _draw_success(catalogue: Catalogue, facts: BoardFacts, phase: tuple[object, ...]) -> Draft:
    """The outcome. What is worse than its base is kept, but not offered first."""
    number = facts.version_number
    embed = draw_outcome(catalogue, facts.view, number, facts.trials)
    using = (Action.USE_HERE, Action.USE_ON_SERVER)
    looking = (Action.COMPARE, Action.DOWNLOAD)
    actions: tuple[Action, ...] = (*using, *looking, Action.DISCARD)
    if verdict_of(facts.view.result["metrics"]) == "worse":
        actions = (Action.DISCARD, *looking, *using)
    shown = actions if number is not None else ()
    return Draft(embed, shown, (*phase, number), **_picture(facts))


def _draw_failure(catalogue: Catalogue, view: BoardView) -> discord.Embed:
    embed = _plain(catalogue, view, "board-failed", discord.Colour.red())
    code, data = view.error_code or "internal", view.result.get("error_data", {})
    embed.description = say_failure(catalogue, view.locale, code, data)
    return embed


def _plain(
    catalogue: Catalogue, view: BoardView, key: str, colour: discord.Colour
) -> discord.Embed:
    return discord.Embed(
        title=catalogue.say(view.locale, key, model=view.payload["model"]),
        description=catalogue.say(view.locale, f"{key}-text"),
        colour=colour,
    )
