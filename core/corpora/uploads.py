"""Raw uploads on their way from Discord to their validation: files below ``uploads/`` in the store.

The bot writes them and a worker on some other host reads them, so they travel through the store.
They are no versions: nothing but the row of their corpus knows them, and they go once it is read.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs

from core.errors import PerroquetError, ServiceUnavailableError
from core.ids import ID_PATTERN

UPLOADS = "uploads"
_CHUNK_BYTES = 1 << 20
_ID = re.compile(ID_PATTERN)


class UploadLostError(PerroquetError):
    """An upload is not there any more, or is not what was taken in."""

    code = "upload-lost"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One taken-in file: the name its uploader gave it, and what was received.

    ``is_validation`` marks one that is only to judge by, never to learn from.
    """

    name: str
    sha256: str
    total_bytes: int
    is_validation: bool = False


class UploadWriter:
    """Receives one file in chunks and hashes it on the way. Blocks as the store does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.total_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append a chunk.

        Raises:
            ServiceUnavailableError: the store cannot be written.
        """
        with _translated():
            self._stream.write(chunk)
        self._digest.update(chunk)
        self.total_bytes += len(chunk)

    def finish(self, name: str, *, is_validation: bool = False) -> UploadedFile:
        """Close the file and say what it holds.

        Raises:
            ServiceUnavailableError: the store cannot be written.
        """
        with _translated():
            self._stream.close()
        return UploadedFile(name, self._digest.hexdigest(), self.total_bytes, is_validation)

    def abort(self) -> None:
        """Close the file; what was written is no upload. Never raises."""
        with contextlib.suppress(Exception):
            self._stream.close()


class Uploads:
    """The place of raw uploads below the store's URL. Safe among threads; each call blocks."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url

    @staticmethod
    def path_of(corpus_id: str) -> str:
        """Where the files of a corpus lie, below the store's URL.

        Raises:
            ValueError: it is no id of ours.
        """
        if _ID.fullmatch(corpus_id) is None:
            raise ValueError(corpus_id)
        return f"{UPLOADS}/{corpus_id}"

    def open(self, corpus_id: str, number: int) -> UploadWriter:
        """Begin to write one file of a corpus.

        Raises:
            ServiceUnavailableError: the store cannot be reached.
        """
        with _translated():
            filesystem, folder = self._place(corpus_id)
            filesystem.makedirs(folder, exist_ok=True)
            return UploadWriter(filesystem.open(f"{folder}/{number}", "wb"))

    def bring(self, corpus_id: str, number: int, file: UploadedFile, target: Path) -> None:
        """Copy one file to this host and prove that it is the one that was taken in.

        Raises:
            UploadLostError: it is gone or differs.
            ServiceUnavailableError: the store cannot be reached.
        """
        digest = hashlib.sha256()
        with _translated():
            filesystem, folder = self._place(corpus_id)
            try:
                source = filesystem.open(f"{folder}/{number}", "rb")
            except FileNotFoundError as exc:
                raise UploadLostError(f"The upload “{file.name}” is gone.", file=file.name) from exc
            with source, target.open("wb") as out:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    out.write(chunk)
        if digest.hexdigest() != file.sha256:
            raise UploadLostError(f"The upload “{file.name}” is damaged.", file=file.name)

    def remove(self, corpus_id: str) -> None:
        """Delete the files of a corpus. Harmless twice.

        Raises:
            ServiceUnavailableError: the store cannot be reached.
        """
        with _translated():
            filesystem, folder = self._place(corpus_id)
            filesystem.invalidate_cache()
            if filesystem.exists(folder):
                filesystem.rm(folder, recursive=True)

    def _place(self, corpus_id: str) -> tuple[Any, str]:
        filesystem, root = url_to_fs(self._store_url)
        return filesystem, f"{root.rstrip('/')}/{self.path_of(corpus_id)}"


@contextmanager
def _translated() -> Iterator[None]:
    """The seam where errors of fsspec's backends end; each backend has a tree of its own."""
    try:
        yield
    except PerroquetError:
        raise
    except Exception as exc:
        raise ServiceUnavailableError(
            f"The store cannot be used: {type(exc).__name__}: {exc}.", service="store"
        ) from exc
