"""Bounds of members and guilds, by a clock that the test moves."""

import pytest

from bot.chat.limits import Bounds, ChatLimits

ALICE, BRUNO, GUILD, OTHER_GUILD = 1, 2, 10, 20
NONE = Bounds(0, 0)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_member_waits_for_so_many_answers_at_a_time(clock):
    limits = ChatLimits(Bounds(2, 0), NONE, clock)
    first, second = limits.enter(ALICE, GUILD), limits.enter(ALICE, GUILD)
    assert first is not None
    assert second is not None
    assert limits.enter(ALICE, OTHER_GUILD) is None, "wherever they ask"
    assert limits.enter(BRUNO, GUILD) is not None
    first.leave()
    first.leave()
    assert limits.enter(ALICE, GUILD) is not None
    assert limits.enter(ALICE, GUILD) is None, "left twice counts once"


def test_a_member_asks_so_much_in_a_minute(clock):
    limits = ChatLimits(Bounds(0, 2), NONE, clock)
    for _ in range(2):
        limits.enter(ALICE, GUILD).leave()
        clock.now += 20
    assert limits.enter(ALICE, GUILD) is None
    clock.now += 20
    assert limits.enter(ALICE, GUILD) is not None


@pytest.mark.parametrize("bounds", [Bounds(2, 0), Bounds(0, 2)])
def test_a_guild_is_bounded_whoever_asks(clock, bounds):
    limits = ChatLimits(NONE, bounds, clock)
    places = [limits.enter(member, GUILD) for member in range(3)]
    assert [place is None for place in places] == [False, False, True]
    assert limits.enter(ALICE, OTHER_GUILD) is not None
    assert limits.enter(ALICE, None) is not None
    assert limits.enter(BRUNO, None) is not None


def test_who_was_not_let_in_is_not_counted(clock):
    limits = ChatLimits(Bounds(1, 0), Bounds(2, 0), clock)
    limits.enter(ALICE, GUILD)
    for _ in range(5):
        assert limits.enter(ALICE, GUILD) is None
    assert limits.enter(BRUNO, GUILD) is not None


def test_it_is_said_once_a_minute(clock):
    limits = ChatLimits(NONE, NONE, clock)
    assert [limits.is_to_be_told(ALICE) for _ in range(3)] == [True, False, False]
    assert limits.is_to_be_told(BRUNO)
    clock.now += 61
    assert limits.is_to_be_told(ALICE)


def test_the_more_of_a_guild_is_under_way_the_later_the_next_comes(clock):
    limits = ChatLimits(NONE, NONE, clock)
    priorities = [limits.enter(ALICE, GUILD).priority for _ in range(600)]
    assert priorities[:5] == [0, 1, 2, 2, 3]
    assert priorities == sorted(priorities)
    assert priorities[-1] == 9
    assert limits.enter(ALICE, OTHER_GUILD).priority == 0


def test_those_who_went_quiet_are_forgotten(clock):
    limits = ChatLimits(Bounds(1, 1), NONE, clock)
    limits.enter(ALICE, GUILD)
    for member in range(100, 12_000):
        limits.enter(member, member).leave()
        clock.now += 0.1
    assert len(limits._tallies) < 11_000
    assert limits.enter(ALICE, GUILD) is None, "an answer is still under way"
