"""The threads that PyTorch's operations have, which our own loops run on, too."""

import ctypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

import structlog
import torch

log = structlog.get_logger(__name__)

# A helper must be worth calling: so many numbers take about as long as that does, 2 us.
_NUMBERS_PER_THREAD = 4_096


def thread_count() -> int:
    """How many threads a loop is worth sharing among: as many as PyTorch's operations have."""
    return torch.get_num_threads()


def even_bounds(count: int, numbers: int) -> list[int]:
    """Where each thread's part of a quick loop begins, and the last one's end.

    Args:
        count: what is shared out: rows, say.
        numbers: that are read in all; a few are not worth a helper.
    """
    parts = max(1, min(thread_count(), count, numbers // _NUMBERS_PER_THREAD))
    return [count * part // parts for part in range(parts + 1)]


def let_go() -> None:
    """End the threads that wait to help this one, which are made anew where it needs them again.

    Each thread that ran one of PyTorch's operations has helpers of its own. Where all of them
    together are more than there are processors, GCC's OpenMP lets none of them spin for long, so
    those of the engine fall asleep between its operations, and waking them takes longer than most
    of these do (docs/log.md). So whoever is done with computing for a while says so.
    """
    library = openmp()
    if library is not None and library.pause is not None:
        library.pause(_SOFT)


class OpenMP(NamedTuple):
    """The OpenMP that PyTorch brings with it, GCC's.

    Attributes:
        parallel: the address of ``GOMP_parallel``, which runs a function on several threads.
        thread: that of ``omp_get_thread_num``.
        threads: that of ``omp_get_num_threads``.
        pause: ``omp_pause_resource_all``, of OpenMP 5.0; None where it is older.
    """

    parallel: int
    thread: int
    threads: int
    pause: "ctypes._NamedFuncPointer | None"


# What omp_pause_resource_all calls a pause that keeps settings.
_SOFT = 1


@cache
def openmp() -> OpenMP | None:
    """PyTorch's threads, where they are known."""
    folder = Path(torch.__file__).parent / "lib"
    for library in sorted(folder.glob("libgomp*")):
        try:
            return read_openmp(library)
        except (OSError, AttributeError) as exc:
            log.info("openmp_unknown", library=library.name, reason=str(exc)[:200])
    return None


def read_openmp(library: Path) -> OpenMP:
    """Raises OSError or AttributeError where it is another."""
    functions = ctypes.CDLL(str(library))
    parallel, thread, threads = (
        ctypes.cast(function, ctypes.c_void_p).value or 0
        for function in (
            functions.GOMP_parallel,
            functions.omp_get_thread_num,
            functions.omp_get_num_threads,
        )
    )
    return OpenMP(parallel, thread, threads, getattr(functions, "omp_pause_resource_all", None))
