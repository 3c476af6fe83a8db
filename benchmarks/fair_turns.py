"""Who is answered next when more wait than can be answered at a time: each guild in its turn."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

_POLL_SECONDS = 0.2


class FairTurns:
    """So many places, given to those who wait in rounds: one of each party, then the next of each.

    Without rounds a guild that asks a hundred times would make another wait for all its hundred
    answers. Within a party the order is that of coming. The idea is fair queueing with a packet as
    the unit (Nagle, *On Packet Switches With Infinite Storage*, RFC 970, 1985). Thread-safe.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Hashable, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def turn(self, party: Hashable, check: Callable[[], None]) -> Iterator[None]:
        """Wait for a place and keep it while the context lasts.

        Args:
            party: whose turn it is.
            check: called now and then while waiting; what it raises ends the waiting.
        """
        mine = threading.Event()
        with self._lock:
            self._waiting.setdefault(party, deque()).append(mine)
            self._hand_out()
        try:
            while not mine.wait(_POLL_SECONDS):
                check()
            yield
        finally:
            self._leave(party, mine)

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def _leave(self, party: Hashable, mine: threading.Event) -> None:
        with self._lock:
            if mine.is_set():
                self._free += 1
            else:
                line = self._waiting[party]
                line.remove(mine)
                if not line:
                    del self._waiting[party]
            self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            party, line = self._waiting.popitem(last=False)
            line.popleft().set()
            self._free -= 1
            if line:
                self._waiting[party] = line
