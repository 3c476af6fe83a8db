"""Tokens a second of a worker, as people read it."""

from collections.abc import Callable


class SpeedMeter:
    """Turns a count that only grows into a rate since it was last asked for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._read_at = clock()
        self._count = 0

    def read(self, count: int) -> float:
        """The mean rate, a second, since the last reading; 0 where no time has passed."""
        now = self._clock()
        seconds, gained = now - self._read_at, count - self._count
        self._read_at, self._count = now, count
        return round(gained / seconds, 1) if seconds > 0 else 0.0
