"""``perroquet models``: add, list, verify and remove models."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from cli.model_adding import add_model
from cli.wiring import open_installation, open_store, read_settings
from core.catalog.registry import list_versions
from core.catalog.retiring import retire_model
from core.errors import InvalidInputError, NotFoundError, StoreError
from core.jobs.finding import ALL_GUILDS
from core.settings import Settings

_Guild = Annotated[int | None, typer.Option(help="The id of the Discord server that owns it.")]

models_app = typer.Typer(
    no_args_is_help=True, help="Add, list, verify and remove the models that answer."
)


@models_app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(help="hf:<owner/name>[@revision], path:<folder>, gguf:<file>, or smollm2."),
    ],
    name: Annotated[
        str | None, typer.Option(help="The name to give it; by default from the source.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Of a LoRA folder (PEFT): the model that it was trained over."),
    ] = None,
) -> None:
    """Add a model from the Hugging Face hub, a folder or a GGUF file; or a LoRA over one."""
    settings = read_settings()
    console = Console(stderr=True)
    with console.status(f"Adding {source} …"):
        added = add_model(settings, source, name, base)
    console.print(f"Added [bold]{added}[/bold]. {_next_step(settings, added)}")


@models_app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models and versions of all servers."""
    settings = read_settings()
    with open_installation(settings) as engine, Session(engine) as session:
        entries = list_versions(session, ALL_GUILDS)
    if as_json:
        sys.stdout.write(json.dumps([entry.__dict__ for entry in entries], indent=1) + "\n")
        return
    table = Table("model", "version", "server", "size", "source", "default")
    for entry in entries:
        is_default = entry.model == settings.generation.model and entry.guild_id is None
        size = f"{entry.total_bytes / 2**20:,.0f} MiB"
        server = "every" if entry.guild_id is None else str(entry.guild_id)
        mark = "●" if is_default else ""
        table.add_row(entry.model, str(entry.number), server, size, entry.source, mark)
    Console().print(table if entries else "No models yet; add one with `perroquet models add`.")


@models_app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Only models of this name.")] = None,
) -> None:
    """Read every byte of the versions of all servers and compare it with the manifests."""
    settings = read_settings()
    store = open_store(settings)
    with open_installation(settings) as engine, Session(engine) as session:
        entries = [e for e in list_versions(session, ALL_GUILDS) if name in (None, e.model)]
    if name is not None and not entries:
        raise InvalidInputError(f"There is no model “{name}”.", model=name)
    console, damaged = Console(), 0
    for entry in entries:
        named = f"{entry.model} {entry.number}"
        try:
            manifest = store.verify(entry.store_path)
        except StoreError as exc:
            damaged += 1
            console.print(f"✗ {named}: {exc}", markup=False, soft_wrap=True)
        else:
            console.print(f"✓ {named}: {len(manifest.files)} files are whole", markup=False)
    if damaged:
        raise StoreError(
            f"{damaged} of {len(entries)} versions are damaged: restore them from a backup, or add "
            "or train them again."
        )


@models_app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    guild: _Guild = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a model and all its versions from the catalogue and the store.

    Without a server it is the operator's model of that name.
    """
    settings = read_settings()
    store = open_store(settings)
    with open_installation(settings) as engine:
        with Session(engine) as session:
            entries = list_versions(session, guild)
            if not any((entry.model, entry.guild_id) == (name, guild) for entry in entries):
                raise NotFoundError(f"There is no model “{name}”.", model=name)
        if not yes:
            typer.confirm(f"Remove {name} and all its versions for good?", abort=True)
        with Session(engine) as session, session.begin():
            paths = retire_model(session, name, guild)
        for path in paths:
            store.retire(path)
    Console().print(f"Removed {name} ({len(paths)} versions).")


def _next_step(settings: Settings, name: str) -> str:
    if name == settings.generation.model:
        return "It is the default model: it answers where nothing else was chosen."
    return "Set generation.model to it to make it answer."
