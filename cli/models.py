"""``perroquet models``: add, list, verify and remove models."""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from cli.up.screen import Screen
from cli.wiring import open_database, open_installation, open_store, read_settings
from core.catalog.registry import StoredVersion, list_versions, register_version
from core.catalog.resolution import resolve_version
from core.catalog.retiring import retire_model
from core.errors import InvalidInputError, NotFoundError, WrongUsageError
from core.ids import new_id
from core.jobs.finding import ALL_GUILDS
from core.settings import Settings

DEFAULT_MODEL = "smollm2-135m-instruct"
_IMPORT_NOTE = "once, about 20 s on an idle machine"
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
_SCHEMES = ("hf", "path", "gguf", "smollm2")

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
) -> None:
    """Add a model from the Hugging Face hub, a folder or a GGUF file."""
    settings = read_settings()
    console = Console(stderr=True)
    with console.status(f"Adding {source} …"):
        added = add_model(settings, source, name)
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
    for entry in entries:
        manifest = store.verify(entry.store_path)
        Console().print(f"{entry.model} {entry.number}: {len(manifest.files)} files are whole")


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


def ensure_default_model(settings: Settings, screen: Screen) -> None:
    """Make sure that the model which the settings name is there; SmolLM2 is imported at need.

    Raises:
        InvalidInputError: the settings name a model that nobody added.
    """
    wanted = settings.generation.model
    with open_database(settings) as engine, Session(engine) as session:
        if resolve_version(session, None, None, wanted) is not None:
            return
    if wanted != DEFAULT_MODEL:
        raise InvalidInputError(
            f"generation.model names “{wanted}”, which is not in the store; add it with "
            "`perroquet models add`.",
            model=wanted,
        )
    with screen.counting("SmolLM2-135M-Instruct", "Importing", "is imported", _IMPORT_NOTE):
        add_model(settings, "smollm2", None)


def add_model(settings: Settings, source: str, name: str | None) -> str:
    """Take a model in and register it; returns its name.

    Raises:
        WrongUsageError: the source or the name is of no known form.
        StoreError: the source cannot be had, or holds what the store refuses.
        ServiceUnavailableError: the database cannot be used, or has another schema.
    """
    scheme, _, place = source.partition(":")
    _check_source(scheme, place, source)
    name = name or _default_name(scheme, place)
    if not _NAME.fullmatch(name):
        raise WrongUsageError(
            f"“{name}” is no model name: a to z, 0 to 9, dot, dash and underscore, at most 64.",
            name=name,
        )
    store = open_store(settings)
    # The database comes first: where it refuses, nothing was downloaded or published in vain.
    with open_database(settings) as engine, tempfile.TemporaryDirectory() as scratch:
        folder = _gather(scheme, place, Path(scratch) / "model")
        _check_loads(folder)
        path = f"models/{name}/{new_id()}"
        publication = store.publish(folder, path, {"model": name, "source": source})
        stored = StoredVersion(
            publication.path, publication.manifest_sha256, publication.total_bytes, {}
        )
        with Session(engine) as session, session.begin():
            register_version(session, model=name, guild_id=None, source=source, stored=stored)
    return name


def _next_step(settings: Settings, name: str) -> str:
    if name == settings.generation.model:
        return "It is the default model: it answers where nothing else was chosen."
    return "Set generation.model to it to make it answer."


def _check_source(scheme: str, place: str, source: str) -> None:
    if scheme not in _SCHEMES or bool(place) == (scheme == "smollm2"):
        raise WrongUsageError(
            f"“{source}” names no source; use hf:<owner/name>, path:<folder>, gguf:<file> or "
            "smollm2.",
            source=source,
        )


def _default_name(scheme: str, place: str) -> str:
    if scheme == "smollm2":
        return DEFAULT_MODEL
    stem = Path(place.partition("@")[0].rstrip("/")).name
    return re.sub(r"[^a-z0-9._-]+", "-", stem.removesuffix(".gguf").lower())


def _gather(scheme: str, place: str, target: Path) -> Path:
    """Bring a model into a local folder; the heavy imports happen only where they are needed."""
    if scheme == "hf":
        from models_store.sources.hub import download

        target.mkdir()
        return download(place, target)
    if scheme == "path":
        folder = Path(place)
        if not (folder / "config.json").is_file():
            raise WrongUsageError(f"{folder} is no model folder: it has no config.json.")
        return folder
    if scheme == "gguf":
        from workers.conversion.gguf import convert_gguf

        if not Path(place).is_file():
            raise WrongUsageError(f"There is no file {place}.")
        return convert_gguf(Path(place), target)
    from workers.conversion.smollm2 import convert_smollm2

    return convert_smollm2(target)


def _check_loads(folder: Path) -> None:
    """Refuse what could not answer later, while the person who adds it is looking.

    Raises:
        ModelUnreadableError: the folder holds no causal language model that can be read.
    """
    from workers.conversion.bars import without_bars
    from workers.generation.loading import load_model

    with without_bars():
        load_model(folder, device="cpu")
