"""Keys and values of ended answers, kept for those whose prompts begin alike.

A channel's next prompt is its last one with some turns more, and all prompts of a model begin with
the same persona; what is kept of them need not be computed again.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from workers.generation.attention import KeyValueCache

# Below this many tokens, copying is not worth the trouble. Beginnings are found by such blocks.
_BLOCK_TOKENS = 16
# Of those that share a prompt's blocks, so many are compared token by token.
_MAX_COMPARED = 4

Mark = tuple[Hashable, int]
"""Owner and hash of a beginning of whole blocks."""


@dataclass(frozen=True)
class _Kept:
    token_ids: NDArray[np.int64]
    cache: KeyValueCache
    # Of its beginnings, the shortest first.
    marks: tuple[Mark, ...]


class PrefixShelf:
    """Ended sequences, the least recently used one leaves first. Used by one thread.

    An owner is whose weights made the keys and values (a base or one of its adapters); what one
    made is of no use to another. Beginnings are found by the hashes of their blocks, each made of
    the hash before it, after Kwon et al., *PagedAttention* (SOSP 2023), so that thousands of kept
    sequences cost no more than a few; every find is compared token by token.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._next = 0
        # Who begins so, and who ends so but for less than a block.
        self._by_mark: dict[Mark, dict[int, None]] = {}
        self._by_end: dict[Mark, dict[int, None]] = {}
        self.held_tokens = 0
        """The room that all kept sequences take in the cache."""

    def put(self, token_ids: Sequence[int], cache: KeyValueCache, owner: Hashable = None) -> None:
        """Keep a sequence whose first ``len(token_ids)`` keys and values are computed.

        One that is the beginning of it leaves; where it is itself a beginning, it is not kept.
        """
        ids = np.asarray(token_ids, np.int64)
        marks = _marks(ids, owner)
        if not marks:
            return
        for key in _latest(self._by_mark.get(marks[-1])):
            if _common_length(self._kept[key].token_ids, ids) == len(ids):
                return
        for mark in marks:
            for key in _latest(self._by_end.get(mark)):
                kept = self._kept[key].token_ids
                if _common_length(kept, ids) == len(kept):
                    self._remove(key)
        cache.trim(len(ids))
        self._kept[self._next] = _Kept(ids, cache, marks)
        self._by_end.setdefault(marks[-1], {})[self._next] = None
        for mark in marks:
            self._by_mark.setdefault(mark, {})[self._next] = None
        self.held_tokens += cache.room_tokens
        self._next += 1

    def fill(self, cache: KeyValueCache, token_ids: Sequence[int], owner: Hashable = None) -> int:
        """Copy into a fresh cache what is kept of the beginning of ``token_ids``.

        Returns:
            How many tokens need not be computed any more; at least one is always left to compute.
        """
        ids = np.asarray(token_ids, np.int64)[:-1]
        for mark in reversed(_marks(ids, owner)):
            keys = _latest(self._by_mark.get(mark))
            if not keys:
                continue
            lengths = {key: _common_length(self._kept[key].token_ids, ids) for key in keys}
            best = max(keys, key=lengths.__getitem__)
            if lengths[best] >= _BLOCK_TOKENS:
                self._kept.move_to_end(best)
                cache.copy_beginning(self._kept[best].cache, lengths[best])
                return lengths[best]
        return 0

    def shrink(self, max_tokens: int) -> None:
        """Let go of the least recently used until the rest fits."""
        while self._kept and self.held_tokens > max_tokens:
            self._remove(next(iter(self._kept)))

    def drop_one(self) -> bool:
        """Let go of the least recently used; False where nothing is kept."""
        if not self._kept:
            return False
        self._remove(next(iter(self._kept)))
        return True

    def _remove(self, key: int) -> None:
        kept = self._kept.pop(key)
        self.held_tokens -= kept.cache.room_tokens
        _take_out(self._by_end, kept.marks[-1], key)
        for mark in kept.marks:
            _take_out(self._by_mark, mark, key)


def _latest(keys: dict[int, None] | None) -> list[int]:
    return list(islice(reversed(keys), _MAX_COMPARED)) if keys else []


def _take_out(index: dict[Mark, dict[int, None]], mark: Mark, key: int) -> None:
    keys = index[mark]
    del keys[key]
    if not keys:
        del index[mark]


def _marks(ids: NDArray[np.int64], owner: Hashable) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    before = 0
    for end in range(_BLOCK_TOKENS, len(ids) + 1, _BLOCK_TOKENS):
        before = hash((before, ids[end - _BLOCK_TOKENS : end].tobytes()))
        marks.append((owner, before))
    return tuple(marks)


def _common_length(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
