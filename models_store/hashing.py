"""SHA-256 of files while they are read or copied; no file is ever whole in memory."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Told how many bytes were handled since the last call.
Progress = Callable[[int], None]

_CHUNK_BYTES = 2**20


def no_progress(_new_bytes: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class FileEntry:
    """What a file is known by."""

    sha256: str
    total_bytes: int


def hash_bytes(content: bytes) -> str:
    """The SHA-256 of something small, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def hash_stream(source: IO[bytes], progress: Progress = no_progress) -> FileEntry:
    """Hash an open file to its end."""
    return _consume(source, None, progress)


def copy_stream(source: IO[bytes], target: IO[bytes], progress: Progress) -> FileEntry:
    """Copy an open file to its end; the entry is of what was copied."""
    return _consume(source, target, progress)


def copy_durably(source: IO[bytes], target: Path, progress: Progress) -> FileEntry:
    """Copy an open file to a new file that outlasts a power cut."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as writing:
        entry = copy_stream(source, writing, progress)
        writing.flush()
        os.fsync(writing.fileno())
    return entry


def sync_folders(folder: Path) -> None:
    """Make the names in a folder and below it outlast a power cut."""
    for place in (folder, *(entry for entry in folder.rglob("*") if entry.is_dir())):
        sync_folder(place)


def sync_folder(folder: Path) -> None:
    """Make the names in one folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _consume(source: IO[bytes], target: IO[bytes] | None, progress: Progress) -> FileEntry:
    digest, total_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
        total_bytes += len(chunk)
        progress(len(chunk))
    return FileEntry(digest.hexdigest(), total_bytes)
