from bot.chat.pacing import EditPacer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_edit_of_a_channel_is_due_at_once():
    assert EditPacer(1.0, Clock()).take_turn(5) == 0


def test_the_replies_of_a_channel_share_one_edit_a_second():
    pacer = EditPacer(1.0, Clock())
    assert [pacer.take_turn(5) for _ in range(3)] == [0, 1, 2]
    assert pacer.take_turn(6) == 0


def test_a_quiet_second_makes_the_next_edit_due_at_once():
    clock = Clock()
    pacer = EditPacer(1.0, clock)
    pacer.take_turn(5)
    clock.now += 1.5
    assert pacer.take_turn(5) == 0


def test_what_is_not_due_may_be_left_out():
    clock = Clock()
    pacer = EditPacer(8.0, clock)
    assert pacer.try_turn(5)
    assert not pacer.try_turn(5)
    assert pacer.try_turn(6)
    clock.now += 8.0
    assert pacer.try_turn(5)


def test_channels_long_quiet_are_forgotten():
    clock = Clock()
    pacer = EditPacer(1.0, clock)
    for channel in range(10_001):
        clock.now += 2
        pacer.take_turn(channel)
    assert len(pacer._next_free) < 10
