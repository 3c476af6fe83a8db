import threading

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit, types

from workers.generation.processor import loops, threads
from workers.generation.processor.loops import shared

NUMBERS = types.int64[::1]


@pytest.fixture(params=["team", "helpers"])
def _way(request, monkeypatch):
    """A PyTorch that brings another OpenMP leaves only the second."""
    if request.param == "helpers":
        monkeypatch.setattr(loops, "openmp", lambda: None)
    elif threads.openmp() is None:
        pytest.skip("This PyTorch does not bring GCC's OpenMP.")


def add_one(first, last, numbers):
    for i in range(first, last):
        numbers[i] += first


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [([0, 6], [0] * 6), ([0, 2, 5, 5, 6], [0, 0, 2, 2, 2, 5]), ([1, 2, 4], [0, 1, 2, 2, 0, 0])],
)
def test_each_part_is_done_once_and_nothing_beside_them(bounds, wanted):
    numbers = np.zeros(6, np.int64)
    shared([(NUMBERS,)])(add_one)(bounds, numbers)
    assert numbers.tolist() == wanted


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("bounds", [[0, 1], [0, 1, 2, 3]])
def test_a_part_without_memory_to_work_in_reaches_the_caller(bounds):
    @shared([(types.int64, NUMBERS)])
    def take(first, last, size, numbers):
        for i in range(first, last):
            numbers[i] = len(np.empty(size if i == last - 1 else 1, np.int64))

    numbers = np.zeros(3, np.int64)
    with pytest.raises(MemoryError):
        take(bounds, 2**58, numbers)
    take(bounds, 5, numbers)
    assert numbers[bounds[-1] - 1] == 5


def test_parts_run_on_pytorchs_threads_for_several_callers_at_once():
    if threads.openmp() is None:
        pytest.skip("This PyTorch does not bring GCC's OpenMP.")
    own_number = types.ExternalFunction("perroquet_thread", types.int32())

    @shared([(NUMBERS,)])
    def note(first, last, numbers):
        for i in range(first, last):
            numbers[i] = own_number()

    def call():
        numbers = np.full(2, -1)
        note([0, 1, 2], numbers)
        seen.append(numbers.tolist())

    seen = []
    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert seen == [[0, 1]] * 3


def test_what_is_compiled_runs_on_and_more_can_be_compiled_after_the_compiler_was_paged_out():
    numbers = np.zeros(4, np.int64)
    before = shared([(NUMBERS,)])(add_one)
    loops.page_out_compiler()
    before([0, 2, 4], numbers)

    @shared([(types.float64[::1],)])
    def halve(first, last, halves):
        for i in range(first, last):
            halves[i] /= 2

    halves = np.ones(2)
    halve([0, 1, 2], halves)
    assert numbers.tolist() == [0, 0, 2, 2]
    assert halves.tolist() == [0.5, 0.5]


def test_where_no_folder_keeps_what_is_compiled_it_is_compiled_each_time(monkeypatch):
    def no_folder(*arguments, **settings):
        if settings.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*arguments, **settings)

    monkeypatch.setattr(loops, "njit", no_folder)
    numbers = np.zeros(4, np.int64)
    shared([(NUMBERS,)])(add_one)([0, 2, 4], numbers)
    assert numbers.tolist() == [0, 0, 2, 2]
