"""Places are given to guilds in turns."""

import threading
import time

import pytest

from workers.generation.turns import FairTurns


def never():
    """Nothing ends the waiting."""


class Crowd:
    """Takes turns in threads and notes the order in which places were got."""

    def __init__(self, places: int) -> None:
        self.turns = FairTurns(places)
        self.order: list[str] = []
        self.go = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []

    def come(self, party: str, check=never) -> None:
        def work() -> None:
            with self.turns.turn(party, check):
                self.order.append(party)
                self.go.acquire()

        before = self.turns.waiting + len(self.order)
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()
        self.until(lambda: self.turns.waiting + len(self.order) > before)

    def next(self) -> None:
        count = len(self.order)
        self.go.release()
        if self.turns.waiting:
            self.until(lambda: len(self.order) > count)

    def until(self, condition) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def finish(self) -> list[str]:
        while self.turns.waiting:
            self.next()
        for _ in self.threads:
            self.go.release()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        return self.order


def test_one_that_asks_little_does_not_wait_for_all_of_one_that_asks_much():
    crowd = Crowd(2)
    for _ in range(10):
        crowd.come("loud")
    crowd.come("quiet")
    crowd.next()
    crowd.next()
    assert "quiet" in crowd.order[:4]
    assert crowd.finish().count("loud") == 10


def test_parties_alternate_and_each_keeps_its_order():
    crowd = Crowd(1)
    for party in ("a", "a", "a", "b", "b", "c"):
        crowd.come(party)
    assert crowd.finish() == ["a", "a", "b", "c", "a", "b"]


def test_who_gives_up_takes_no_place():
    turns = FairTurns(1)

    def give_up() -> None:
        raise TimeoutError

    with turns.turn("a", never):
        with pytest.raises(TimeoutError), turns.turn("b", give_up):
            pass
        assert turns.waiting == 0
    with turns.turn("c", give_up):
        assert turns.waiting == 0


def test_a_place_is_free_again_after_an_error():
    turns = FairTurns(1)
    with pytest.raises(ZeroDivisionError), turns.turn("a", never):
        raise ZeroDivisionError
    with turns.turn("a", never):
        pass
