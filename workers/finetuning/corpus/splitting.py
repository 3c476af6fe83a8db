"""Documents dealt into training, validation and test, the same way for the same seed."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

# With fewer documents than this, holding any back would cost more than it tells.
MIN_DOCUMENTS = 10


class Split(StrEnum):
    """What a document is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SplitShares:
    """Shares of documents held back; ``seed`` chooses which."""

    validation: float = 0.05
    test: float = 0.05
    max_held_back: int = 2000
    seed: int = 0


def deal(document_count: int, shares: SplitShares) -> list[Split]:
    """The split of each document by its number.

    Documents are ordered by a hash of seed and number, and the first ones are held back: at least
    one for each share that is not zero, once there are :data:`MIN_DOCUMENTS`.
    """
    splits = [Split.TRAIN] * document_count
    if document_count < MIN_DOCUMENTS:
        return splits
    order = sorted(range(document_count), key=lambda number: _rank(shares.seed, number))
    validation = _held_back(document_count, shares.validation, shares.max_held_back)
    test = _held_back(document_count, shares.test, shares.max_held_back)
    for number in order[:validation]:
        splits[number] = Split.VALIDATION
    for number in order[validation : validation + test]:
        splits[number] = Split.TEST
    return splits


def _held_back(count: int, share: float, most: int) -> int:
    return min(max(1, round(count * share)), most) if share > 0 else 0


def _rank(seed: int, number: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
