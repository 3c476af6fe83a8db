"""Any corpus file read as documents: the format is found by looking, not by the file's name."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath

from workers.finetuning.corpus.documents import Document
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import CorpusFile, Source, open_sources
from workers.finetuning.corpus.jsons import read_json, read_json_lines
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.plain import (
    DAILYDIALOG_MARK,
    looks_like_persona_chat,
    read_dailydialog,
    read_persona_chat,
    read_text,
)
from workers.finetuning.corpus.tables import guess_delimiter, read_table, recognise_header
from workers.finetuning.corpus.text import detect_encoding, read_lines

_SAMPLE_LINES = 20
_JSON_START = re.compile(r'^\s*(\{\s*("|\}|$)|\[\s*([\[{"\]]|$))')


class CorpusFormat(StrEnum):
    """How a file is laid out."""

    TEXT = "text"
    TABLE = "table"
    JSON = "json"
    JSON_LINES = "jsonl"
    DAILYDIALOG = "dailydialog"
    PERSONA_CHAT = "persona-chat"


@dataclass(frozen=True, slots=True)
class Recognised:
    """What was found out about one stream; ``delimiter`` is set for tables alone."""

    format: CorpusFormat
    encoding: str
    delimiter: str = ""


def read_corpus(
    files: Iterable[CorpusFile], limits: CorpusLimits | None = None
) -> Iterator[Document]:
    """All documents of all files, one after the other, never more than one in memory.

    Raises:
        CorpusError: a file cannot be used; nothing is skipped in silence.
    """
    bounds = limits or CorpusLimits()
    for file in files:
        for source in open_sources(file, bounds):
            yield from read_source(source, bounds)


def read_source(source: Source, limits: CorpusLimits) -> Iterator[Document]:
    """The documents of one stream.

    Raises:
        CorpusError: as :func:`read_corpus`; also where nothing at all is in it.
    """
    found = recognise(source, limits)
    found_any = False
    for document in _read_as(found, source, limits):
        found_any = True
        yield document
    if not found_any:
        is_json = found.format in (CorpusFormat.JSON, CorpusFormat.JSON_LINES)
        raise CorpusError("no-records" if is_json else "empty", file=source.name)


def _read_as(found: Recognised, source: Source, limits: CorpusLimits) -> Iterator[Document]:
    if found.format is CorpusFormat.TABLE:
        return read_table(source, found.encoding, limits, found.delimiter)
    readers = {
        CorpusFormat.TEXT: read_text,
        CorpusFormat.JSON: read_json,
        CorpusFormat.JSON_LINES: read_json_lines,
        CorpusFormat.DAILYDIALOG: read_dailydialog,
        CorpusFormat.PERSONA_CHAT: read_persona_chat,
    }
    return readers[found.format](source, found.encoding, limits)


def recognise(source: Source, limits: CorpusLimits) -> Recognised:
    """Look at the first lines of a stream.

    The name's ending only decides what the content leaves open.

    Raises:
        CorpusError: the stream is no text, or its first lines cannot be read.
    """
    encoding = detect_encoding(source)
    lines = _first_lines(source, encoding, limits)
    ending = PurePosixPath(source.name.removesuffix(".gz")).suffix.lower()
    first = next((line for line in lines if line.strip()), "")
    if _JSON_START.match(first) or (ending in (".json", ".jsonl") and first.strip()):
        return Recognised(_json_format(lines, ending), encoding)
    if ending not in (".txt", ".md") or recognise_header(first):
        delimiter = recognise_header(first)
        if not delimiter and ending in (".csv", ".tsv"):
            delimiter = guess_delimiter(first)
        if delimiter:
            return Recognised(CorpusFormat.TABLE, encoding, delimiter)
    if any(DAILYDIALOG_MARK in line for line in lines):
        return Recognised(CorpusFormat.DAILYDIALOG, encoding)
    if looks_like_persona_chat(lines):
        return Recognised(CorpusFormat.PERSONA_CHAT, encoding)
    return Recognised(CorpusFormat.TEXT, encoding)


def _first_lines(source: Source, encoding: str, limits: CorpusLimits) -> list[str]:
    """The first lines. An over-long first line is JSON written without line ends, if anything."""
    try:
        return [line for _, line in islice(read_lines(source, encoding, limits), _SAMPLE_LINES)]
    except CorpusError as exc:
        if exc.data["reason"] != "long-line" or exc.data["line"] != 1:
            raise
        with source.open() as stream:
            head = stream.read(256).decode(encoding, errors="replace")
        if not _JSON_START.match(head):
            raise
        return [head]


def _json_format(lines: list[str], ending: str) -> CorpusFormat:
    """JSON Lines where the first filled line is a whole value and something may follow it."""
    filled = [line for line in lines if line.strip()]
    if ending == ".jsonl" and not _is_value(filled[0]) and filled[0].strip() not in ("[", "{"):
        return CorpusFormat.JSON_LINES
    if _is_value(filled[0]) and (len(filled) > 1 or ending == ".jsonl"):
        return CorpusFormat.JSON_LINES
    return CorpusFormat.JSON


def _is_value(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
