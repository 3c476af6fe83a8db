import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.generation.scheduler import Scheduler, Sequence, Work


def drive(scheduler: Scheduler, wanted: dict[int, int]) -> list[list[Work]]:
    """Step until nobody is left; ``wanted`` is how many tokens each still makes."""
    steps = []
    while work := scheduler.plan():
        steps.append(work)
        for piece in work:
            scheduler.computed(piece)
            if not piece.is_sampling:
                continue
            wanted[piece.sequence_id] -= 1
            if wanted[piece.sequence_id] == 0:
                scheduler.remove(piece.sequence_id)
            else:
                scheduler.sampled(piece.sequence_id)
    return steps


def test_nobody_there_is_no_work():
    assert Scheduler(4, 100, 10).plan() == []


def test_a_prompt_is_computed_in_chunks_and_then_token_by_token():
    scheduler = Scheduler(1, 100, 8)
    scheduler.add(Sequence(1, 20, 23))
    steps = drive(scheduler, {1: 3})
    assert [(w.start, w.count, w.is_sampling) for (w,) in steps] == [
        (0, 8, False),
        (8, 8, False),
        (16, 4, True),
        (20, 1, True),
        (21, 1, True),
    ]


def test_a_long_prompt_does_not_stall_who_is_answering():
    scheduler = Scheduler(4, 1000, 8)
    scheduler.add(Sequence(1, 2, 30))
    assert [w.sequence_id for w in scheduler.plan()] == [1]
    scheduler.computed(Work(1, 0, 2, is_sampling=True))
    scheduler.sampled(1)
    scheduler.add(Sequence(2, 100, 110))
    assert scheduler.plan() == [Work(1, 2, 1, is_sampling=True), Work(2, 0, 7, is_sampling=False)]


def test_the_oldest_is_never_passed_over():
    scheduler = Scheduler(4, 100, 50)
    scheduler.add(Sequence(1, 40, 60))
    scheduler.add(Sequence(2, 40, 60))
    scheduler.add(Sequence(3, 1, 2))
    assert [w.sequence_id for w in scheduler.plan()] == [1]
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    scheduler.remove(1)
    assert {w.sequence_id for w in scheduler.plan()} == {2, 3}


def test_who_is_removed_gives_its_room_back():
    scheduler = Scheduler(4, 100, 50)
    scheduler.add(Sequence(1, 40, 100))
    scheduler.plan()
    assert scheduler.reserved_tokens == 100
    scheduler.remove(1)
    scheduler.remove(1)
    assert (scheduler.reserved_tokens, scheduler.plan()) == (0, [])


def test_what_can_never_fit_is_known_before():
    scheduler = Scheduler(4, 100, 50)
    assert scheduler.fits(100)
    assert not scheduler.fits(101)
    with pytest.raises(AssertionError):
        scheduler.add(Sequence(1, 50, 101))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(2, 60), st.integers(1, 20), st.integers(0, 30)),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 6),
    st.integers(80, 200),
    st.integers(1, 40),
)
def test_everybody_is_answered_in_order_and_no_bound_is_broken(arrivals, batch, cache, budget):
    """``arrivals``: prompt, answer, and the step at which the request comes."""
    scheduler = Scheduler(batch, cache, budget)
    wanted = {i: answer for i, (_, answer, _) in enumerate(arrivals)}
    computed = dict.fromkeys(wanted, 0)
    joined: list[int] = []
    pending = sorted(range(len(arrivals)), key=lambda i: arrivals[i][2])
    step = 0
    while pending or wanted:
        while pending and arrivals[pending[0]][2] <= step:
            number = pending.pop(0)
            prompt, answer, _ = arrivals[number]
            scheduler.add(Sequence(number, prompt, prompt + answer))
        before = set(joined)
        work = scheduler.plan()
        assert scheduler.running <= batch
        assert scheduler.reserved_tokens <= cache
        assert sum(w.count for w in work) <= max(budget, batch)
        assert len({w.sequence_id for w in work}) == len(work)
        for piece in work:
            number = piece.sequence_id
            assert piece.start == computed[number]
            computed[number] += piece.count
            if number not in before:
                joined.append(number)
            scheduler.computed(piece)
            if not piece.is_sampling:
                continue
            wanted[number] -= 1
            if wanted[number]:
                scheduler.sampled(number)
            else:
                assert computed[number] == arrivals[number][0] + arrivals[number][1] - 1
                scheduler.remove(number)
                del wanted[number]
        step += 1
        assert step < 5000
    assert joined == sorted(joined, key=lambda i: (arrivals[i][2], i))
