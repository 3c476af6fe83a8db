"""JSON and JSON Lines as streams of records."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import ijson  # type: ignore[import-untyped]

from workers.finetuning.corpus.discord_exports import conversations, from_json
from workers.finetuning.corpus.documents import Document
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import Source
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.records import Place, read_record
from workers.finetuning.corpus.text import Utf8Stream, read_lines

# Fields of a single example; an object that has one is a record, not a list of records.
_OWN_LISTS = frozenset(
    {"messages", "conversations", "conversation", "dialog", "utterances", "prompt", "personality"}
)
_MAX_DEPTH = 64


def read_json_lines(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[Document]:
    """One document a line; empty lines are passed over.

    Raises:
        CorpusError: a line is broken JSON or a record of no known format.
    """
    for number, line in read_lines(source, encoding, limits):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise CorpusError("json", file=source.name, line=number) from exc
        examples = read_record(record, Place(source.name, number))
        yield Document(examples, source.name, number)


def read_json(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[Document]:
    """The records of one JSON value: an array, an object with arrays of records, or one record.

    Raises:
        CorpusError: the JSON is broken, or a record is of no known format.
    """
    is_array, lists, keys = _outline(source, encoding, limits)
    if is_array:
        yield from _documents(source, _items(source, encoding, limits, "item"))
    elif {"guild", "channel", "messages"} <= keys:
        yield from _discord(source, _items(source, encoding, limits, "messages.item"))
    elif not lists or lists & _OWN_LISTS:
        yield from _documents(source, _items(source, encoding, limits, ""))
    else:
        for key in sorted(lists):
            yield from _documents(source, _items(source, encoding, limits, f"{key}.item"))


def _documents(source: Source, records: Iterator[Any]) -> Iterator[Document]:
    for number, record in enumerate(records, start=1):
        yield Document(read_record(record, Place(source.name, number)), source.name, number)


def _discord(source: Source, records: Iterator[Any]) -> Iterator[Document]:
    messages = (
        from_json(record, Place(source.name, number))
        for number, record in enumerate(records, start=1)
    )
    yield from conversations((one for one in messages if one is not None), source.name)


def _outline(
    source: Source, encoding: str, limits: CorpusLimits
) -> tuple[bool, set[str], set[str]]:
    """Whether the value is an array; else the keys of its arrays, and all its keys.

    Goes through the whole file, so that broken or bottomless JSON is refused before the builder
    of records, whose memory grows with the square of the depth, sees any of it.
    """
    depth, key, is_array = 0, "", False
    lists: set[str] = set()
    keys: set[str] = set()
    for event, value in _events(source, encoding, limits):
        if event == "start_map" or event == "start_array":
            if event == "start_array" and depth == 0:
                is_array = True
            elif event == "start_array" and depth == 1:
                lists.add(key)
            depth += 1
            if depth > _MAX_DEPTH:
                raise CorpusError("json", file=source.name)
        elif event == "end_map" or event == "end_array":
            depth -= 1
        elif depth == 1 and event == "map_key":
            key = str(value)
            keys.add(key)
    return is_array, lists, keys


def _events(source: Source, encoding: str, limits: CorpusLimits) -> Iterator[tuple[str, Any]]:
    with closing(Utf8Stream(source, encoding, limits)) as stream:
        yield from _translated(source, ijson.basic_parse(stream, use_float=True))


def _items(source: Source, encoding: str, limits: CorpusLimits, prefix: str) -> Iterator[Any]:
    with closing(Utf8Stream(source, encoding, limits)) as stream:
        yield from _translated(source, ijson.items(stream, prefix, use_float=True))


def _translated(source: Source, parsed: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from parsed
    except (ijson.JSONError, ValueError, RecursionError, OverflowError) as exc:
        raise CorpusError("json", file=source.name) from exc
