from hypothesis import given, settings
from hypothesis import strategies as st

from workers.generation.sequences import Sequence
from workers.generation.waiting import MAX_OVERTAKES, WaitingRoom


def all_of(room: WaitingRoom) -> list[Sequence]:
    return [room.take() for _ in range(len(room))]


def test_one_guild_is_served_in_order():
    room = WaitingRoom()
    for number in range(5):
        room.add(Sequence(number, 10, 20, flow="a"))
    assert [s.sequence_id for s in all_of(room)] == [0, 1, 2, 3, 4]
    assert room.first() is None


def test_a_guild_that_asks_for_much_waits_for_itself():
    room = WaitingRoom(quantum_tokens=100)
    for number in range(50):
        room.add(Sequence(number, 50, 100, flow="loud"))
    room.add(Sequence(50, 50, 100, flow="quiet"))
    room.add(Sequence(51, 50, 100, flow="quiet"))
    order = [s.sequence_id for s in all_of(room)]
    assert order.index(50) <= 2
    assert order.index(51) <= 4


def test_guilds_get_the_same_tokens_and_not_the_same_answers():
    room = WaitingRoom(quantum_tokens=64)
    for number in range(40):
        room.add(Sequence(number, 10, 400, flow="long"))
        room.add(Sequence(100 + number, 10, 40, flow="short"))
    served = {"long": 0, "short": 0}
    for _ in range(33):
        sequence = room.take()
        served[sequence.flow] += sequence.max_total_tokens
    assert abs(served["long"] - served["short"]) <= 400 + 64


def test_the_urgent_go_first_but_not_for_ever():
    room = WaitingRoom()
    room.add(Sequence(0, 10, 20, priority=9))
    for number in range(1, 20):
        room.add(Sequence(number, 10, 20, priority=1))
    order = [s.sequence_id for s in all_of(room)]
    assert order[:MAX_OVERTAKES] == list(range(1, MAX_OVERTAKES + 1))
    assert order[MAX_OVERTAKES] == 0


def test_what_was_not_used_is_given_back():
    room = WaitingRoom(quantum_tokens=100)
    for number in range(4):
        room.add(Sequence(number, 10, 1000, flow="a"))
        room.add(Sequence(10 + number, 10, 1000, flow="b"))
    order = []
    while len(room):
        flow = room.take().flow
        order.append(flow)
        if flow == "b":
            room.refund(flow, 990)
    assert order.index("a", order.index("a") + 1) >= 5


def test_who_leaves_is_not_chosen_any_more():
    room = WaitingRoom()
    room.add(Sequence(1, 10, 20, flow="a"))
    room.add(Sequence(2, 10, 20, flow="b"))
    assert room.first().sequence_id == 1
    assert room.remove(1).sequence_id == 1
    assert room.remove(1) is None
    assert room.first().sequence_id == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 3000), st.integers(0, 4)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 600),
)
def test_nobody_is_lost_and_guilds_that_wait_are_served_alike(arrivals, quantum):
    room = WaitingRoom(quantum)
    for number, (flow, total, priority) in enumerate(arrivals):
        room.add(Sequence(number, 1, total, flow, priority))
    waiting = {flow: sum(a[0] == flow for a in arrivals) for flow in range(4)}
    served = dict.fromkeys(range(4), 0)
    largest = max(total for _, total, _ in arrivals)
    order: dict[int, list[int]] = {flow: [] for flow in range(4)}
    while len(room):
        first = room.first()
        assert room.take() is first
        waiting[first.flow] -= 1
        served[first.flow] += first.max_total_tokens
        order[first.flow].append(first.sequence_id)
        # Shreedhar and Varghese, theorem 2: among those that never stopped waiting.
        still = [served[flow] for flow, count in waiting.items() if count]
        if len(still) > 1:
            assert max(still) - min(still) <= 2 * quantum + 2 * largest
    assert sorted(n for taken in order.values() for n in taken) == list(range(len(arrivals)))
    for taken in order.values():
        for position, number in enumerate(taken):
            later = sum(other > number for other in taken[:position])
            assert later <= MAX_OVERTAKES
