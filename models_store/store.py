"""Immutable versions on any fsspec URL: publish, fetch, verify, retire.

A version is a folder ``<root>/<path>/`` of files and a manifest, which is written last and is the
commit: without it nothing of the folder is there for anybody.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from core.errors import ServiceUnavailableError
from models_store.cache import VersionCache
from models_store.errors import VersionCorruptError, VersionExistsError, VersionMissingError
from models_store.manifest import MANIFEST_NAME, FileEntry, Manifest, hash_chunks, sha256_of
from models_store.safety import check_content, check_name

_CHUNK = 2**20


@dataclass(frozen=True)
class Publication:
    """A version as it now stands in the store."""

    path: str
    manifest_sha256: str
    total_bytes: int


class ModelStore:
    """Versions under one URL, with a verified local copy of those in use.

    Guarantees: what ``fetch`` returns matches its manifest byte for byte; a version once published
    never changes; an interrupted ``publish`` leaves nothing visible. Not guaranteed: that two hosts
    which publish the same path at the same instant are told apart on object stores without
    conditional writes; paths hold a job's id, so that does not arise.
    """

    def __init__(self, url: str, cache_dir: Path, cache_max_bytes: int) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as exc:
            raise ServiceUnavailableError(
                f"STORE_URL cannot be used: {exc}.", service="store"
            ) from exc
        self._cache = VersionCache(cache_dir, cache_max_bytes)

    def publish(self, folder: Path, path: str, metadata: dict[str, Any]) -> Publication:
        """Copy a folder into the store as a version.

        Args:
            folder: only files of the kinds that :mod:`models_store.safety` allows.
            path: where, below the store's URL; never used before.
            metadata: JSON that goes into the manifest.

        Raises:
            VersionExistsError: the path is taken.
            UnsafeFileError: a file is refused; nothing is published.
            ServiceUnavailableError: the store cannot be reached.
        """
        check_name(f"{path}/{MANIFEST_NAME}")
        names = sorted(
            file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
        )
        for name in names:
            check_name(name)
            check_content(folder / name, name)
        with self._translated():
            if self._fs.exists(self._at(path, MANIFEST_NAME)):
                raise VersionExistsError(f"Version {path} is published already.", version=path)
            self._fs.makedirs(self._at(path), exist_ok=True)
            files = {name: self._upload(folder / name, self._at(path, name)) for name in names}
            content = Manifest(files, metadata).to_bytes()
            self._commit(path, content)
        total_bytes = sum(entry.total_bytes for entry in files.values())
        return Publication(path, hash_chunks([content]).sha256, total_bytes)

    def fetch(self, path: str) -> Path:
        """A local folder with the version's files, verified when they came.

        Raises:
            VersionMissingError: nothing is published there.
            VersionCorruptError: a file differs from the manifest.
            ServiceUnavailableError: the store cannot be reached.
        """
        cached = self._cache.find(path)
        if cached is not None:
            return cached
        manifest = self.read_manifest(path)
        staging = Path(tempfile.mkdtemp(dir=self._cache.staging_dir))
        try:
            with self._translated():
                for name, entry in manifest.files.items():
                    self._download(path, name, entry, staging / name)
            (staging / MANIFEST_NAME).write_bytes(manifest.to_bytes())
            return self._cache.adopt(path, staging, manifest.total_bytes)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def read_manifest(self, path: str) -> Manifest:
        """The manifest of a version.

        Raises:
            VersionMissingError: nothing is published there.
            VersionCorruptError: the manifest is damaged.
        """
        check_name(f"{path}/{MANIFEST_NAME}")
        try:
            with self._translated():
                return Manifest.from_bytes(self._fs.cat_file(self._at(path, MANIFEST_NAME)))
        except FileNotFoundError as exc:
            raise VersionMissingError(f"Version {path} is not in the store.", version=path) from exc

    def verify(self, path: str) -> Manifest:
        """Read every byte of a stored version and compare it with the manifest.

        Raises:
            VersionMissingError, VersionCorruptError, ServiceUnavailableError: as ``fetch``.
        """
        manifest = self.read_manifest(path)
        with self._translated():
            for name, entry in manifest.files.items():
                try:
                    with self._fs.open(self._at(path, name), "rb") as source:
                        found = sha256_of(source)
                except FileNotFoundError:
                    found = FileEntry("", 0)
                _compare(path, name, found, entry)
        return manifest

    def retire(self, path: str) -> None:
        """Delete a version, manifest first, here and in the local cache. Harmless twice."""
        check_name(f"{path}/{MANIFEST_NAME}")
        with self._translated():
            if self._fs.exists(self._at(path, MANIFEST_NAME)):
                self._fs.rm_file(self._at(path, MANIFEST_NAME))
            if self._fs.exists(self._at(path)):
                self._fs.rm(self._at(path), recursive=True)
        self._cache.drop(path)

    def list_versions(self) -> list[str]:
        """The paths of all published versions, sorted."""
        return sorted(self._paths_with_manifest())

    def collect_garbage(self, older_than_seconds: float) -> list[str]:
        """Delete what interrupted publications left, once it is old enough to be surely dead."""
        published = set(self._paths_with_manifest())
        removed = []
        with self._translated():
            for name, details in self._fs.find(self._root, detail=True).items():
                relative = name[len(self._root) :].lstrip("/")
                parent = relative.rpartition("/")[0]
                modified = details.get("mtime") or details.get("created") or 0
                age = time.time() - getattr(modified, "timestamp", lambda m=modified: m)()
                if parent not in published and age > older_than_seconds:
                    self._fs.rm_file(name)
                    removed.append(relative)
        return removed

    def _paths_with_manifest(self) -> Iterator[str]:
        with self._translated():
            if not self._fs.exists(self._root):
                return
            for name in self._fs.find(self._root):
                relative = name[len(self._root) :].lstrip("/")
                if relative.endswith("/" + MANIFEST_NAME):
                    yield relative.removesuffix("/" + MANIFEST_NAME)

    def _upload(self, source: Path, target: str) -> FileEntry:
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        with source.open("rb") as reading, self._fs.open(target, "wb") as writing:

            def chunks() -> Iterator[bytes]:
                while chunk := reading.read(_CHUNK):
                    writing.write(chunk)
                    yield chunk

            return hash_chunks(chunks())

    def _commit(self, path: str, content: bytes) -> None:
        """Write the manifest under another name and rename it: readers see all of it or none."""
        target = self._at(path, MANIFEST_NAME)
        partial = f"{target}.partial"
        self._fs.pipe_file(partial, content)
        self._fs.mv(partial, target)

    def _download(self, path: str, name: str, entry: FileEntry, target: Path) -> None:
        check_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._fs.open(self._at(path, name), "rb") as source, target.open("wb") as writing:

                def chunks() -> Iterator[bytes]:
                    while chunk := source.read(_CHUNK):
                        writing.write(chunk)
                        yield chunk

                found = hash_chunks(chunks())
        except FileNotFoundError:
            found = FileEntry("", 0)
        _compare(path, name, found, entry)

    def _at(self, *parts: str) -> str:
        return "/".join((self._root.rstrip("/"), *parts))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as exc:
            raise ServiceUnavailableError(
                f"The model store cannot be used: {type(exc).__name__}: {exc}.", service="store"
            ) from exc


def _compare(path: str, name: str, found: FileEntry, expected: FileEntry) -> None:
    if found != expected:
        raise VersionCorruptError(
            f"{name} of version {path} is damaged or missing; publish or fetch it anew.",
            file=name,
            version=path,
        )
