"""Keys and values of everybody in one piece of device memory, taken once.

Every sequence has one contiguous segment, so attention needs nothing but where a segment begins and
how much of it counts. While there is plenty, a segment is taken as long as its sequence may become;
where room is short, all are cut to what they need, and one that outgrows its place moves. All
copies are ordered by the device's stream: what a step still under way writes into a segment that
was given back comes before whatever its next holder writes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from workers.generation.attention import KeyValueCache
from workers.generation.resident.segments import SegmentTable

# Where rows that only fill a step up write; nobody reads it.
SCRATCH_TOKENS = 1
# Segments move by way of a piece of memory for so many tokens.
_MOVED_TOKENS = 512
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


@dataclass(eq=False, slots=True)
class Place:
    """Where a segment lies: tokens ``[start, start + room_tokens)``, of which the first
    ``reserved_tokens`` are needed."""

    start: int = SCRATCH_TOKENS
    room_tokens: int = 0
    reserved_tokens: int = 0


class Arena:
    """Room for the keys and values of ``capacity_tokens`` tokens. Used by one thread.

    ``keys`` and ``values`` are ``[layers, tokens, heads, head_size]``; the first
    :data:`SCRATCH_TOKENS` belong to nobody. Invariant: places never overlap, and the table knows
    each of them, whatever fails. The last one who knows a cache may be another thread, which then
    only leaves word.
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
        moved = (shape.layers, min(_MOVED_TOKENS, tokens), shape.heads, shape.head_size)
        # Taken now, so that moving never needs memory when there is none.
        self._moving = torch.empty(moved, device=device, dtype=dtype)
        self.capacity_tokens = capacity_tokens
        self._table = SegmentTable(capacity_tokens)
        self._places: set[Place] = set()
        self._left: deque[Place] = deque()
        self.yield_room: Callable[[], bool] = _nothing_to_yield
        """Asked when no stretch is long enough: lets go of something, or says that it cannot."""

    def new_cache(self, most_tokens: int) -> "ArenaCache":
        """The segment of a sequence that becomes so long at most, without room yet; its room is
        free again once nobody has it."""
        cache = ArenaCache(self, most_tokens)
        self._places.add(cache.place)
        return cache

    def leave(self, place: Place) -> None:
        """Nobody has the segment any more; may be called by any thread, at any time."""
        self._left.append(place)

    def take(self, count: int) -> int | None:
        """Where a segment begins; None where no stretch is as long."""
        self._take_back()
        start = self._table.take(count)
        return None if start is None else start + SCRATCH_TOKENS

    def has_plenty(self, count: int) -> bool:
        """Whether so many tokens may be given out though they are not needed yet."""
        self._take_back()
        return count <= self._table.free_tokens // _PLENTY

    def extend(self, end: int, count: int) -> bool:
        """Lengthen the segment that ends there, where what follows is free."""
        self._take_back()
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
        """Cut all segments to what they need and move them, so that what is free lies in one piece
        behind ``last``: those before it to the beginning, those behind it to the end.

        Takes no memory. Where the device fails in the midst of it, the segment under way has lost
        what it held, and nobody has anything of another's.
        """
        self._take_back()
        try:
            for place in self._places:
                place.room_tokens = place.reserved_tokens
            self._move_apart(last.place)
        finally:
            self._table = SegmentTable.around(
                self.capacity_tokens,
                ((p.start - SCRATCH_TOKENS, p.room_tokens) for p in self._places if p.room_tokens),
            )

    def _move_apart(self, last: Place) -> None:
        held = sorted((p for p in self._places if p.room_tokens), key=lambda place: place.start)
        # One without room yet goes behind all others.
        count = held.index(last) + 1 if last.room_tokens else len(held)
        end = SCRATCH_TOKENS
        for place in held[:count]:
            self._move(place, end)
            end += place.room_tokens
        if not last.room_tokens:
            last.start = end
        begin = SCRATCH_TOKENS + self.capacity_tokens
        for place in reversed(held[count:]):
            begin -= place.room_tokens
            self._move(place, begin)

    def _move(self, place: Place, target: int) -> None:
        """Move a segment to where it may overlap its own place, and nobody else's."""
        if target == place.start:
            return
        step = self._moving.shape[1]
        offsets = range(0, place.room_tokens, step)
        # Nothing is written over before it has moved.
        for offset in offsets if target < place.start else reversed(offsets):
            count = min(step, place.room_tokens - offset)
            source, to = place.start + offset, target + offset
            for tensor in (self.keys, self.values):
                piece = self._moving[:, :count]
                piece.copy_(tensor[:, source : source + count])
                tensor[:, to : to + count].copy_(piece)
        place.start = target

    def _take_back(self) -> None:
        """Free the segments that nobody has any more."""
        while self._left:
            place = self._left.popleft()
            self._places.discard(place)
            self.give(place.start, place.room_tokens)


class ArenaCache(KeyValueCache):
    """One sequence's segment of an arena, its own for as long as it lives."""

    def __init__(self, arena: Arena, most_tokens: int) -> None:
        self.place = Place()
        super().__init__()
        self._arena = arena
        self._most_tokens = most_tokens

    def __del__(self) -> None:
        self._arena.leave(self.place)

    @property
    def start(self) -> int:
        """The token of the arena with which it begins."""
        return self.place.start

    @property
    def room_tokens(self) -> int:
        """How many tokens it has."""
        return self.place.room_tokens

    @room_tokens.setter
    def room_tokens(self, tokens: int) -> None:
        self.place.room_tokens = tokens

    def reserve(self, tokens: int) -> None:
        """Have room for at least so many tokens, elsewhere if it must be; what is kept moves along.

        Raises:
            OutOfMemoryError: there is no room; everything stays as it was.
        """
        if tokens > self.room_tokens:
            self._enlarge(tokens)
        self._need(max(self.reserved_tokens, tokens))

    def trim(self, tokens: int) -> None:
        """Give back all but the first ``tokens``."""
        if tokens < self.room_tokens:
            self._arena.give(self.start + tokens, self.room_tokens - tokens)
            self.room_tokens = tokens
            self._need(tokens)

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
        if start is None and taken > tokens:
            # What is not needed yet is worth nobody's place.
            taken = tokens
            start = self._arena.take(taken)
        while start is None and self._arena.yield_room():
            start = self._arena.take(taken)
        if start is None:
            self._arena.compact(last=self)
            if not self._lengthen(tokens - self.room_tokens):
                raise torch.OutOfMemoryError("The KV cache has no room for more tokens.")
            return
        if self.room_tokens:
            try:
                self._arena.copy(self.start, start, self.room_tokens)
            except BaseException:
                self._arena.give(start, taken)
                raise
            self._arena.give(self.start, self.room_tokens)
        self.place.start, self.room_tokens = start, taken

    def _need(self, tokens: int) -> None:
        # Steps ask the cache, whose attribute is the cheaper one; who moves it asks its place.
        self.reserved_tokens = self.place.reserved_tokens = tokens

    def _lengthen(self, more: int) -> bool:
        """Take what lies behind, if that is free."""
        if not self._arena.extend(self.start + self.room_tokens, more):
            return False
        self.room_tokens += more
        return True
