"""``perroquet backup`` and ``perroquet restore``."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cli.backup.databases import row_keeper
from cli.wiring import connected, make_data_dir, open_migrated, open_store, read_settings
from core.db.engines import is_missing_file, reading
from core.db.tables import Corpus, Version
from core.errors import InvalidInputError
from core.settings import Settings
from migrations.runner import current_revision
from models_store.errors import VersionCorruptError, VersionMissingError
from models_store.hashing import hash_stream
from models_store.store import ModelStore

_LIST = "backup.json"
_ROWS = "database"
_STORE = "store"
# Where corpora lie in a store; models lie elsewhere.
_CORPORA = "corpora/"


@dataclass(frozen=True)
class _Needed:
    """A version that a row names; the hash of its manifest where the row knows it."""

    path: str
    manifest_sha256: str | None


def backup(folder: Path) -> None:
    """Write rows and versions into a new folder, whole or not at all.

    Raises:
        InvalidInputError: the folder is there or cannot be written, or there is nothing to back up.
        ServiceUnavailableError: the database or the store cannot be reached.
        StoreError: a version is missing or damaged; nothing is left behind.
    """
    settings = read_settings()
    try:
        listed = _fill(folder, settings)
    except OSError as exc:
        raise InvalidInputError(
            f"{folder} cannot be written: {exc.strerror or exc}. Name a new folder on a disk that "
            "has room and where this user may write."
        ) from exc
    sys.stdout.write(f"{folder}: {say_contents(listed)}, verified.\n")


def restore(folder: Path) -> None:
    """Fill an empty installation from a backup.

    Raises:
        InvalidInputError: it is no backup, of another kind of database, or there are rows already.
        VersionCorruptError: a file of it is damaged; nothing was changed.
    """
    settings = read_settings()
    make_data_dir(settings)
    listed = _read(folder)
    keeper = row_keeper(settings.database_url)
    if keeper.kind != listed["database"]:
        raise InvalidInputError(
            f"The backup is of {listed['database']}, and DATABASE_URL names {keeper.kind}."
        )
    _check(folder, listed)
    if keeper.kind == "postgresql":
        _refuse_rows(settings)
    store = open_store(settings)
    # Versions first: a row must not name what is not there.
    for version in listed["versions"]:
        _bring_back(store, folder, version)
    keeper.load(folder / _ROWS)
    with open_migrated(settings) as engine:
        _verify(store, _needed(engine))
    sys.stdout.write(f"Restored {say_contents(listed)}.\n")


def say_contents(listed: dict[str, Any]) -> str:
    """What the list of a backup names, counted by kind."""
    paths = [version["path"] for version in listed["versions"]]
    corpora = sum(path.startswith(_CORPORA) for path in paths)
    versions = len(paths) - corpora
    of_models = f"{versions} model version{'' if versions == 1 else 's'}"
    return f"the database, {of_models} and {corpora} {'corpus' if corpora == 1 else 'corpora'}"


def _fill(folder: Path, settings: Settings) -> dict[str, Any]:
    """Write the folder under a name of its own, then give it the one that was asked for.

    Returns:
        The list of what is in it.
    """
    if folder.exists():
        raise InvalidInputError(f"{folder} is there already; name a new folder.")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The name is new, so that nothing else is removed with it.
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        listed = _write(settings, partial)
        # The list comes last: without it the folder is no backup.
        text = json.dumps(listed, indent=1, ensure_ascii=False)
        (partial / _LIST).write_text(text + "\n", encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return listed


def _write(settings: Settings, folder: Path) -> dict[str, Any]:
    keeper = row_keeper(settings.database_url)
    if is_missing_file(settings.database_url):
        raise InvalidInputError("There is nothing to back up: there is no database yet.")
    with connected(settings) as engine:
        revision = current_revision(engine)
        if revision is None:
            raise InvalidInputError("There is nothing to back up: the database has no tables.")
        # Before and after, so that none is left out that the copy between them knows.
        before = _needed(engine)
        keeper.save(folder / _ROWS)
        needed = list(dict.fromkeys([*before, *_needed(engine)]))
    store = open_store(settings)
    return {
        "made_at": time.time(),
        "database": keeper.kind,
        "revision": revision,
        "sha256": _hash(folder / _ROWS),
        "versions": [_save(store, one, folder / _STORE / one.path) for one in needed],
    }


def _needed(engine: Engine) -> list[_Needed]:
    """Living versions, and corpora that were read; a raw upload is no version yet."""
    with Session(reading(engine)) as session:
        versions = session.execute(
            select(Version.store_path, Version.manifest_sha256).where(Version.retired_at.is_(None))
        )
        found = [_Needed(*row) for row in versions]
        corpora = session.scalars(select(Corpus.store_path).where(Corpus.report.is_not(None)))
        return [*found, *(_Needed(path, None) for path in corpora)]


def _save(store: ModelStore, one: _Needed, target: Path) -> dict[str, Any]:
    manifest = store.verify(one.path, one.manifest_sha256)
    source = store.fetch(one.path, one.manifest_sha256)
    for name in manifest.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    return {
        "path": one.path,
        "metadata": manifest.metadata,
        "files": {name: entry.sha256 for name, entry in manifest.files.items()},
    }


def _read(folder: Path) -> dict[str, Any]:
    try:
        listed: dict[str, Any] = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise InvalidInputError(f"{folder} is no backup: {_LIST} cannot be read.") from exc
    return listed


def _check(folder: Path, listed: dict[str, Any]) -> None:
    """Prove every file of the backup before anything is changed."""
    files = [(folder / _ROWS, listed["sha256"])]
    for version in listed["versions"]:
        root = folder / _STORE / version["path"]
        files += [(root / name, sha256) for name, sha256 in version["files"].items()]
    for file, sha256 in files:
        if not file.is_file() or _hash(file) != sha256:
            raise VersionCorruptError(f"{file} is missing or damaged.", file=file.name)


def _refuse_rows(settings: Settings) -> None:
    with connected(settings) as engine:
        if current_revision(engine) is not None:
            raise InvalidInputError(
                "The database has tables already; restore into one that is empty."
            )


def _bring_back(store: ModelStore, folder: Path, version: dict[str, Any]) -> None:
    try:
        store.verify(version["path"])
    except VersionMissingError:
        source = folder / _STORE / version["path"]
        store.publish(source, version["path"], version["metadata"])


def _verify(store: ModelStore, needed: Iterable[_Needed]) -> None:
    for one in needed:
        store.verify(one.path, one.manifest_sha256)


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hash_stream(stream).sha256
