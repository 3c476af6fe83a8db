"""Where versions stand: what a place must be able to do, and which of its files are nobody's."""

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from models_store.errors import VersionExistsError
from models_store.hashing import FileEntry, Progress
from models_store.manifest import MANIFEST_NAME
from models_store.paths import parents_of

# The places where a modification time is found in what fsspec's backends say of a file.
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class Shelf(Protocol):
    """A place that keeps versions. Paths and names given to it are checked already.

    A missing file is a ``FileNotFoundError``; other failures are the backend's own.
    """

    def write(
        self, path: str, files: Mapping[str, Path], metadata: dict[str, Any], progress: Progress
    ) -> bytes:
        """Publish files as a version, visible all at once; returns the manifest as written.

        Raises:
            VersionExistsError: the path is taken.
        """
        ...

    def read_manifest(self, path: str) -> bytes:
        """The manifest of a version, unparsed."""
        ...

    def open(self, path: str, name: str) -> IO[bytes]:
        """A file of a version, to be read and closed."""
        ...

    def bring(self, path: str, name: str, target: Path, progress: Progress) -> FileEntry:
        """Bring a file of a version to this machine; the entry is of what came."""
        ...

    def remove(self, path: str) -> None:
        """Delete a version, or what is left of one, so that no reader sees half. Harmless twice."""
        ...

    def modification_times(self) -> dict[str, float]:
        """All files by their path below the root, with seconds since 1970."""
        ...

    def begun(self, names: Collection[str]) -> set[str]:
        """The folders among these files in which a publication was begun."""
        ...

    def delete_files(self, names: Collection[str]) -> None:
        """Delete files that belong to no version."""
        ...


def published_in(names: Collection[str]) -> set[str]:
    """The paths of the versions among these files.

    What lies below a hidden folder is none: there a publisher was killed before its last step.
    """
    ending = f"/{MANIFEST_NAME}"
    return {
        name.removesuffix(ending)
        for name in names
        if name.endswith(ending) and not any(part.startswith(".") for part in name.split("/"))
    }


def refuse_taken(path: str, names: Collection[str]) -> None:
    """Refuse to publish where a version stands, above one, or inside one.

    Args:
        path: where somebody wants to publish.
        names: all files in the store, or at least those around the path.

    Raises:
        VersionExistsError: the path is taken.
    """
    for taken in published_in(names):
        if path in (taken, *parents_of(taken)) or taken in parents_of(path):
            raise VersionExistsError(
                f"“{path}” cannot be published: {taken} is published already.", version=taken
            )


def stale_files(
    modified_at: Mapping[str, float], begun: Collection[str], older_than: float
) -> dict[str, float]:
    """The files of no published version, where nothing was written since ``older_than``.

    Args:
        modified_at: all files with their times.
        begun: folders in which a publication was begun: all in one is as young as its newest file.
            Elsewhere each folder stands for itself.
        older_than: seconds since 1970.

    Returns:
        When something was last written beside each.
    """
    published = published_in(modified_at)
    groups: dict[str, list[str]] = {}
    for name in modified_at:
        parents = parents_of(name)
        if published.isdisjoint(parents):
            nearest = parents[0] if parents else ""
            group = next((parent for parent in parents if parent in begun), nearest)
            groups.setdefault(group, []).append(name)
    written_at = {}
    for names in groups.values():
        newest = max(modified_at[name] for name in names)
        written_at.update(dict.fromkeys(names, newest))
    return {name: at for name, at in sorted(written_at.items()) if at < older_than}


def modification_time(details: Mapping[str, Any]) -> float:
    """When a file was written, in seconds since 1970; where no one says it, never long ago."""
    for key in _TIME_KEYS:
        value = details.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return math.inf
