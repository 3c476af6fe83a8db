"""The report of a corpus, read before anything is spent on it."""

import discord

from bot.catalogue import Catalogue
from bot.finetune.wording import about, clipped, decimal, shares
from core.corpora.boards import BoardView
from core.corpora.searches import SEARCH
from core.corpora.speed import expected_seconds

_MAX_FILES_CHARACTERS = 500


def draw_report(
    catalogue: Catalogue, view: BoardView, speed: float | None, *, is_rough: bool = False
) -> discord.Embed:
    """The embed of a corpus that is read and whose fine-tune waits for its admin's word.

    Args:
        catalogue: the strings.
        view: with ``report`` and the ``plan`` of its payload.
        speed: tokens a second of earlier runs; None where nobody knows.
        is_rough: there were none, and the speed is a rule of thumb.
    """
    report, plan, options = view.report or {}, view.payload["plan"], view.payload["options"]
    locale = view.locale

    def say(key: str, **arguments: str | float) -> str:
        return catalogue.say(locale, key, **arguments)

    embed = discord.Embed(
        title=say("report-title", model=view.payload["model"]),
        description=_describe(catalogue, view),
        colour=discord.Colour.gold() if report["warnings"] else discord.Colour.green(),
    )
    # Plans of before the trainer chose them have neither.
    epochs, rate = float(plan.get("epochs", 3.0)), float(plan.get("learning_rate", 2e-4))
    splits = {name: counts["documents"] for name, counts in report["splits"].items()}
    # Each mask is a word in brackets.
    masked = {kind: report["masked"].get(f"[{kind}]", 0) for kind in ("email", "phone", "secret")}
    search = view.payload.get(SEARCH)
    trials = search["trials"] if search else 1
    run = say(
        "report-run-search" if search else "report-run-value",
        base=view.payload["base_name"],
        method=say(f"method-{options.get('method', 'lora')}"),
        epochs=decimal(epochs, 0 if epochs == int(epochs) else 1),
        rate=f"{rate:.2g}",
        trials=trials,
    )
    time = say("report-time-unknown")
    if speed:
        # Those that fall behind end early, so a search takes less; how much depends on them.
        bound = "-search" if search else ""
        key = f"report-time-rough{bound}" if is_rough else f"report-time-about{bound}"
        least, most = expected_seconds(plan, speed, is_rough=is_rough)
        time = say(key, time=about(least * trials), most=about(most * trials))
    rows = (
        (
            "report-documents",
            say(
                "report-documents-value",
                documents=report["documents"],
                examples=report["examples"],
                turns=report["turns"],
            ),
        ),
        (
            "report-tokens",
            say("report-tokens-value", tokens=report["tokens"], learnt=report["trained_tokens"]),
        ),
        ("report-languages", shares(report["languages"], locale) or say("report-unknown")),
        (
            "report-dropped",
            say(
                "report-dropped-value",
                exact=report["exact_duplicates"],
                near=report["near_duplicates"],
                empty=report["empty"],
            ),
        ),
        ("report-over-long", say("report-over-long-value", count=report["over_long"])),
        ("report-masked", say("report-masked-value", **masked)),
        ("report-split", say("report-split-value", **splits)),
        ("report-run", run),
        ("report-steps", say("report-steps-value", steps=plan["steps"], time=time)),
    )
    for key, value in rows:
        embed.add_field(name=say(key), value=value)
    return embed


def _describe(catalogue: Catalogue, view: BoardView) -> str:
    """Files, who answers for them, and what to think of before starting."""
    report = view.report or {}
    files = ", ".join(f"`{clipped(name, 60)}`" for name in report["files"])
    lines = [
        clipped_list(files),
        catalogue.say(view.locale, "report-declared", who=f"<@{view.requester_id}>"),
    ]
    for word in report["warnings"]:
        key = f"corpus-warning-{word}"
        if catalogue.has(key):
            lines.append("⚠️ " + catalogue.say(view.locale, key))
    return "\n".join(lines)


def clipped_list(text: str) -> str:
    """A list of names that does not fill the embed."""
    return text if len(text) <= _MAX_FILES_CHARACTERS else text[:_MAX_FILES_CHARACTERS] + "…"
