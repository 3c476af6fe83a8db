"""The options of ``perroquet generate``."""

from pathlib import Path
from typing import Annotated

import typer

_TEXT, _WORDS = "Text", "Choice of words"
_MOST_SEED = 2**32 - 1


def generate(
    prefix: Annotated[
        str, typer.Argument(help="How the text begins; without one the model begins.")
    ] = "",
    model: Annotated[
        str | None, typer.Option(help="A model, or a version such as “coco 2”.")
    ] = None,
    guild: Annotated[
        int | None, typer.Option(help="The id of the Discord server whose model it is.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many texts.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Texts made at the same time.")] = 8,
    length: Annotated[
        int,
        typer.Option(
            min=1, help="New tokens at most; the model's window bounds them.", rich_help_panel=_TEXT
        ),
    ] = 256,
    min_length: Annotated[
        int, typer.Option(min=0, help="New tokens at least.", rich_help_panel=_TEXT)
    ] = 0,
    truncate: Annotated[
        str | None,
        typer.Option(help="End before this; \\n is a new line.", rich_help_panel=_TEXT),
    ] = None,
    include_prefix: Annotated[
        bool,
        typer.Option("--include-prefix/--no-prefix", help="Print it too.", rich_help_panel=_TEXT),
    ] = True,
    delimiter: Annotated[
        str, typer.Option(help="A line between two texts.", rich_help_panel=_TEXT)
    ] = "=" * 20,
    to: Annotated[
        Path | None, typer.Option(help="Write into this file instead.", rich_help_panel=_TEXT)
    ] = None,
    is_json: Annotated[
        bool,
        typer.Option("--json", help="An object a line for each text.", rich_help_panel=_TEXT),
    ] = False,
    logprobs: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=20,
            help="With --json: how likely each token was, and so many others.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest.", rich_help_panel=_WORDS)
    ] = 0.7,
    top_k: Annotated[
        int, typer.Option(min=0, help="Of so many; 0: of all.", rich_help_panel=_WORDS)
    ] = 0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, help="Of this share.", rich_help_panel=_WORDS)
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(min=0.01, help="Above 1: fewer.", rich_help_panel=_WORDS)
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_SEED,
            help="The same texts again. In bf16 on AMX or a GPU, only with nothing else under way.",
            rich_help_panel=_WORDS,
        ),
    ] = None,
) -> None:
    """Write texts that begin with a prefix. Joins what runs, or starts and stops what it needs.

    docs/finetuning.md names the options that other tools have for the same.
    """
    from cli.generate import Layout, TextOrder, write_texts

    sampling = {
        "max_new_tokens": length,
        "min_new_tokens": min_length,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "stop": [truncate.replace("\\n", "\n")] if truncate else [],
    }
    if logprobs is not None:
        sampling["logprobs"] = logprobs
    order = TextOrder(prefix, model, samples, batch, sampling, seed, guild)
    before = prefix if include_prefix else ""
    write_texts(order, Layout(before, delimiter, is_json=is_json), to)
