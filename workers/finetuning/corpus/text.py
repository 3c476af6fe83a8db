"""Bytes turned into lines of text: the encoding found by content, each fault with its line."""

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO

import charset_normalizer

from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import Source
from workers.finetuning.corpus.limits import CorpusLimits

_SAMPLE_BYTES = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect_encoding(source: Source) -> str:
    """The name of the encoding, found in the first 64 KiB.

    Raises:
        CorpusError: the bytes are no text, or text in no encoding that is known.
    """
    with source.open() as stream:
        sample = stream.read(_SAMPLE_BYTES)
    for bom, encoding in _BOMS:
        if sample.startswith(bom):
            return encoding
    if b"\x00" in sample:
        return _encoding_with_nuls(source, sample)
    if _is_utf8(sample):
        return "utf-8"
    return _guess(source, sample)


def _is_utf8(sample: bytes) -> bool:
    try:
        # The sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _encoding_with_nuls(source: Source, sample: bytes) -> str:
    """UTF-16 without a mark has its NULs all on one side; anything else is no text."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    raise CorpusError(
        "not-text", file=source.name, line=sample[: sample.index(b"\x00")].count(b"\n") + 1
    )


def _guess(source: Source, sample: bytes) -> str:
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in sample)
    # A few bad bytes in a text that is else UTF-8 are a fault to report, not another encoding.
    repaired = sample.decode("utf-8", errors="replace")
    bad, good = repaired.count("�"), sum(ord(c) > 127 for c in repaired)
    if good - bad > 4 * bad and not controls:
        return "utf-8"
    best = charset_normalizer.from_bytes(sample[: 1 << 14]).best()
    if best is None or controls > len(sample) // 100:
        raise CorpusError("not-text", file=source.name, line=_line_of_fault(sample))
    return best.encoding


def _line_of_fault(sample: bytes) -> int:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as exc:
        return sample[: exc.start].count(b"\n") + 1
    return 1


def read_lines(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers from 1, without their line ends.

    Raises:
        CorpusError: a line is too long, holds a NUL, or is not in the encoding.
    """
    with source.open() as stream:
        lines = (
            _wide_lines(source, stream, encoding, limits)
            if encoding.startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
            else _byte_lines(source, stream, encoding, limits)
        )
        for number, line in lines:
            if "\x00" in line:
                raise CorpusError("not-text", file=source.name, line=number)
            yield number, line.rstrip("\r\n")


def _byte_lines(
    source: Source, stream: BinaryIO, encoding: str, limits: CorpusLimits
) -> Iterator[tuple[int, str]]:
    """Decodes line by line, so that a fault is known to the line."""
    most = limits.max_line_characters
    number = 0
    while raw := stream.readline(most + 1):
        number += 1
        if len(raw) > most:
            raise CorpusError("long-line", file=source.name, line=number, limit=most)
        if number > 1 and encoding == "utf-8-sig":
            encoding = "utf-8"
        try:
            yield number, raw.decode(encoding)
        except (UnicodeDecodeError, LookupError) as exc:
            label = "UTF-8" if encoding.startswith("utf-8") else encoding
            raise CorpusError("encoding", file=source.name, line=number, encoding=label) from exc


def _wide_lines(
    source: Source, stream: BinaryIO, encoding: str, limits: CorpusLimits
) -> Iterator[tuple[int, str]]:
    most = limits.max_line_characters
    text = io.TextIOWrapper(stream, encoding=encoding, errors="strict")
    number = 0
    while True:
        number += 1
        try:
            line = text.readline(most + 1)
        except UnicodeError as exc:
            label = encoding.upper().replace("_", "-")
            raise CorpusError("encoding", file=source.name, line=number, encoding=label) from exc
        if not line:
            return
        if len(line) > most:
            raise CorpusError("long-line", file=source.name, line=number, limit=most)
        yield number, line


class Utf8Stream:
    """A text of any encoding as UTF-8 bytes, for parsers that read nothing else.

    To be closed, as by :func:`contextlib.closing`.

    Refuses a stretch of more than ``max_line_characters`` without a quotation mark: that is the
    only way in which a value could be longer, and a parser would hold it whole.
    """

    def __init__(self, source: Source, encoding: str, limits: CorpusLimits) -> None:
        self._source = source
        self._stream = source.open()
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._most = limits.max_line_characters
        self._unquoted = 0
        self._last = " "

    def read(self, size: int = -1) -> bytes:
        """At least one byte until the end.

        Raises:
            CorpusError: the bytes are not in the encoding, or a value is too long.
        """
        # The parser asks for nothing once, to learn whether it gets bytes or text.
        while size and (block := self._stream.read(1 << 16 if size < 0 else max(size, 16))):
            text = self._decode(block, final=False)
            if text:
                return self._check(text)
        tail = self._decode(b"", final=True) if size else ""
        return self._check(tail) if tail else b""

    def close(self) -> None:
        """Close the source's stream."""
        self._stream.close()

    def _decode(self, block: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(block, final)
        except UnicodeError as exc:
            raise CorpusError("encoding", file=self._source.name, encoding="UTF-8") from exc

    def _check(self, text: str) -> bytes:
        # Quotes behind a backslash do not end a value; the one before may be in the last block.
        seen = self._last + text
        last = seen.rfind('"')
        while last > 0 and seen[last - 1] == "\\":
            last = seen.rfind('"', 0, last)
        self._last = text[-1]
        self._unquoted = self._unquoted + len(text) if last < 1 else len(seen) - last
        if self._unquoted > self._most:
            raise CorpusError("long-value", file=self._source.name, limit=self._most)
        return text.encode("utf-8", errors="replace")
