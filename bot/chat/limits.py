"""How much one member and one guild may have answered. Plain Python, no Discord.

Every bot process counts for itself, which for a guild is all there is, since a guild belongs to one
shard. After a restart the counting begins anew.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

_MINUTE = 60.0
_LOWEST_PRIORITY = 9
_QUIET_AFTER = 10_000


@dataclass(frozen=True)
class Bounds:
    """Answers under way at a time, and questions in a minute; 0 is no bound."""

    in_flight: int
    per_minute: int


@dataclass
class _Tally:
    """What one member or one guild asked for lately."""

    in_flight: int = 0
    asked_at: deque[float] = field(default_factory=deque)

    def is_within(self, bounds: Bounds, now: float) -> bool:
        while self.asked_at and self.asked_at[0] <= now - _MINUTE:
            self.asked_at.popleft()
        is_free = not bounds.in_flight or self.in_flight < bounds.in_flight
        return is_free and (not bounds.per_minute or len(self.asked_at) < bounds.per_minute)

    def is_quiet(self, now: float) -> bool:
        return not self.in_flight and (not self.asked_at or self.asked_at[-1] <= now - _MINUTE)


class Place:
    """A question that was let in, until ``leave`` is called, once or more often.

    ``priority`` is of its hint, 0 the highest: the more of a guild's questions are under way, the
    lower, so that a busy guild waits behind those that ask little.
    """

    def __init__(self, tallies: tuple[_Tally, ...], priority: int) -> None:
        self.priority = priority
        self._tallies = tallies

    def leave(self) -> None:
        """The answer is given, or will not be."""
        tallies, self._tallies = self._tallies, ()
        for tally in tallies:
            tally.in_flight -= 1


class ChatLimits:
    """Lets questions in within the bounds of their member and their guild."""

    def __init__(self, member: Bounds, guild: Bounds, clock: Callable[[], float]) -> None:
        """Args:
        member, guild: the bounds of each.
        clock: a monotonic clock in seconds.
        """
        self._member = member
        self._guild = guild
        self._clock = clock
        self._tallies: dict[Hashable, _Tally] = {}
        self._told: dict[int, float] = {}
        self._forget_at = _QUIET_AFTER

    def enter(self, member_id: int, guild_id: int | None) -> Place | None:
        """Let a question in; None where there is too much of the member's or the guild's."""
        now = self._clock()
        member = self._tally(("member", member_id), now)
        # Direct messages have no guild; each member is one of their own there.
        guild = self._tally(("guild", guild_id or -member_id), now)
        if not (member.is_within(self._member, now) and guild.is_within(self._guild, now)):
            return None
        priority = min(_LOWEST_PRIORITY, guild.in_flight.bit_length())
        for tally in (member, guild):
            tally.in_flight += 1
            tally.asked_at.append(now)
        return Place((member, guild), priority)

    def is_to_be_told(self, member_id: int) -> bool:
        """Whether to tell a member who was not let in: once in a minute."""
        now = self._clock()
        if self._told.get(member_id, now - _MINUTE) > now - _MINUTE:
            return False
        if len(self._told) > _QUIET_AFTER:
            self._told.clear()
        self._told[member_id] = now
        return True

    def _tally(self, who: Hashable, now: float) -> _Tally:
        if len(self._tallies) >= self._forget_at:
            self._tallies = {k: t for k, t in self._tallies.items() if not t.is_quiet(now)}
            # Looking at all is worth it only once as many again have come.
            self._forget_at = max(_QUIET_AFTER, 2 * len(self._tallies))
        return self._tallies.setdefault(who, _Tally())
