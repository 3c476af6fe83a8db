"""Who holds which stretch of a long row of tokens. Plain Python on integers."""

from bisect import bisect_left, insort
from collections.abc import Iterable


class SegmentTable:
    """Hands out contiguous stretches of ``[0, tokens)``, the first that fits.

    Invariant: free stretches never touch one another, so as few as possible are there.
    """

    def __init__(self, tokens: int) -> None:
        self._free = [(0, tokens)] if tokens else []
        self.free_tokens = tokens

    @classmethod
    def around(cls, tokens: int, taken: Iterable[tuple[int, int]]) -> "SegmentTable":
        """A table in which these stretches, each its start and how long it is, are taken."""
        table = cls(0)
        end = 0
        for start, count in sorted(taken):
            table.give(end, start - end)
            end = start + count
        table.give(end, tokens - end)
        return table

    def take(self, count: int) -> int | None:
        """Where a stretch of ``count`` tokens begins; None where no free one is as long."""
        for index, (start, length) in enumerate(self._free):
            if length >= count:
                self._cut(index, count)
                return start
        return None

    def extend(self, end: int, count: int) -> bool:
        """Add the ``count`` tokens behind a stretch that ends at ``end``, if these are free."""
        index = bisect_left(self._free, (end, 0))
        if index == len(self._free) or self._free[index][0] != end or self._free[index][1] < count:
            return False
        self._cut(index, count)
        return True

    def give(self, start: int, count: int) -> None:
        """Take a stretch back."""
        if not count:
            return
        self.free_tokens += count
        insort(self._free, (start, count))
        index = bisect_left(self._free, (start, count))
        self._join(index)
        if index:
            self._join(index - 1)

    def _cut(self, index: int, count: int) -> None:
        start, length = self._free[index]
        self.free_tokens -= count
        if length == count:
            del self._free[index]
        else:
            self._free[index] = (start + count, length - count)

    def _join(self, index: int) -> None:
        """Make one of a free stretch and the next where they touch."""
        start, length = self._free[index]
        if index + 1 < len(self._free) and self._free[index + 1][0] == start + length:
            self._free[index] = (start, length + self._free[index + 1][1])
            del self._free[index + 1]
