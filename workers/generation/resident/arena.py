"""Keys and values of everybody in one piece of device memory, taken once.

Every sequence has one contiguous segment, so attention needs nothing but where a segment begins and
how much of it counts. While there is plenty, a segment is taken as long as its sequence may become;
where room is short, all are cut to what they need, and one that outgrows its place moves. All
copies are ordered by the device's stream: what a step still under way writes into a segment that
was given back comes before whatever its next holder writes.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch

from workers.generation.attention import KeyValueCache
from workers.generation.resident.segments import SegmentTable

# Where rows that only fill a step up write; nobody reads it.
SCRATCH_TOKENS = 1
# What is not needed yet is taken where it is at most this part of what is free.
_PLENTY = 8


def _nothing_to_yield() -> bool:
    return False


@dataclass(frozen=True)
class LayerShape:
    """What every layer of a model keeps of a token."""

    layers: int
    heads: int
    head_size: int

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Of keys and values, in all layers."""
        return 2 * self.layers * self.heads * self.head_size * dtype.itemsize


class Arena:
    """Room for the keys and values of ``capacity_tokens`` tokens. Used by one thread.

    ``keys`` and ``values`` are ``[layers, tokens, heads, head_size]``; the first
    :data:`SCRATCH_TOKENS` belong to nobody.
    """

    def __init__(
        self, shape: LayerShape, capacity_tokens: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Raises what torch raises without memory."""
        tokens = SCRATCH_TOKENS + capacity_tokens
        # Zeros: whatever a mask hides must still be a number.
        self.keys = torch.zeros(
            (shape.layers, tokens, shape.heads, shape.head_size), device=device, dtype=dtype
        )
        self.values = torch.zeros_like(self.keys)
        self.capacity_tokens = capacity_tokens
        self._table = SegmentTable(capacity_tokens)
        self._segments: weakref.WeakSet[ArenaCache] = weakref.WeakSet()
        self.yield_room: Callable[[], bool] = _nothing_to_yield
        """Asked when no stretch is long enough: lets go of something, or says that it cannot."""

    def new_cache(self, most_tokens: int) -> "ArenaCache":
        """The segment of a sequence that becomes so long at most, without room yet; its room is
        free again once nobody has it."""
        cache = ArenaCache(self, most_tokens)
        self._segments.add(cache)
        return cache

    def take(self, count: int) -> int | None:
        """Where a segment begins; None where no stretch is as long."""
        start = self._table.take(count)
        return None if start is None else start + SCRATCH_TOKENS

    def has_plenty(self, count: int) -> bool:
        """Whether so many tokens may be given out though they are not needed yet."""
        return count <= self._table.free_tokens // _PLENTY

    def extend(self, end: int, count: int) -> bool:
        """Lengthen the segment that ends there, where what follows is free."""
        return self._table.extend(end - SCRATCH_TOKENS, count)

    def give(self, start: int, count: int) -> None:
        """Take a segment back."""
        self._table.give(start - SCRATCH_TOKENS, count)

    @torch.inference_mode()
    def copy(self, source: int, target: int, count: int) -> None:
        """Copy between segments that do not overlap."""
        for tensor in (self.keys, self.values):
            tensor[:, target : target + count].copy_(tensor[:, source : source + count])

    @torch.inference_mode()
    def compact(self, last: "ArenaCache") -> None:
        """Cut all segments to what they need and move them to the beginning, ``last`` behind the
        others, so that what is free lies in one piece behind it."""
        for cache in self._segments:
            cache.room_tokens = cache.reserved_tokens
        places = slice(last.start, last.start + last.room_tokens)
        moved = self.keys[:, places].clone(), self.values[:, places].clone()
        end = SCRATCH_TOKENS
        others = [cache for cache in self._segments if cache is not last and cache.room_tokens]
        for cache in sorted(others, key=lambda cache: cache.start):
            if cache.start != end:
                for tensor in (self.keys, self.values):
                    # The places may overlap.
                    held = tensor[:, cache.start : cache.start + cache.room_tokens].clone()
                    tensor[:, end : end + cache.room_tokens].copy_(held)
                cache.start = end
            end += cache.room_tokens
        last.start = end
        end += last.room_tokens
        for tensor, held in zip((self.keys, self.values), moved, strict=True):
            tensor[:, last.start : end].copy_(held)
        self._table = SegmentTable(self.capacity_tokens)
        if end > SCRATCH_TOKENS:
            self._table.take(end - SCRATCH_TOKENS)


class ArenaCache(KeyValueCache):
    """One sequence's segment of an arena: tokens ``[start, start + room_tokens)``, of which the
    first ``reserved_tokens`` are its own for as long as it lives."""

    def __init__(self, arena: Arena, most_tokens: int) -> None:
        super().__init__()
        self.start = SCRATCH_TOKENS
        self._arena = arena
        self._most_tokens = most_tokens

    def __del__(self) -> None:
        self._arena.give(self.start, self.room_tokens)

    def reserve(self, tokens: int) -> None:
        """Have room for at least so many tokens, elsewhere if it must be; what is kept moves along.

        Raises:
            OutOfMemoryError: there is no room; everything stays as it was.
        """
        if tokens > self.room_tokens:
            self._enlarge(tokens)
        self.reserved_tokens = max(self.reserved_tokens, tokens)

    def trim(self, tokens: int) -> None:
        """Give back all but the first ``tokens``."""
        if tokens < self.room_tokens:
            self._arena.give(self.start + tokens, self.room_tokens - tokens)
            self.room_tokens = self.reserved_tokens = tokens

    def copy_beginning(self, other: KeyValueCache, count: int) -> None:
        """Take over another segment's first ``count`` tokens; this one must have room for them, or
        still be empty."""
        assert isinstance(other, ArenaCache)  # noqa: S101 - an engine has caches of one kind
        self.reserve(count)
        self._arena.copy(other.start, self.start, count)

    def _enlarge(self, tokens: int) -> None:
        if self.room_tokens and self._lengthen(tokens - self.room_tokens):
            return
        has_plenty = self._arena.has_plenty(self._most_tokens)
        taken = max(tokens, self._most_tokens if has_plenty else 0)
        start = self._arena.take(taken)
        while start is None and self._arena.yield_room():
            taken = tokens
            start = self._arena.take(taken)
        if start is None:
            self._arena.compact(last=self)
            if not self._lengthen(tokens - self.room_tokens):
                raise torch.OutOfMemoryError("The KV cache has no room for more tokens.")
            return
        if self.room_tokens:
            self._arena.copy(self.start, start, self.room_tokens)
            self._arena.give(self.start, self.room_tokens)
        self.start, self.room_tokens = start, taken

    def _lengthen(self, more: int) -> bool:
        """Take what lies behind, if that is free."""
        if not self._arena.extend(self.start + self.room_tokens, more):
            return False
        self.room_tokens += more
        return True
