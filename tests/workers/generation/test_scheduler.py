import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.generation.scheduler import Scheduler
from workers.generation.sequences import Sequence, Work


def step_of(scheduler: Scheduler) -> list[Work]:
    scheduler.make_room()
    scheduler.admit()
    return scheduler.plan()


def drive(scheduler: Scheduler, wanted: dict[int, int]) -> list[list[Work]]:
    """Step until nobody is left; ``wanted`` is how many tokens each still makes."""
    steps = []
    while work := step_of(scheduler):
        steps.append(work)
        for piece in work:
            scheduler.computed([piece])
            if not piece.is_sampling:
                continue
            wanted[piece.sequence_id] -= 1
            if wanted[piece.sequence_id] == 0:
                scheduler.remove(piece.sequence_id)
            else:
                scheduler.sampled([piece.sequence_id])
    return steps


def test_nobody_there_is_no_work():
    assert step_of(Scheduler(4, 100, 10)) == []


def test_a_plan_admits_nobody():
    scheduler = Scheduler(4, 100, 10)
    scheduler.add(Sequence(1, 5, 9))
    assert scheduler.plan() == []
    assert [s.sequence_id for s in scheduler.admit()] == [1]
    assert [w.sequence_id for w in scheduler.plan()] == [1]


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
    assert [w.sequence_id for w in step_of(scheduler)] == [1]
    scheduler.computed([Work(1, 0, 2, is_sampling=True)])
    scheduler.sampled([1])
    scheduler.add(Sequence(2, 100, 110))
    assert step_of(scheduler) == [Work(1, 2, 1, is_sampling=True), Work(2, 0, 7, is_sampling=False)]


def test_a_short_prompt_is_not_stalled_by_a_long_one():
    scheduler = Scheduler(4, 1000, 16)
    scheduler.add(Sequence(1, 100, 110))
    scheduler.add(Sequence(2, 6, 20))
    assert step_of(scheduler) == [
        Work(1, 0, 10, is_sampling=False),
        Work(2, 0, 6, is_sampling=True),
    ]


def test_whose_turn_it_is_is_never_passed_over():
    scheduler = Scheduler(4, 100, 50)
    scheduler.add(Sequence(1, 60, 80))
    scheduler.add(Sequence(2, 60, 80))
    scheduler.add(Sequence(3, 1, 2))
    assert [w.sequence_id for w in step_of(scheduler)] == [1]
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    scheduler.remove(1)
    assert {w.sequence_id for w in step_of(scheduler)} == {2, 3}


def test_who_is_removed_gives_its_room_back():
    scheduler = Scheduler(4, 100, 50)
    scheduler.add(Sequence(1, 40, 100))
    step_of(scheduler)
    assert scheduler.reserved_tokens == 40
    scheduler.remove(1)
    assert scheduler.remove(1) == 0
    assert (scheduler.reserved_tokens, step_of(scheduler)) == (0, [])


def test_what_can_never_fit_is_known_before():
    scheduler = Scheduler(4, 100, 50)
    assert scheduler.fits(100)
    assert not scheduler.fits(101)
    with pytest.raises(AssertionError):
        scheduler.add(Sequence(1, 50, 101))


def test_the_youngest_of_the_least_urgent_gives_its_room_back_and_returns_before_the_new():
    scheduler = Scheduler(4, 60, 100)
    for number, priority in ((1, 0), (2, 5), (3, 0)):
        scheduler.add(Sequence(number, 10, 50, priority=priority))
        drive_once(scheduler)
    assert scheduler.running == 3
    while not (preempted := scheduler.make_room()):
        drive_once(scheduler, is_roomy=True)
    assert [s.sequence_id for s in preempted] == [2]
    assert preempted[0].computed_tokens == 0
    scheduler.add(Sequence(4, 1, 2))
    scheduler.remove(1)
    assert [s.sequence_id for s in scheduler.admit()][:1] == [2]
    assert scheduler.preemptions == 1


def drive_once(scheduler: Scheduler, *, is_roomy: bool = False) -> None:
    if not is_roomy:
        scheduler.make_room()
    scheduler.admit()
    for piece in scheduler.plan():
        scheduler.computed([piece])
        if piece.is_sampling:
            scheduler.sampled([piece.sequence_id])


