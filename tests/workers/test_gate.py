import contextlib
import threading
import time

from workers.gate import IsolationGate


class Visit:
    """A thread that stays inside the gate until it is told to leave."""

    def __init__(self, gate: IsolationGate, *, alone: bool) -> None:
        self.is_inside = threading.Event()
        self._may_leave = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(gate, alone), daemon=True)
        self._thread.start()

    def _run(self, gate: IsolationGate, alone: bool) -> None:
        with gate.enter(alone=alone):
            self.is_inside.set()
            self._may_leave.wait(5)

    def leave(self) -> None:
        self._may_leave.set()
        self._thread.join(5)


def _stays_outside(visit: Visit) -> bool:
    return not visit.is_inside.wait(0.05)


def test_ordinary_jobs_run_beside_each_other():
    gate = IsolationGate()
    visits = [Visit(gate, alone=False) for _ in range(3)]
    assert all(visit.is_inside.wait(1) for visit in visits)
    for visit in visits:
        visit.leave()


def test_a_lone_job_waits_for_the_others_and_keeps_new_ones_out():
    gate = IsolationGate()
    before = Visit(gate, alone=False)
    assert before.is_inside.wait(1)
    lone = Visit(gate, alone=True)
    assert _stays_outside(lone)
    after = Visit(gate, alone=False)
    assert _stays_outside(after), "a stream of ordinary jobs must not starve the lone one"

    before.leave()
    assert lone.is_inside.wait(1)
    assert _stays_outside(after)
    lone.leave()
    assert after.is_inside.wait(1)
    after.leave()


def test_two_lone_jobs_run_one_after_the_other():
    gate = IsolationGate()
    first = Visit(gate, alone=True)
    assert first.is_inside.wait(1)
    second = Visit(gate, alone=True)
    assert _stays_outside(second)
    first.leave()
    assert second.is_inside.wait(1)
    second.leave()


def test_a_job_that_raises_leaves_the_gate():
    gate = IsolationGate()
    with contextlib.suppress(ZeroDivisionError), gate.enter(alone=True):
        1 / 0  # noqa: B018
    started = time.monotonic()
    with gate.enter(alone=False):
        assert time.monotonic() - started < 1
