"""The splits of a prepared corpus as packed rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.finetuning.corpus.prepared import read_split
from workers.finetuning.corpus.splitting import Split
from workers.finetuning.encoding import Encoded, ExampleEncoder
from workers.finetuning.errors import NothingToLearnError
from workers.finetuning.packing import PackedRows, pack


@dataclass(frozen=True, slots=True)
class PackedSplits:
    """Rows of all splits; validation and test may be empty."""

    train: PackedRows
    validation: PackedRows
    test: PackedRows


def pack_splits(
    corpus: Path, encoder: ExampleEncoder, *, block_size: int, pad_id: int, max_evaluation_rows: int
) -> PackedSplits:
    """Encode and pack a prepared corpus.

    Raises:
        NothingToLearnError: the training split has no token to learn.
    """
    train = pack(_encode(corpus, Split.TRAIN, encoder), block_size, pad_id)
    if not len(train):
        raise NothingToLearnError("The corpus holds nothing to learn from.")
    validation, test = (
        _first(pack(_encode(corpus, split, encoder), block_size, pad_id), max_evaluation_rows)
        for split in (Split.VALIDATION, Split.TEST)
    )
    return PackedSplits(train, validation, test)


def count_rows(corpus: Path, encoder: ExampleEncoder, block_size: int) -> int:
    """How many rows a run learns from in one pass."""
    return len(pack(_encode(corpus, Split.TRAIN, encoder), block_size, pad_id=0))


def _encode(corpus: Path, split: Split, encoder: ExampleEncoder) -> Iterator[Encoded]:
    for example in read_split(corpus, split):
        yield from encoder.encode(example)


def _first(rows: PackedRows, most: int) -> PackedRows:
    """Every so many-th row: rows are sorted by length, so the first ones would be the longest."""
    if len(rows) <= most:
        return rows
    stride = len(rows) / most
    chosen = [int(i * stride) for i in range(most)]
    return PackedRows(
        rows.input_ids[chosen],
        rows.labels[chosen],
        rows.position_ids[chosen],
        round(rows.real_tokens * most / len(rows)),
    )