def test_a_device_without_room_runs_fewer_and_dares_more_again_later():
    scheduler = Scheduler(8, 1024, 200)
    for number in range(4):
        scheduler.add(Sequence(number, 20, 40))
    step_of(scheduler)
    scheduler.shrink()
    assert len(scheduler.make_room()) == 1
    assert scheduler.admit() == []
    assert {w.sequence_id for w in scheduler.plan()} == {0, 1, 2}
    for _ in range(30):
        scheduler.recover()
    assert [s.sequence_id for s in scheduler.admit()] == [3]


def test_one_alone_runs_however_little_room_is_left():
    scheduler = Scheduler(4, 100, 50)
    scheduler.add(Sequence(1, 40, 100))
    step_of(scheduler)
    scheduler.shrink()
    assert scheduler.make_room() == []
    assert [w.sequence_id for w in step_of(scheduler)] == [1]


def test_deadlines_are_told_for_who_runs_and_who_waits():
    scheduler = Scheduler(1, 100, 50)
    for number, deadline in ((1, 5.0), (2, 3.0), (3, 9.0)):
        scheduler.add(Sequence(number, 5, 9, deadline=deadline))
    step_of(scheduler)
    assert scheduler.expire(2.0) == []
    assert sorted(scheduler.expire(5.0)) == [1, 2]


ARRIVALS = st.lists(
    st.tuples(
        st.integers(2, 60),  # tokens of the prompt
        st.integers(1, 20),  # tokens of the answer
        st.integers(0, 30),  # the step at which it comes
        st.integers(0, 2),  # whose it is
        st.integers(0, 3),  # its priority
        st.one_of(st.none(), st.integers(0, 40)),  # the step at which its asker leaves
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    ARRIVALS,
    st.integers(1, 6),
    st.integers(80, 200),
    st.integers(1, 40),
    st.integers(1, 16),
    st.sets(st.integers(0, 60), max_size=5),
)
def test_everybody_is_answered_and_no_bound_is_broken(
    arrivals, batch, cache, budget, block, full_at
):
    """At the steps ``full_at`` the device has no room."""
    scheduler = Scheduler(batch, cache, budget, block)
    left = {i: arrival[1] for i, arrival in enumerate(arrivals)}
    computed = dict.fromkeys(left, 0)
    running: set[int] = set()
    pending = sorted(range(len(arrivals)), key=lambda i: arrivals[i][2])
    known: set[int] = set()
    step = 0
    while pending or left:
        while pending and arrivals[pending[0]][2] <= step:
            number = pending.pop(0)
            prompt, answer, _, flow, priority, _ = arrivals[number]
            known.add(number)
            scheduler.add(Sequence(number, prompt, prompt + answer, flow, priority))
        for number in known & set(left):
            leaves_at = arrivals[number][5]
            if leaves_at is not None and leaves_at <= step - arrivals[number][2]:
                scheduler.remove(number)
                running.discard(number)
                del left[number]
        if step in full_at and scheduler.running > 1:
            scheduler.shrink()
        for preempted in scheduler.make_room():
            computed[preempted.sequence_id] = 0
            running.remove(preempted.sequence_id)
        running |= {sequence.sequence_id for sequence in scheduler.admit()}
        work = scheduler.plan()
        assert scheduler.running == len(running) <= batch
        assert scheduler.waiting == len(known & set(left)) - len(running)
        assert scheduler.running <= 1 or scheduler.reserved_tokens <= scheduler.capacity_tokens
        assert sum(w.count for w in work) <= max(budget, batch)
        assert len({w.sequence_id for w in work}) == len(work)
        # Whoever decodes has a turn in each step, and nobody waits while all others are done.
        assert bool(work) == bool(known & set(left))
        for piece in work:
            number = piece.sequence_id
            assert number in running
            assert piece.start == computed[number]
            computed[number] += piece.count
            scheduler.computed([piece])
            if not piece.is_sampling:
                continue
            left[number] -= 1
            if left[number]:
                scheduler.sampled([number])
            else:
                assert computed[number] == arrivals[number][0] + arrivals[number][1] - 1
                scheduler.remove(number)
                running.remove(number)
                del left[number]
        scheduler.recover()
        step += 1
        assert step < 5000
    assert (scheduler.running, scheduler.waiting) == (0, 0)
