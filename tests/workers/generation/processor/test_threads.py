import threading
from pathlib import Path

import pytest

from workers.generation.processor import threads
from workers.generation.processor.threads import share


@pytest.fixture(params=["team", "helpers"])
def _way(request, monkeypatch):
    """A PyTorch that brings another OpenMP leaves only the second."""
    if request.param == "helpers":
        monkeypatch.setattr(threads, "_team", lambda: None)
    elif threads._team() is None:
        pytest.skip("This PyTorch does not bring GCC's OpenMP.")


@pytest.mark.usefixtures("_way")
def test_each_part_is_done_once_and_a_failure_reaches_the_caller():
    seen = []
    share(lambda first, last, mark: seen.append((first, last, mark)), [0, 2, 5, 9], "m")
    assert sorted(seen) == [(0, 2, "m"), (2, 5, "m"), (5, 9, "m")]

    def fail(first, _last):
        if first:
            raise ValueError(first)

    with pytest.raises(ValueError, match="5"):
        share(fail, [0, 5, 9])


@pytest.mark.usefixtures("_way")
def test_parts_run_side_by_side_for_several_callers_at_once():
    def call():
        both = threading.Barrier(2, timeout=10)
        share(lambda _first, _last: both.wait(), [0, 1, 2])
        done.append(True)

    done = []
    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert len(done) == len(callers)


def test_without_a_known_library_there_is_no_team(tmp_path):
    library = tmp_path / "libgomp.so.1"
    library.write_bytes(b"no library")
    with pytest.raises(OSError, match=library.name):
        threads.Team(library)


def test_helpers_of_a_thread_end_when_it_lets_them_go_and_come_back_when_needed():
    def work():
        before = _thread_ids()
        seen = []
        share(lambda first, _last: seen.append(first), [0, 1, 2])
        counts.append(len(_thread_ids() - before))
        threads.let_go()
        counts.append(len(_thread_ids() - before))
        share(lambda first, _last: seen.append(first), [0, 1, 2])
        threads.let_go()
        counts.append(len(seen))

    if threads._team() is None:
        pytest.skip("This PyTorch does not bring GCC's OpenMP.")
    counts = []
    caller = threading.Thread(target=work)
    caller.start()
    caller.join(20)
    assert counts == [1, 0, 4]


def _thread_ids():
    return set(Path("/proc/self/task").iterdir())
