"""CSV and TSV, recognised by their header."""

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby

from workers.finetuning.corpus.discord_exports import CSV_COLUMNS, conversations, from_row
from workers.finetuning.corpus.documents import Document
from workers.finetuning.corpus.errors import CorpusError
from workers.finetuning.corpus.files import Source
from workers.finetuning.corpus.limits import CorpusLimits
from workers.finetuning.corpus.records import Place, alternate, read_record, show_fields
from workers.finetuning.corpus.text import read_lines

_DELIMITERS = (",", ";", "\t", "|")
_EMPATHETIC = frozenset({"conv_id", "utterance_idx", "utterance"})
_KNOWN = (
    CSV_COLUMNS,
    _EMPATHETIC,
    frozenset({"prompt", "completion"}),
    frozenset({"prompt", "response"}),
    frozenset({"instruction", "output"}),
    frozenset({"instruction", "response"}),
    frozenset({"input", "target"}),
    frozenset({"input", "output"}),
    frozenset({"source", "target"}),
    frozenset({"question", "answer"}),
)
_Row = tuple[int, dict[str, str]]


def recognise_header(line: str) -> str:
    """The delimiter of a known table's header line; empty where it is none.

    A column called ``text`` alone is no proof: a story may begin with that word.
    """
    for delimiter in _DELIMITERS:
        columns = set(_split(line, delimiter))
        if any(known <= columns for known in _KNOWN):
            return delimiter
        if "text" in columns and len(columns) > 1 and all(c.isidentifier() for c in columns):
            return delimiter
    return ""


def guess_delimiter(line: str) -> str:
    """The delimiter of a table that its name says it is."""
    return max(_DELIMITERS, key=line.count)


def read_table(
    source: Source, encoding: str, limits: CorpusLimits, delimiter: str
) -> Iterator[Document]:
    """The table's rows as documents; rows of one dialogue become one document.

    Raises:
        CorpusError: the table is broken or its columns belong to no known format.
    """
    rows = _rows(source, encoding, limits, delimiter)
    try:
        first = next(rows)
    except StopIteration:
        return
    columns = frozenset(first[1])
    if columns >= CSV_COLUMNS:
        yield from _discord(source, first, rows)
    elif columns >= _EMPATHETIC:
        yield from _empathetic(source, first, rows)
    else:
        yield _row_document(source, first, check_columns=True)
        for row in rows:
            yield _row_document(source, row)


def _split(line: str, delimiter: str) -> Sequence[str]:
    return [column.strip().strip('"').strip().lower() for column in line.split(delimiter)]


def _rows(source: Source, encoding: str, limits: CorpusLimits, delimiter: str) -> Iterator[_Row]:
    # A field may not be longer than a line: an unclosed quote must not swallow the file.
    csv.field_size_limit(limits.max_line_characters)
    lines = (line + "\n" for _, line in read_lines(source, encoding, limits))
    reader = csv.reader(lines, delimiter=delimiter, strict=False)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                continue
            yield line, dict(zip(header, cells, strict=False))
    except csv.Error as exc:
        raise CorpusError("table", file=source.name, line=reader.line_num, detail=str(exc)) from exc


def _row_document(source: Source, row: _Row, *, check_columns: bool = False) -> Document:
    line, values = row
    place = Place(source.name, line)
    try:
        return Document(read_record(values, place), source.name, line)
    except CorpusError as exc:
        if check_columns and exc.data["reason"] == "fields":
            raise CorpusError("columns", file=source.name, found=show_fields(values)) from exc
        if exc.data["reason"] == "fields":
            # The header fits, so it is this row that is short of cells.
            raise CorpusError(
                "table", file=source.name, line=line, detail="the row has too few cells"
            ) from exc
        raise


def _discord(source: Source, first: _Row, rows: Iterator[_Row]) -> Iterator[Document]:
    def messages() -> Iterator[_Row]:
        yield first
        yield from rows

    exported = (from_row(values, Place(source.name, line)) for line, values in messages())
    yield from conversations(exported, source.name)


def _empathetic(source: Source, first: _Row, rows: Iterator[_Row]) -> Iterator[Document]:
    """EmpatheticDialogues: one utterance a row, commas written as ``_comma_``."""

    def utterances() -> Iterator[_Row]:
        yield first
        yield from rows

    for _, group in groupby(utterances(), key=lambda row: row[1].get("conv_id", "")):
        said = list(group)
        texts = [values.get("utterance", "").replace("_comma_", ",") for _, values in said]
        yield Document((alternate(texts),), source.name, said[0][0])
