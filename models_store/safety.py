"""Which files a version may hold, by name and by content. Nothing that unpickles gets in."""

import json
import struct
from pathlib import Path, PurePosixPath

from models_store.errors import UnsafeFileError

_TEXT_SUFFIXES = {".json", ".txt", ".md", ".jinja", ".jsonl", ".csv", ".tsv"}
_ALLOWED_SUFFIXES = {*_TEXT_SUFFIXES, ".safetensors", ".model", ".spm"}
_ALLOWED_NAMES = {"LICENSE", "NOTICE"}
# A zip (torch.save), pickle protocols 2 to 5, and the magic of old torch files.
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MAX_HEADER_BYTES = 100 * 2**20


def check_name(name: str) -> None:
    """Refuse a path that leaves its folder, and a suffix that no version needs.

    Raises:
        UnsafeFileError: the name is refused.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise UnsafeFileError(f"“{name}” is no path inside a version.", file=name)
    if path.suffix not in _ALLOWED_SUFFIXES and path.name not in _ALLOWED_NAMES:
        raise UnsafeFileError(
            f"“{name}” is of a kind that the store does not keep; weights must be safetensors.",
            file=name,
        )


def check_content(file: Path, name: str) -> None:
    """Refuse a file whose content is not what its name says.

    Raises:
        UnsafeFileError: the content is refused.
    """
    with file.open("rb") as source:
        head = source.read(8)
    if head.startswith(_PICKLE_MAGIC):
        raise UnsafeFileError(f"“{name}” holds a pickle or an archive.", file=name)
    if file.suffix == ".safetensors":
        _check_safetensors(file, head, name)


def _check_safetensors(file: Path, head: bytes, name: str) -> None:
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 0 < length <= min(_MAX_HEADER_BYTES, file.stat().st_size - 8):
        raise UnsafeFileError(f"“{name}” is no safetensors file.", file=name)
    with file.open("rb") as source:
        source.seek(8)
        try:
            json.loads(source.read(length))
        except ValueError as exc:
            raise UnsafeFileError(f"“{name}” is no safetensors file.", file=name) from exc
