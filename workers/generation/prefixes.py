"""Keys and values of ended answers, kept for those whose prompts begin alike.

A channel's next prompt is its last one with some turns more, and all prompts of a model begin with
the same persona; what is kept of them need not be computed again.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.generation.attention import KeyValueCache

# Below this many tokens, copying is not worth the trouble.
_MIN_TOKENS = 16


@dataclass(frozen=True)
class _Kept:
    owner: Hashable
    token_ids: NDArray[np.int64]
    cache: KeyValueCache


class PrefixShelf:
    """Ended sequences, the least recently used one leaves first. Used by one thread.

    An owner is whose weights made the keys and values (a base or one of its adapters); what one
    made is of no use to another.

    Invariant: no kept sequence is the beginning of another of its owner.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._next = 0

    @property
    def held_tokens(self) -> int:
        """The room that all kept sequences take in the cache."""
        return sum(kept.cache.room_tokens for kept in self._kept.values())

    def put(self, token_ids: Sequence[int], cache: KeyValueCache, owner: Hashable = None) -> None:
        """Keep a sequence whose first ``len(token_ids)`` keys and values are computed."""
        ids = np.asarray(token_ids, np.int64)
        if len(ids) < _MIN_TOKENS:
            return
        for key, kept in list(self._kept.items()):
            if kept.owner != owner:
                continue
            common = _common_length(kept.token_ids, ids)
            if common == len(ids):
                return
            if common == len(kept.token_ids):
                del self._kept[key]
        self._kept[self._next] = _Kept(owner, ids, cache)
        self._next += 1

    def fill(self, cache: KeyValueCache, token_ids: Sequence[int], owner: Hashable = None) -> int:
        """Copy into a fresh cache what is kept of the beginning of ``token_ids``.

        Returns:
            How many tokens need not be computed any more; at least one is always left to compute.
        """
        ids = np.asarray(token_ids, np.int64)[:-1]
        lengths = {
            key: _common_length(kept.token_ids, ids)
            for key, kept in self._kept.items()
            if kept.owner == owner
        }
        best = max(lengths, key=lengths.__getitem__, default=None)
        if best is None or lengths[best] < _MIN_TOKENS:
            return 0
        self._kept.move_to_end(best)
        cache.copy_beginning(self._kept[best].cache, lengths[best])
        return lengths[best]

    def shrink(self, max_tokens: int) -> None:
        """Let go of the least recently used until the rest fits."""
        while self._kept and self.held_tokens > max_tokens:
            self._kept.popitem(last=False)


def _common_length(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if len(differing) else length
