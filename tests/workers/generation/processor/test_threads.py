import threading
from pathlib import Path

import numpy as np
import pytest

from workers.generation.processor import threads


def test_without_a_known_library_there_are_no_threads_to_share(tmp_path):
    library = tmp_path / "libgomp.so.1"
    library.write_bytes(b"no library")
    with pytest.raises(OSError, match=library.name):
        threads.read_openmp(library)


@pytest.mark.parametrize(
    ("count", "numbers", "wanted"),
    [(12, 10**6, [0, 4, 8, 12]), (2, 10**6, [0, 1, 2]), (12, 10, [0, 12]), (0, 0, [0, 0])],
)
def test_work_is_parted_evenly_among_as_many_threads_as_it_is_worth(
    monkeypatch, count, numbers, wanted
):
    monkeypatch.setattr(threads, "thread_count", lambda: 3)
    assert threads.even_bounds(count, numbers) == wanted


def test_helpers_of_a_thread_end_when_it_lets_them_go_and_come_back_when_needed():
    kernels = pytest.importorskip("workers.generation.processor.kernels")

    def work():
        numbers, before = np.ones(4, np.float32), _thread_ids()
        for _ in range(2):
            # Two parts, whatever the number of threads that PyTorch was told.
            kernels.gelu([0, 2, 4], numbers)
            counts.append(len(_thread_ids() - before))
            threads.let_go()
            counts.append(len(_thread_ids() - before))

    library = threads.openmp()
    if library is None or library.pause is None:
        pytest.skip("This PyTorch does not bring GCC's OpenMP.")
    counts = []
    caller = threading.Thread(target=work)
    caller.start()
    caller.join(20)
    assert counts == [1, 0, 1, 0]


def _thread_ids():
    return set(Path("/proc/self/task").iterdir())
