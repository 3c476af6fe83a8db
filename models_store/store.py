"""Immutable versions on any fsspec URL: publish, fetch, verify, retire.

A version is a folder ``<root>/<path>/`` of files and a manifest. Without the manifest nothing of
the folder is there for anybody.
"""

import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from core.errors import ServiceUnavailableError
from models_store.cache import VersionCache
from models_store.errors import VersionCorruptError, VersionMissingError, translated
from models_store.hashing import FileEntry, Progress, hash_bytes, hash_stream, no_progress
from models_store.local_shelf import LocalShelf
from models_store.manifest import MANIFEST_NAME, Manifest
from models_store.paths import check_path
from models_store.remote_shelf import RemoteShelf
from models_store.safety import check_content, check_name
from models_store.shelf import Shelf, published_in, stale_files

_ABSENT = FileEntry("", 0)


@dataclass(frozen=True)
class Publication:
    """A version as it now stands in the store."""

    path: str
    manifest_sha256: str
    total_bytes: int


@dataclass(frozen=True)
class Stock:
    """What has lain in the store for long.

    Attributes:
        versions: paths, sorted.
        leftovers: files of no version, and when something was last written beside each (seconds
            since 1970).
    """

    versions: list[str]
    leftovers: dict[str, float]


class ModelStore:
    """Versions under one URL, with a verified local copy of those in use. Safe among threads.

    Guarantees: what ``fetch`` returns matched its manifest byte for byte when it came; a version
    once published never changes; an interrupted ``publish`` leaves nothing visible.
    """

    def __init__(self, url: str, cache_dir: Path, cache_max_bytes: int) -> None:
        self._shelf = _open_shelf(url)
        self._cache = VersionCache(cache_dir, cache_max_bytes)

    def publish(
        self,
        folder: Path,
        path: str,
        metadata: dict[str, Any],
        progress: Progress = no_progress,
    ) -> Publication:
        """Copy a folder into the store as a version.

        Args:
            folder: only files of the kinds that :mod:`models_store.safety` allows. What is hidden
                (``.git``, ``.gitattributes``, ``.cache``) stays behind.
            path: where, below the store's URL; never used before.
            metadata: JSON that goes into the manifest.
            progress: is told of bytes as they are copied.

        Raises:
            VersionExistsError: the path is taken.
            UnsafeFileError: the path or a file is refused; nothing is published.
            ServiceUnavailableError: the store cannot be reached.
        """
        check_path(path)
        files = {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not _is_hidden(file.relative_to(folder))
        }
        for name, file in files.items():
            check_name(name)
            check_content(file, name)
        try:
            with translated():
                content = self._shelf.write(path, files, metadata, progress)
        except FileNotFoundError as exc:
            raise ServiceUnavailableError(
                f"{path} cannot be published: {exc} is missing.", service="store"
            ) from exc
        total_bytes = Manifest.from_bytes(content).total_bytes
        return Publication(path, hash_bytes(content), total_bytes)

    def fetch(
        self, path: str, manifest_sha256: str | None = None, progress: Progress = no_progress
    ) -> Path:
        """A local folder with the version's files, verified when they came.

        Args:
            path: of a published version.
            manifest_sha256: what the catalogue knows of it; proves manifest and files together.
            progress: is told of bytes as they come.

        Raises:
            VersionMissingError: nothing is published there.
            VersionCorruptError: a file differs from the manifest, or that from the catalogue.
            ServiceUnavailableError: the store cannot be reached, or the cache not be written.
        """
        check_path(path)
        with translated(), self._cache.held(path):
            cached = self._cache.find(path)
            if cached is not None:
                _check_manifest(path, (cached / MANIFEST_NAME).read_bytes(), manifest_sha256)
                return cached
            content = self._read_manifest(path, manifest_sha256)
            staging = self._cache.new_staging()
            try:
                for name, entry in Manifest.from_bytes(content).files.items():
                    check_name(name)
                    self._bring(path, name, entry, staging / name, progress)
                (staging / MANIFEST_NAME).write_bytes(content)
                return self._cache.adopt(path, staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def read_manifest(self, path: str) -> Manifest:
        """The manifest of a version.

        Raises:
            VersionMissingError: nothing is published there.
            VersionCorruptError: the manifest is damaged.
            ServiceUnavailableError: the store cannot be reached.
        """
        check_path(path)
        with translated():
            return Manifest.from_bytes(self._read_manifest(path, None))

    def verify(
        self, path: str, manifest_sha256: str | None = None, progress: Progress = no_progress
    ) -> Manifest:
        """Read every byte of a stored version and compare it with the manifest.

        Raises:
            VersionMissingError, VersionCorruptError, ServiceUnavailableError: as ``fetch``.
        """
        check_path(path)
        with translated():
            manifest = Manifest.from_bytes(self._read_manifest(path, manifest_sha256))
            for name, entry in manifest.files.items():
                try:
                    with self._shelf.open(path, name) as source:
                        found = hash_stream(source, progress)
                except FileNotFoundError:
                    found = _ABSENT
                _compare(path, name, found, entry)
        return manifest

    def retire(self, path: str) -> None:
        """Delete a version, or what is left of one, here and in the local cache. Harmless twice.

        Raises:
            VersionExistsError: the path is no version's own: others lie below it.
            ServiceUnavailableError: the store cannot be reached.
        """
        check_path(path)
        with translated():
            self._shelf.remove(path)
            with self._cache.held(path):
                self._cache.drop(path)

    def list_versions(self) -> list[str]:
        """The paths of all published versions, sorted."""
        with translated():
            return sorted(published_in(self._shelf.modification_times()))

    def take_stock(self, older_than_seconds: float) -> Stock:
        """What lies in the store and is surely not on its way to a row any more.

        Args:
            older_than_seconds: longer than any publication takes.

        Raises:
            ServiceUnavailableError: the store cannot be reached.
        """
        older_than = time.time() - older_than_seconds
        with translated():
            times = self._shelf.modification_times()
            leftovers = stale_files(times, self._shelf.begun(times), older_than)
        versions = {path: times[f"{path}/{MANIFEST_NAME}"] for path in published_in(times)}
        return Stock(sorted(p for p, at in versions.items() if at < older_than), leftovers)

    def delete_leftovers(self, names: Collection[str]) -> None:
        """Delete files that belong to no version. Harmless twice, also at the same instant.

        Raises:
            ServiceUnavailableError: the store cannot be reached.
        """
        with translated():
            self._shelf.delete_files(names)

    def _read_manifest(self, path: str, expected_sha256: str | None) -> bytes:
        try:
            content = self._shelf.read_manifest(path)
        except FileNotFoundError as exc:
            raise VersionMissingError(f"Version {path} is not in the store.", version=path) from exc
        _check_manifest(path, content, expected_sha256)
        return content

    def _bring(
        self, path: str, name: str, entry: FileEntry, target: Path, progress: Progress
    ) -> None:
        try:
            found = self._shelf.bring(path, name, target, progress)
        except FileNotFoundError:
            # Damage, unless the version was retired meanwhile, which this says.
            self._read_manifest(path, None)
            found = _ABSENT
        _compare(path, name, found, entry)


def _is_hidden(name: PurePath) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _open_shelf(url: str) -> Shelf:
    try:
        filesystem, root = url_to_fs(url)
    except Exception as exc:
        # A backend says in its own way that it is not installed or that a URL is not for it.
        raise ServiceUnavailableError(f"STORE_URL cannot be used: {exc}.", service="store") from exc
    if isinstance(filesystem, LocalFileSystem):
        return LocalShelf(Path(root))
    return RemoteShelf(filesystem, root)


def _check_manifest(path: str, content: bytes, expected_sha256: str | None) -> None:
    if expected_sha256 is not None and hash_bytes(content) != expected_sha256:
        raise VersionCorruptError(
            f"The manifest of version {path} is not the one that was published.",
            file=MANIFEST_NAME,
            version=path,
        )


def _compare(path: str, name: str, found: FileEntry, expected: FileEntry) -> None:
    if found != expected:
        raise VersionCorruptError(
            f"{name} of version {path} is damaged or missing. Restore it from a backup, or remove "
            "the model and add it again: `perroquet models remove`, `perroquet models add`.",
            file=name,
            version=path,
        )
