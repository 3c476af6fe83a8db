"""Taking a model in: from where it is, checked, into store and catalogue."""

import re
import tempfile
from pathlib import Path

from sqlalchemy.orm import Session

from cli.up.screen import Screen
from cli.wiring import open_database, open_store
from core.catalog.finding import find_version
from core.catalog.registry import StoredVersion, register_version
from core.catalog.resolution import resolve_version
from core.db.tables import Version
from core.errors import InvalidInputError, WrongUsageError
from core.ids import new_id
from core.settings import Settings

DEFAULT_MODEL = "smollm2-135m-instruct"
_IMPORT_NOTE = "once, about 20 s on an idle machine"
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
_ADAPTER_CONFIG = "adapter_config.json"
_SCHEMES = ("hf", "path", "gguf", "smollm2")


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


def add_model(settings: Settings, source: str, name: str | None, base: str | None = None) -> str:
    """Take a model in and register it; returns its name.

    Args:
        settings: the installation's.
        source: a scheme and a place.
        name: that it is to have; None for one made of the source.
        base: of a LoRA, the operator's model that it was trained over.

    Raises:
        WrongUsageError: the source or the name is of no known form, or a LoRA is given no base.
        NotFoundError: there is no such base.
        ModelUnreadableError: the folder holds no causal language model that can be read.
        AdapterRefusedError: it holds no LoRA over the base.
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
        with Session(engine) as session:
            found = None if base is None else _find_base(session, base)
        folder = _gather(scheme, place, Path(scratch) / "model")
        _check_kind(folder, is_over_base=found is not None)
        if found is None:
            _check_loads(folder)
        else:
            _check_fits(folder, name, store.fetch(found.store_path, found.manifest_sha256))
        path = f"models/{name}/{new_id()}"
        publication = store.publish(folder, path, {"model": name, "source": source})
        stored = StoredVersion(
            publication.path,
            publication.manifest_sha256,
            publication.total_bytes,
            {},
            base_id=None if found is None else found.id,
        )
        with Session(engine) as session, session.begin():
            register_version(session, model=name, guild_id=None, source=source, stored=stored)
    return name


def _find_base(session: Session, wanted: str) -> Version:
    entry = find_version(session, None, wanted)
    version = session.get_one(Version, entry.version_id)
    if version.base_id is not None:
        raise WrongUsageError(
            f"“{wanted}” is a LoRA itself; name the whole model that both were trained over.",
            model=wanted,
        )
    session.expunge(version)
    return version


def _check_kind(folder: Path, *, is_over_base: bool) -> None:
    """Raises WrongUsageError where a LoRA has no base, or a base is given to a whole model."""
    is_adapter = (folder / _ADAPTER_CONFIG).is_file()
    if is_adapter and not is_over_base:
        raise WrongUsageError(
            f"{folder} is a LoRA; name with --base the model that it was trained over "
            "(perroquet models list)."
        )
    if is_over_base and not is_adapter:
        raise WrongUsageError(
            f"{folder} is no LoRA folder: it has no {_ADAPTER_CONFIG}. Leave --base out to add a "
            "whole model."
        )


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
        if not folder.is_dir():
            raise WrongUsageError(f"There is no folder {folder}.")
        if not any((folder / config).is_file() for config in ("config.json", _ADAPTER_CONFIG)):
            raise WrongUsageError(
                f"{folder} is no model folder: it has no config.json, nor a LoRA's "
                f"{_ADAPTER_CONFIG}."
            )
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


def _check_fits(folder: Path, name: str, base: Path) -> None:
    """Refuse a LoRA that could not answer over its base.

    Raises:
        AdapterRefusedError: it is damaged, belongs to another base, or is no plain LoRA.
        ModelUnreadableError: the base cannot be loaded.
    """
    from workers.conversion.bars import without_bars
    from workers.generation.adapters import linear_shapes, read_adapter
    from workers.generation.loading import load_model

    with without_bars():
        loaded = load_model(base, device="cpu")
    read_adapter(folder, name, linear_shapes(loaded.model), loaded.dtype)
