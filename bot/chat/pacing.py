"""How often a channel's messages are edited. Plain Python, no Discord."""

from collections.abc import Callable


class EditPacer:
    """Gives each channel at most one edit in ``interval_seconds``, shared by all its replies.

    The first edit of a quiet channel is due at once. Turns are handed out in the order asked for,
    so one fast reply does not starve another in its channel.
    """

    def __init__(self, interval_seconds: float, clock: Callable[[], float]) -> None:
        """Args:
        interval_seconds: the time between two edits of one channel.
        clock: a monotonic clock in seconds, such as ``time.perf_counter``.
        """
        self._interval = interval_seconds
        self._clock = clock
        self._next_free: dict[int, float] = {}

    def take_turn(self, channel_id: int) -> float:
        """Take the channel's next turn; returns in how many seconds it comes."""
        now = self._clock()
        turn = max(now, self._next_free.get(channel_id, now))
        self._next_free[channel_id] = turn + self._interval
        if len(self._next_free) > 10_000:
            self._forget_quiet(now)
        return turn - now

    def try_turn(self, channel_id: int) -> bool:
        """Take a turn if it is due now; for what another reply of the channel may do instead."""
        is_due = self._next_free.get(channel_id, 0.0) <= self._clock()
        if is_due:
            self.take_turn(channel_id)
        return is_due

    def _forget_quiet(self, now: float) -> None:
        self._next_free = {c: free for c, free in self._next_free.items() if free > now}
