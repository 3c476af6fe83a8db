"""What came of a fine-tune: base and new version side by side, in figures and in words."""

from collections.abc import Sequence
from typing import Any

import discord

from bot.catalogue import Catalogue
from bot.finetune.wording import clipped, decimal, duration, options_text
from core.corpora.boards import BoardView
from core.corpora.searches import Trial, best_trial

_MAX_SAMPLES = 3
_MAX_PROMPT, _MAX_ANSWER = 100, 420


def draw_outcome(
    catalogue: Catalogue, view: BoardView, number: int | None, trials: Sequence[Trial] = ()
) -> discord.Embed:
    """The embed of a fine-tune that ended well.

    Args:
        catalogue: the strings.
        view: of a job that succeeded.
        number: of the new version; None where it was discarded meanwhile.
        trials: of a search.
    """
    metrics, locale = view.result["metrics"], view.locale

    def say(key: str, **arguments: str | float) -> str:
        return catalogue.say(locale, key, **arguments)

    model = view.payload["model"]
    verdict, title = verdict_of(metrics), say("outcome-title", model=model, number=number or 0)
    if number is None:
        verdict, title = "discarded", say("outcome-title-discarded", model=model)
    embed = discord.Embed(
        title=title,
        description=say(f"outcome-{verdict}"),
        colour=_COLOURS[verdict](),
    )
    for split in ("validation", "test"):
        compared = compare(metrics, split)
        if compared is not None:
            before, after = compared
            value = say("outcome-perplexity", before=decimal(before, 2), after=decimal(after, 2))
            embed.add_field(name=say(f"outcome-{split}"), value=value)
    ending = say(
        f"outcome-ending-{metrics['ending']}", best=metrics["step"], steps=metrics["steps"]
    )
    time = duration(metrics["train_seconds"])
    value = say("outcome-time-value", time=time, ending=ending)
    embed.add_field(name=say("outcome-time"), value=value)
    best = best_trial(list(trials))
    if best is not None:
        value = say(
            "outcome-search-value",
            trials=len(trials),
            number=best.number + 1,
            options=options_text(best.options),
        )
        embed.add_field(name=say("outcome-search"), value=value)
    for prompt, before_text, after_text in _samples(metrics):
        said = say("outcome-sample", before=before_text, after=after_text)
        embed.add_field(name=f"💬 {prompt}", value=said, inline=False)
    return embed


def verdict_of(metrics: dict[str, Any]) -> str:
    """Whether the new version is ``better`` than its base, ``worse``, or ``unmeasured``."""
    is_better = metrics.get("is_better")
    if is_better is None:
        return "unmeasured"
    return "better" if is_better else "worse"


_COLOURS = {
    "better": discord.Colour.green,
    "worse": discord.Colour.orange,
    "unmeasured": discord.Colour.blurple,
    "discarded": discord.Colour.greyple,
}


def compare(metrics: dict[str, Any], split: str) -> tuple[float, float] | None:
    """Perplexity of base and new version; None where either was not measured."""
    cells = [(metrics.get(side) or {}).get(split) or {} for side in ("base", "tuned")]
    before, after = (cell.get("perplexity") for cell in cells)
    return None if before is None or after is None else (before, after)


def _samples(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Prompts with the answers before and after; the two were asked the same in the same order."""
    before = (metrics.get("base") or {}).get("samples", [])
    after = (metrics.get("tuned") or {}).get("samples", [])
    pairs = list(zip(before, after, strict=False))[:_MAX_SAMPLES]
    return [
        (
            clipped(" ".join(old["prompt"].split()), _MAX_PROMPT) or "…",
            clipped(_one_line(old["text"]), _MAX_ANSWER) or "…",
            clipped(_one_line(new["text"]), _MAX_ANSWER) or "…",
        )
        for old, new in pairs
    ]


def _one_line(text: str) -> str:
    """What a model says is shown as it is: no marks, no mentions that would look like ours."""
    return discord.utils.escape_markdown(" ".join(text.split()))
