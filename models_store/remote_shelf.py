"""Versions in an object store, or wherever else fsspec reaches."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem

from models_store.errors import VersionExistsError
from models_store.hashing import FileEntry, Progress, copy_durably, copy_stream
from models_store.manifest import MANIFEST_NAME, Manifest
from models_store.paths import parents_of
from models_store.shelf import modification_time, refuse_taken

_CLAIM = ".publishing"


class RemoteShelf:
    """A :class:`models_store.shelf.Shelf` on fsspec. The manifest comes last and publishes.

    A publisher first claims the path with a small file, so that of two who publish there at the
    same instant one is refused; likewise for the manifest. Both are as good as the backend's
    conditional writes: exact on S3 and its like, best effort where there are none. An interrupted
    publication keeps its claim until it is removed or swept up.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self._cached_fs = filesystem
        self._root = root.rstrip("/")

    def write(
        self, path: str, files: Mapping[str, Path], metadata: dict[str, Any], progress: Progress
    ) -> bytes:
        """Claim the path, upload the files, write the manifest, let go of the claim."""
        refuse_taken(path, self._manifests_around(path))
        self._claim(path)
        entries = {
            name: self._upload(file, self._at(path, name), progress) for name, file in files.items()
        }
        content = Manifest(entries, metadata).to_bytes()
        try:
            self._fs.pipe_file(self._at(path, MANIFEST_NAME), content, mode="create")
        except FileExistsError as exc:
            raise VersionExistsError(f"{path} is published already.", version=path) from exc
        self._fs.rm_file(self._at(path, _CLAIM))
        return content

    def read_manifest(self, path: str) -> bytes:
        """The manifest of a version, unparsed."""
        content: bytes = self._fs.cat_file(self._at(path, MANIFEST_NAME))
        return content

    def open(self, path: str, name: str) -> IO[bytes]:
        """A file of a version, to be read and closed."""
        source: IO[bytes] = self._fs.open(self._at(path, name), "rb")
        return source

    def bring(self, path: str, name: str, target: Path, progress: Progress) -> FileEntry:
        """Download the file."""
        with self.open(path, name) as source:
            return copy_durably(source, target, progress)

    def remove(self, path: str) -> None:
        """Delete the manifest, which hides the version, then the rest, the claim last."""
        names = self._names_below(path)
        manifest = f"{path}/{MANIFEST_NAME}"
        if manifest in names:
            self._delete(manifest)
            names.remove(manifest)
        refuse_taken(path, names)
        self.delete_files(sorted(names, key=lambda name: name.endswith(_CLAIM)))

    def modification_times(self) -> dict[str, float]:
        """All files by their path below the root, with seconds since 1970."""
        found: dict[str, dict[str, Any]] = self._fs.find(self._root, detail=True)
        return {self._below_root(name): modification_time(d) for name, d in found.items()}

    def begun(self, names: Collection[str]) -> set[str]:
        """The folders among these files in which a publication was begun."""
        return {name.removesuffix(f"/{_CLAIM}") for name in names if name.endswith(f"/{_CLAIM}")}

    def delete_files(self, names: Collection[str]) -> None:
        """Delete files that belong to no version."""
        for name in names:
            self._delete(name)

    @property
    def _fs(self) -> AbstractFileSystem:
        # Other processes write here too; a listing that was kept would be a false one.
        self._cached_fs.invalidate_cache()
        return self._cached_fs

    def _delete(self, name: str) -> None:
        # Another process may be at the same file.
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def _claim(self, path: str) -> None:
        self._fs.makedirs(self._at(path), exist_ok=True)
        try:
            self._fs.pipe_file(self._at(path, _CLAIM), b"", mode="create")
        except FileExistsError as exc:
            raise VersionExistsError(
                f"{path} is being published, or was left half-way; retire it first.", version=path
            ) from exc

    def _upload(self, file: Path, target: str, progress: Progress) -> FileEntry:
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        with file.open("rb") as source, self._fs.open(target, "wb") as writing:
            return copy_stream(source, writing, progress)

    def _manifests_around(self, path: str) -> list[str]:
        above = [f"{place}/{MANIFEST_NAME}" for place in parents_of(path)]
        found = [name for name in above if self._fs.exists(self._at(name))]
        return [*found, *self._names_below(path)]

    def _names_below(self, path: str) -> list[str]:
        return [self._below_root(name) for name in self._fs.find(self._at(path))]

    def _below_root(self, name: str) -> str:
        return str(name)[len(self._root) :].lstrip("/")

    def _at(self, *parts: str) -> str:
        return "/".join((self._root, *parts))
