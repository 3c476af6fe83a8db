"""Discord's rate limits: a bucket for each route and channel, and one for everything."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """``count`` requests in ``seconds``."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Ruling:
    """What a request is told: the headers' figures, and how long to wait where it is refused."""

    limit: int
    remaining: int
    reset_after: float
    retry_after: float | None


DEFAULT_LIMIT = Limit(50, 1.0)
# What bots see in practice for posting and for editing in one channel.
_LIMITS = {"post-message": Limit(5, 5.0), "edit-message": Limit(5, 5.0)}


class RateLimiter:
    """Fixed windows, as Discord's headers describe them."""

    def __init__(self, *, is_on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_on = is_on
        self._clock = clock
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def rule(self, route: str, major: str) -> Ruling:
        """Count a request of a route with its major parameter, such as the channel's id."""
        limit = _LIMITS.get(route, DEFAULT_LIMIT)
        now = self._clock()
        started, used = self._windows.get((route, major), (now, 0))
        if now - started >= limit.seconds:
            started, used = now, 0
        reset_after = started + limit.seconds - now
        if self.is_on and used >= limit.count:
            return Ruling(limit.count, 0, reset_after, reset_after)
        self._windows[route, major] = (started, used + 1)
        remaining = limit.count - used - 1 if self.is_on else limit.count
        return Ruling(limit.count, remaining, reset_after, None)
