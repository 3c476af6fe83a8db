"""The model that answers where nobody chose another: in the catalogue, and whole in the store."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cli.doctor.findings import Finding, failed, ok, skipped
from cli.model_adding import DEFAULT_MODEL
from core.catalog.registry import CatalogEntry, list_versions
from core.db.engines import reading
from core.errors import ServiceUnavailableError
from models_store.errors import SourceUnavailableError, VersionCorruptError, VersionMissingError
from models_store.store import ModelStore

_CHECK = "default model"


def check_default_model(engine: Engine | None, store: ModelStore, name: str) -> Finding:
    """Whether generation.model can be fetched. Every byte is for ``models verify`` to read.

    Args:
        engine: a database at the newest schema; None where there is none yet.
        store: where versions lie.
        name: of the settings.
    """
    found = None if engine is None else _newest(engine, name)
    if found is None:
        return _judge_absence(name)
    again = f"perroquet models remove {name}, then perroquet models add {found.source}"
    try:
        store.read_manifest(found.store_path)
    except VersionMissingError:
        # The rows are right, most often, and the store is another one.
        return failed(
            _CHECK,
            f"{name} {found.number} is not in the store",
            "STORE_URL may name another place than the one it was added to: correct it first. "
            f"Only where it is lost: {again}",
        )
    except VersionCorruptError:
        return failed(_CHECK, f"{name} {found.number} is damaged in the store", again)
    except ServiceUnavailableError as exc:
        return failed(_CHECK, str(exc), "Correct STORE_URL, its credentials and permissions.")
    return ok(_CHECK, f"{name} {found.number}, {found.total_bytes / 2**20:,.0f} MiB")


def _newest(engine: Engine, name: str) -> CatalogEntry | None:
    with Session(reading(engine)) as session:
        named = [entry for entry in list_versions(session) if entry.model == name]
    return max(named, key=lambda entry: entry.number, default=None)


def _judge_absence(name: str) -> Finding:
    from workers.conversion.smollm2 import find_gguf

    if name != DEFAULT_MODEL:
        return failed(
            _CHECK,
            f"generation.model names “{name}”, which is not in the store",
            f"perroquet models add, with --name {name}; or correct generation.model.",
        )
    try:
        find_gguf()
    except SourceUnavailableError as exc:
        return failed(_CHECK, str(exc), "make install")
    return skipped(_CHECK, f"the first “perroquet up” or “perroquet chat” imports {name}")
