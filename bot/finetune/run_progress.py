"""How far a run is: a bar, its figures, and the words in its picture."""

from collections.abc import Sequence

import discord

from bot.catalogue import Catalogue
from bot.finetune.curve_picture import CurveLabels
from bot.finetune.wording import bar, clipped, decimal, duration, options_text
from core.corpora.boards import BoardView
from core.corpora.curves import Curve
from core.corpora.searches import Trial, best_trial
from core.jobs.states import JobState

_MAX_SAMPLES = 2
_MAX_PROMPT, _MAX_ANSWER = 100, 300


def draw_progress(
    catalogue: Catalogue,
    embed: discord.Embed,
    view: BoardView,
    curve: Curve,
    trials: Sequence[Trial] = (),
) -> None:
    """Add to an embed what the trainer said last; nothing before its first word."""
    progress = view.progress
    if not progress:
        return

    def say(key: str, **arguments: str | float) -> str:
        return catalogue.say(view.locale, key, **arguments)

    is_running = view.state is JobState.RUNNING
    if "step" not in progress:
        # Of a job that no longer runs the words of its state say enough.
        if is_running:
            done = int(progress["measured_tokens"]), int(progress["tokens_to_measure"])
            embed.description = f"{bar(*done)}\n{embed.description}"
            value = say("run-measured-value", done=done[0], all=done[1])
            embed.add_field(name=say("run-measured"), value=value)
        return
    step, steps = int(progress["step"]), int(progress["steps"])
    # While all goes its way the figures say enough.
    said = "" if is_running and view.wish is None else embed.description
    embed.description = f"{bar(step, steps)}\n{said}".strip()
    rows = [
        *_trial_rows(catalogue, view, trials),
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
    for sample in progress.get("samples", [])[:_MAX_SAMPLES]:
        prompt = clipped(" ".join(sample["prompt"].split()), _MAX_PROMPT)
        words = discord.utils.escape_markdown(" ".join(sample["text"].split()))
        embed.add_field(
            name=say("run-sample", prompt=prompt or "…"),
            value=clipped(words, _MAX_ANSWER) or "…",
            inline=False,
        )


def _trial_rows(
    catalogue: Catalogue, view: BoardView, trials: Sequence[Trial]
) -> list[tuple[str, str]]:
    """Which trial of a search runs, and the best so far; nothing for a single run."""
    progress, rows = view.progress, []
    if "trial" in progress:
        value = catalogue.say(
            view.locale, "run-trial-value", trial=progress["trial"], trials=progress["trials"]
        )
        rows.append(("run-trial", value))
    best = best_trial(list(trials))
    if best is not None:
        value = catalogue.say(
            view.locale,
            "run-best-trial-value",
            number=best.number + 1,
            loss=decimal(best.loss or 0.0, 3),
            options=options_text(best.options),
        )
        rows.append(("run-best-trial", value))
    return rows


def curve_labels(catalogue: Catalogue, locale: str) -> CurveLabels:
    """The words of a picture in a language."""
    return CurveLabels(
        step=catalogue.say(locale, "curve-step"),
        loss=catalogue.say(locale, "curve-loss"),
        train=catalogue.say(locale, "curve-train"),
        validation=catalogue.say(locale, "curve-validation"),
        best=catalogue.say(locale, "curve-best"),
        pruned=catalogue.say(locale, "curve-pruned"),
        trial=catalogue.say(locale, "curve-trial"),
        decimal_mark="," if locale == "fr" else ".",
    )
