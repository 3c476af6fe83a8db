"""The options of ``perroquet finetune``. What is not given is chosen by the trainer."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_CLASSIC, _SAMPLES, _SCRATCH = "Training", "Samples and checkpoints", "From scratch"
_SEARCH = "Search for the best options"


class Sampler(StrEnum):
    """As :class:`core.corpora.searches.Sampler`, without importing it."""

    GRID = "grid"
    RANDOM = "random"
    BAYESIAN = "bayesian"


def finetune(
    files: Annotated[list[Path], typer.Argument(help="Text, Markdown, CSV or JSON; also packed.")],
    name: Annotated[str, typer.Option(help="What the new model is called: the run's name.")],
    base: Annotated[str | None, typer.Option(help="The model to start from.")] = None,
    restore: Annotated[
        str,
        typer.Option(
            help="fresh: from the base. latest: go on from the newest version of NAME. "
            "Or a version, such as “coco 2”."
        ),
    ] = "fresh",
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="With --watch: write the loss curve there, as PNG.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="lora or full.", rich_help_panel=_CLASSIC)
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the corpus; more of a small one if left out.",
            rich_help_panel=_CLASSIC,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps instead of epochs.", rich_help_panel=_CLASSIC)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest one.", rich_help_panel=_CLASSIC)
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="cosine, linear or constant.", rich_help_panel=_CLASSIC)
    ] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="In which the rate rises.", rich_help_panel=_CLASSIC)
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Of AdamW.", rich_help_panel=_CLASSIC)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Packed rows of a step.", rich_help_panel=_CLASSIC)
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Rows at a time.", rich_help_panel=_CLASSIC)
    ] = None,
    accumulation: Annotated[
        int | None,
        typer.Option(help="Micro-batches a step, not batch size.", rich_help_panel=_CLASSIC),
    ] = None,
    block_size: Annotated[
        int | None, typer.Option(help="Tokens of a row.", rich_help_panel=_CLASSIC)
    ] = None,
    frozen_layers: Annotated[
        int | None,
        typer.Option(help="Lower layers that stay as they are.", rich_help_panel=_CLASSIC),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Evaluations without progress; 0: no end.", rich_help_panel=_CLASSIC),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of order and initialisation.", rich_help_panel=_CLASSIC)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other.", rich_help_panel=_CLASSIC),
    ] = None,
    sample_every: Annotated[
        int | None, typer.Option(help="Steps between samples.", rich_help_panel=_SAMPLES)
    ] = None,
    sample_prefix: Annotated[
        list[str] | None, typer.Option(help="A text to go on with.", rich_help_panel=_SAMPLES)
    ] = None,
    sample_prompt: Annotated[
        list[str] | None, typer.Option(help="A question to answer.", rich_help_panel=_SAMPLES)
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations.", rich_help_panel=_SAMPLES)
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints.", rich_help_panel=_SAMPLES)
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", help="The base's shape, fresh weights.", rich_help_panel=_SCRATCH
        ),
    ] = False,
    vocabulary_size: Annotated[
        int | None,
        typer.Option(help="Of a new tokenizer, learnt from the corpus.", rich_help_panel=_SCRATCH),
    ] = None,
    search: Annotated[
        Sampler | None, typer.Option(help="How options are chosen.", rich_help_panel=_SEARCH)
    ] = None,
    trials: Annotated[int, typer.Option(help="Runs at most.", rich_help_panel=_SEARCH)] = 8,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="learning_rate=1e-5..1e-3:log or lora_rank=8,16.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
) -> None:
    """Teach a model a corpus that you have the rights to. Needs a running fine-tuning worker.

    Prints the job's id. docs/finetuning.md explains the options, and names those that other
    tools have for the same.
    """
    from cli.finetune import FinetuneOrder, submit_and_watch
    from cli.finetune_options import make_options, make_search

    given = {
        "method": "full" if from_scratch and method is None else method,
        "epochs": epochs,
        "max_steps": steps,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "warmup_steps": warmup_steps,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "accumulation": accumulation,
        "block_size": block_size,
        "frozen_layers": frozen_layers,
        "patience": patience,
        "seed": seed,
        "sample_every": sample_every,
        "sample_prefixes": sample_prefix,
        "sample_prompts": sample_prompt,
        "evaluate_every": evaluate_every,
        "save_every": save_every,
        "from_scratch": from_scratch or None,
        "vocabulary_size": vocabulary_size,
    }
    options = make_options(given, settings or ())
    order = FinetuneOrder(
        files=tuple(files),
        name=name,
        base=base,
        restore=restore,
        options=options,
        search=make_search(search and search.value, trials, space or (), options),
    )
    submit_and_watch(order, watch=watch, picture=picture)
