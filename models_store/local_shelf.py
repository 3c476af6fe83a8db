"""Versions in a folder of this machine, or of a file server that is mounted here."""

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from core.ids import new_id
from models_store.hashing import (
    FileEntry,
    Progress,
    copy_durably,
    hash_stream,
    sync_folder,
    sync_folders,
)
from models_store.manifest import MANIFEST_NAME, Manifest
from models_store.paths import parents_of
from models_store.shelf import refuse_taken

_STAGING = ".staging"
# Leftovers stand where a version is to go, or somebody tidied the empty folder above it away.
_IN_THE_WAY = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}
_ATTEMPTS = 3


class LocalShelf:
    """A :class:`models_store.shelf.Shelf` in a folder. One rename publishes, one removes.

    Of two who publish the same path at the same instant, one succeeds and one is refused, also
    across processes and hosts.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(
        self, path: str, files: Mapping[str, Path], metadata: dict[str, Any], progress: Progress
    ) -> bytes:
        """Gather the version beside the others, flush it, and rename it into its place."""
        refuse_taken(path, self._manifests_around(path))
        staging = self._new_staging()
        try:
            entries = {}
            for name, file in files.items():
                with file.open("rb") as source:
                    entries[name] = copy_durably(source, staging / name, progress)
            content = Manifest(entries, metadata).to_bytes()
            with (staging / MANIFEST_NAME).open("xb") as writing:
                writing.write(content)
                writing.flush()
                os.fsync(writing.fileno())
            sync_folders(staging)
            self._move_in(staging, path)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return content

    def read_manifest(self, path: str) -> bytes:
        """The manifest of a version, unparsed."""
        return (self._root / path / MANIFEST_NAME).read_bytes()

    def open(self, path: str, name: str) -> IO[bytes]:
        """A file of a version, to be read and closed."""
        return (self._root / path / name).open("rb")

    def bring(self, path: str, name: str, target: Path, progress: Progress) -> FileEntry:
        """Link the file where the file system can, which costs no space and no writing; else copy.

        A link keeps its content when the version is retired, so readers are never pulled from
        under.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._root / path / name, target)
        except FileNotFoundError:
            raise
        except OSError:
            with self.open(path, name) as source:
                return copy_durably(source, target, progress)
        with target.open("rb") as source:
            return hash_stream(source, progress)

    def remove(self, path: str) -> None:
        """Rename the version out of sight, then delete it. Versions below the path stay."""
        target = self._root / path
        if not target.is_dir():
            return
        if not (target / MANIFEST_NAME).exists():
            refuse_taken(path, self._manifests_around(path))
        self._discard(target)

    def modification_times(self) -> dict[str, float]:
        """All files by their path below the root, with seconds since 1970."""
        times = {}
        for file in self._files():
            # Others publish and retire meanwhile.
            try:
                times[file.relative_to(self._root).as_posix()] = file.stat().st_mtime
            except FileNotFoundError:
                continue
        return times

    def begun(self, names: Collection[str]) -> set[str]:
        """The folders among these files in which a publication was begun."""
        return {"/".join(name.split("/")[:2]) for name in names if name.startswith(f"{_STAGING}/")}

    def delete_files(self, names: Collection[str]) -> None:
        """Delete files that belong to no version, and the folders which that leaves empty."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)
            for parent in parents_of(name):
                try:
                    (self._root / parent).rmdir()
                except OSError:
                    break

    def _files(self) -> Iterator[Path]:
        for folder, _, names in os.walk(self._root):
            yield from (Path(folder) / name for name in names)

    def _new_staging(self) -> Path:
        staging = self._root / _STAGING / new_id()
        staging.mkdir(parents=True)
        return staging

    def _move_in(self, staging: Path, path: str) -> None:
        target = self._root / path
        for attempt in range(_ATTEMPTS):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                staging.rename(target)
                break
            except OSError as exc:
                if exc.errno not in _IN_THE_WAY or attempt == _ATTEMPTS - 1:
                    raise
            refuse_taken(path, self._manifests_around(path))
            # What is left there was interrupted; it is nobody's.
            self._discard(target)
        sync_folder(target.parent)

    def _discard(self, folder: Path) -> None:
        grave = self._root / _STAGING / new_id()
        grave.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(grave)
        except FileNotFoundError:
            return
        shutil.rmtree(grave, ignore_errors=True)

    def _manifests_around(self, path: str) -> list[str]:
        """The manifests of a version, of those that it would be inside of, and of those in it."""
        above = [f"{place}/{MANIFEST_NAME}" for place in (path, *parents_of(path))]
        below = (self._root / path).rglob(MANIFEST_NAME)
        return [
            *(name for name in above if (self._root / name).exists()),
            *(file.relative_to(self._root).as_posix() for file in below),
        ]
