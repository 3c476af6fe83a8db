"""A fine-tune as its board shows it at one moment."""

from dataclasses import dataclass, field

import discord

from bot.catalogue import Catalogue
from bot.finetune.actions import Action
from bot.finetune.failures import say_failure
from bot.finetune.report import draw_report
from core.corpora.boards import BoardView
from core.jobs.states import JobState


@dataclass(frozen=True)
class Draft:
    """What is to be shown.

    Attributes:
        embed: the text.
        actions: the buttons, in order.
        phase: what must be shown at once when it changes; all else may wait for its turn.
    """

    embed: discord.Embed
    actions: tuple[Action, ...] = ()
    phase: tuple[object, ...] = field(default=())


@dataclass(frozen=True)
class BoardFacts:
    """What a board is drawn from.

    Attributes:
        view: the rows.
        speed: tokens a second of the guild's earlier runs, for an estimate.
    """

    view: BoardView
    speed: float | None = None


def draw_board(catalogue: Catalogue, facts: BoardFacts) -> Draft:
    """The board of a fine-tune as it stands."""
    view = facts.view
    phase = (view.state, view.is_read)
    if view.state is JobState.VALIDATING and view.is_read:
        embed = draw_report(catalogue, view, facts.speed)
        return Draft(embed, (Action.START, Action.CANCEL), phase)
    if view.state is JobState.VALIDATING:
        embed = _plain(catalogue, view, "board-validating", discord.Colour.blurple())
        return Draft(embed, (Action.CANCEL,), phase)
    if view.state in (JobState.QUEUED, JobState.RUNNING):
        embed = _plain(catalogue, view, f"board-{view.state}", discord.Colour.blurple())
        return Draft(embed, (Action.CANCEL,), phase)
    if view.state is JobState.FAILED:
        return Draft(_draw_failure(catalogue, view), (), phase)
    colour = (
        discord.Colour.green() if view.state is JobState.SUCCEEDED else discord.Colour.greyple()
    )
    return Draft(_plain(catalogue, view, f"board-{view.state}", colour), (), phase)


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
