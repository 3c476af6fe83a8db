"""How far a run is: a bar, its figures, and the words in its picture."""

import discord

from bot.catalogue import Catalogue
from bot.finetune.curve_picture import CurveLabels
from bot.finetune.wording import decimal, duration
from core.corpora.boards import BoardView
from core.corpora.curves import Curve
from core.jobs.states import JobState

_BAR_CELLS = 20


def draw_progress(
    catalogue: Catalogue, embed: discord.Embed, view: BoardView, curve: Curve
) -> None:
    """Add to an embed what the trainer said last; nothing before its first word."""
    progress = view.progress
    if not progress:
        return

    def say(key: str, **arguments: str | float) -> str:
        return catalogue.say(view.locale, key, **arguments)

    step, steps = int(progress["step"]), int(progress["steps"])
    is_running = view.state is JobState.RUNNING
    # While all goes its way the figures say enough.
    said = "" if is_running and view.wish is None else embed.description
    embed.description = f"{bar(step, steps)}\n{said}".strip()
    rows = [
        ("run-step", say("run-step-value", step=step, steps=steps)),
        ("run-epoch", say("run-number", number=decimal(progress["epoch"], 2))),
        ("run-train-loss", say("run-number", number=decimal(progress["loss"], 3))),
    ]
    if curve.validation:
        at, loss = curve.validation[-1]
        value = say(
            "run-validation-value", loss=decimal(loss, 3), step=at, best=curve.best_step or 0
        )
        rows.append(("run-validation-loss", value))
    if is_running:
        speed = decimal(progress["tokens_per_second"], 0)
        rows.append(("run-speed", say("run-speed-value", speed=speed)))
        rows.append(("run-left", duration(progress["seconds_left"])))
    for key, value in rows:
        embed.add_field(name=say(key), value=value)


def bar(step: int, steps: int) -> str:
    """A bar of text with the share that is done."""
    share = min(1.0, step / max(1, steps))
    full = round(share * _BAR_CELLS)
    return f"`{'█' * full}{'░' * (_BAR_CELLS - full)}` {share * 100:.0f} %"


def curve_labels(catalogue: Catalogue, locale: str) -> CurveLabels:
    """The words of a picture in a language."""
    return CurveLabels(
        step=catalogue.say(locale, "curve-step"),
        loss=catalogue.say(locale, "curve-loss"),
        train=catalogue.say(locale, "curve-train"),
        validation=catalogue.say(locale, "curve-validation"),
        decimal_mark="," if locale == "fr" else ".",
    )
