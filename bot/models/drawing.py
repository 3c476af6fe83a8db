"""Models and versions as embeds."""

from collections.abc import Sequence
from itertools import groupby

import discord

from bot.catalogue import Catalogue
from bot.finetune.wording import clipped, decimal, duration
from core.catalog.registry import CatalogEntry

# Discord takes 25 fields and 6,000 characters in all.
_MAX_MODELS = 25
_MAX_CHARACTERS = 5500
_MAX_VERSIONS = 10
_MEBIBYTE = 2**20


def draw_list(
    catalogue: Catalogue, locale: str, entries: Sequence[CatalogEntry], answering: str | None
) -> discord.Embed:
    """All models that a guild may see, with their versions; who answers here is marked.

    Args:
        catalogue: the strings.
        locale: of the reader.
        entries: the living versions.
        answering: the id of the version that answers in this channel.
    """
    ordered = sorted(entries, key=lambda e: (e.guild_id is None, e.model, -e.number))
    models = [
        (model, is_shared, list(versions))
        for (is_shared, model), versions in groupby(
            ordered, key=lambda e: (e.guild_id is None, e.model)
        )
    ]
    embed = discord.Embed(
        title=catalogue.say(locale, "models-list-title"),
        description=catalogue.say(locale, "models-list-text" if models else "models-list-empty"),
        colour=discord.Colour.green(),
    )
    for model, is_shared, versions in models[:_MAX_MODELS]:
        owner = catalogue.say(locale, "models-shared" if is_shared else "models-own")
        name = f"{clipped(model, 80)} · {owner}"
        lines = [_line(catalogue, locale, v, answering) for v in versions[:_MAX_VERSIONS]]
        value = "\n".join(lines)
        if len(embed) + len(name) + len(value) > _MAX_CHARACTERS:
            break
        embed.add_field(name=name, value=value, inline=False)
    left = len(models) - len(embed.fields)
    if left > 0:
        embed.set_footer(text=catalogue.say(locale, "models-list-more", count=left))
    return embed


def draw_version(
    catalogue: Catalogue, locale: str, entry: CatalogEntry, base: CatalogEntry | None
) -> discord.Embed:
    """One version: what it is made of, and what was measured of it."""

    def say(key: str, **arguments: str | float) -> str:
        return catalogue.say(locale, key, **arguments)

    metrics = entry.metrics
    embed = discord.Embed(
        title=say("models-version-title", model=entry.model, number=entry.number),
        colour=discord.Colour.green(),
    )
    rows = [
        ("models-made", f"<t:{int(entry.created_at)}:f>"),
        ("models-size", say("models-size-value", size=decimal(entry.total_bytes / _MEBIBYTE, 1))),
    ]
    if base is not None:
        rows.append(("models-base", f"{base.model} {base.number}"))
    if metrics.get("method") in ("lora", "full"):
        rows.append(("models-method", say(f"method-{metrics['method']}")))
    for split in ("validation", "test"):
        before, after = (perplexity_of(entry, side, split) for side in ("base", "tuned"))
        if before is not None and after is not None:
            value = say("outcome-perplexity", before=decimal(before, 2), after=decimal(after, 2))
            rows.append((f"outcome-{split}", value))
    if metrics.get("train_seconds"):
        rows.append(("models-time", duration(metrics["train_seconds"])))
    if metrics.get("corpus_sha256"):
        rows.append(("models-corpus", f"`{metrics['corpus_sha256'][:12]}`"))
    for key, value in rows:
        embed.add_field(name=say(key), value=value)
    return embed


def perplexity_of(
    entry: CatalogEntry, side: str = "tuned", split: str = "validation"
) -> float | None:
    """A measured perplexity; None where there is none."""
    found: float | None = ((entry.metrics.get(side) or {}).get(split) or {}).get("perplexity")
    return found


def label_of(catalogue: Catalogue, locale: str, entry: CatalogEntry) -> str:
    """A version in one line of plain text, for suggestions."""
    perplexity = perplexity_of(entry)
    if perplexity is None:
        return f"{entry.model} {entry.number}"
    return catalogue.say(
        locale,
        "models-label",
        model=entry.model,
        number=entry.number,
        perplexity=decimal(perplexity, 2),
    )


def _line(catalogue: Catalogue, locale: str, entry: CatalogEntry, answering: str | None) -> str:
    perplexity = perplexity_of(entry)
    line = catalogue.say(locale, "models-line", number=entry.number)
    if perplexity is not None:
        line += " · " + catalogue.say(
            locale, "models-line-perplexity", perplexity=decimal(perplexity, 2)
        )
    if entry.version_id == answering:
        line += " · **" + catalogue.say(locale, "models-line-answers") + "**"
    return line
