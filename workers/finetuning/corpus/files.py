"""Uploaded files as streams of bytes, unpacked on the way and never beyond their bounds.

Nothing is extracted to disk, so a member's name is only ever a label.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.signatures import BINARY_KINDS, GZIP, ZIP, sniff_binary

_PACKED_WELL = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file on disk and the name that its uploader gave it."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Source:
    """One stream of unpacked content.

    Attributes:
        name: for people and errors.
        open: gives a new stream from the start; reading it raises :class:`CorpusError` at a bound.
    """

    name: str
    open: Callable[[], BinaryIO]


class BoundedReader(io.RawIOBase):
    """Passes bytes on until too many have passed.

    Args:
        inner: the unpacking stream.
        name: for the error.
        limits: the bounds.
        packed_bytes: the size before unpacking; 0 where nothing was packed.
    """

    def __init__(
        self,
        inner: BinaryIO,
        name: str,
        limits: CorpusLimits,
        packed_bytes: int = 0,
    ) -> None:
        super().__init__()
        self._inner = inner
        self._name = name
        self._limits = limits
        self._packed_bytes = packed_bytes
        self._passed = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as the stream goes.

        Raises:
            CorpusError: a bound is passed or the archive is damaged.
        """
        try:
            block = self._inner.read(len(buffer))
        except (EOFError, OSError, ValueError, zlib.error, zipfile.BadZipFile) as exc:
            raise CorpusError("archive", file=self._name) from exc
        self._passed += len(block)
        self._check()
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """Close the stream underneath too."""
        if not self.closed:
            self._inner.close()
        super().close()

    def _check(self) -> None:
        limits = self._limits
        if self._passed > limits.max_unpacked_bytes:
            raise CorpusError("too-large", file=self._name, limit=limits.max_unpacked_bytes)
        if not self._packed_bytes or self._passed <= limits.ratio_grace_bytes:
            return
        if self._passed > limits.max_ratio * self._packed_bytes:
            raise CorpusError("bomb", file=self._name, limit=limits.max_ratio)


def open_sources(file: CorpusFile, limits: CorpusLimits) -> Iterator[Source]:
    """The streams inside one uploaded file: itself, or what its archive holds.

    Raises:
        CorpusError: the file is empty, damaged, locked, nested, or no text.
    """
    try:
        with file.path.open("rb") as stream:
            head = stream.read(512)
    except OSError as exc:
        raise CorpusError("unreadable", file=file.name) from exc
    if not head:
        raise CorpusError("empty", file=file.name)
    if head.startswith(ZIP):
        yield from _open_zip(file, limits)
    elif head.startswith(GZIP):
        yield _open_gzip(file, limits)
    else:
        source = Source(file.name, lambda: _bounded(file.path.open("rb"), file.name, limits))
        _refuse_binary(source)
        yield source


def _bounded(inner: BinaryIO, name: str, limits: CorpusLimits, packed_bytes: int = 0) -> BinaryIO:
    return io.BufferedReader(BoundedReader(inner, name, limits, packed_bytes), 1 << 16)


def _refuse_binary(source: Source, *, packed: bool = False) -> None:
    with source.open() as stream:
        head = stream.read(512)
    if not head and not packed:
        raise CorpusError("empty", file=source.name)
    if packed and head.startswith((*ZIP, GZIP)):
        raise CorpusError("archive-nested", file=source.name)
    kind = sniff_binary(head)
    if kind:
        raise CorpusError("binary", file=source.name, found=BINARY_KINDS[kind], kind=kind)


def _open_gzip(file: CorpusFile, limits: CorpusLimits) -> Source:
    packed_bytes = file.path.stat().st_size

    def open_stream() -> BinaryIO:
        unpacked = gzip.open(file.path, "rb")  # noqa: SIM115 (the reader closes it)
        return _bounded(unpacked, file.name, limits, packed_bytes)  # type: ignore[arg-type]

    source = Source(file.name, open_stream)
    with source.open() as stream:
        if not stream.read(1):
            raise CorpusError("empty", file=file.name)
    _refuse_binary(source, packed=True)
    return source


def _open_zip(file: CorpusFile, limits: CorpusLimits) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member for member in archive.infolist() if not _is_clutter(member)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as exc:
        raise CorpusError("archive", file=file.name) from exc
    if not members:
        raise CorpusError("archive-empty", file=file.name)
    if len(members) > limits.max_members:
        raise CorpusError("archive-members", file=file.name, limit=limits.max_members)
    declared = sum(member.file_size for member in members)
    if declared > limits.max_unpacked_bytes:
        raise CorpusError("too-large", file=file.name, limit=limits.max_unpacked_bytes)
    yield from _open_members(file, members, limits)


def _open_members(
    file: CorpusFile, members: list[zipfile.ZipInfo], limits: CorpusLimits
) -> Iterator[Source]:
    found_any = False
    for member in members:
        name = f"{file.name}/{_label(member.filename)}"
        _check_member(member, name)
        source = Source(name, _member_opener(file.path, member, name, limits))
        _refuse_binary(source, packed=True)
        # An empty member is clutter, not a mistake worth refusing the whole archive for.
        if member.file_size:
            found_any = True
            yield source
    if not found_any:
        raise CorpusError("archive-empty", file=file.name)


def _check_member(member: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise CorpusError("archive-path", file=name)
    if member.flag_bits & 0x1:
        raise CorpusError("archive-encrypted", file=name)
    if member.compress_type not in _PACKED_WELL:
        raise CorpusError("archive-method", file=name)


def _member_opener(
    path: Path, member: zipfile.ZipInfo, name: str, limits: CorpusLimits
) -> Callable[[], BinaryIO]:
    def open_stream() -> BinaryIO:
        try:
            with zipfile.ZipFile(path) as archive:
                inner = archive.open(member)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError) as exc:
            raise CorpusError("archive", file=name) from exc
        return _bounded(inner, name, limits, max(1, member.compress_size))  # type: ignore[arg-type]

    return open_stream


def _label(member_name: str) -> str:
    """The member's name without what would disturb a terminal or a message."""
    return "".join(c if c.isprintable() else "�" for c in member_name)[-120:]


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    # zipfile itself stumbles over a member without a name.
    if not parts or member.is_dir():
        return True
    return "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db")
