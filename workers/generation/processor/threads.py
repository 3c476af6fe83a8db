"""Share a loop among the processor's threads.

The loops here hold no lock of Python's, and run on the threads that PyTorch's operations have. Such
a thread spins for a while after each operation, waiting for the next, so it takes a part at once;
and one more thread of our own would have to share its processor with it.
"""

import ctypes
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import structlog
import torch

log = structlog.get_logger(__name__)

Loop = Callable[..., None]
# A helper must be worth waking: so many numbers take 10 to 20 us.
_NUMBERS_PER_THREAD = 32_768
_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def thread_count() -> int:
    """How many threads a loop is worth sharing among: as many as PyTorch's operations have."""
    return torch.get_num_threads()


def share(loop: Loop, bounds: Sequence[int], *arguments: object) -> None:
    """Run ``loop(bounds[i], bounds[i + 1], *arguments)`` for each i, side by side.

    Args:
        loop: lets go of Python's lock.
        bounds: ascending; two of them run the loop in this thread alone.
        arguments: the same for all.
    """
    if len(bounds) == 2:
        loop(bounds[0], bounds[1], *arguments)
    elif (team := _team()) is not None:
        team.share(loop, bounds, *arguments)
    else:
        _share_among_helpers(loop, bounds, *arguments)


def even_bounds(count: int, numbers: int) -> list[int]:
    """Where each thread's part of a quick loop begins, as :func:`share` takes it.

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
    if (team := _team()) is not None:
        team.let_go()


class _Job(NamedTuple):
    loop: Loop
    bounds: Sequence[int]
    arguments: tuple[object, ...]
    errors: list[BaseException]


class Team:
    """The threads of the OpenMP that PyTorch brings with it, GCC's."""

    def __init__(self, library: Path) -> None:
        """Raises OSError or AttributeError where it is another."""
        openmp, quick = ctypes.CDLL(str(library)), ctypes.PyDLL(str(library))
        self._parallel = openmp.GOMP_parallel
        self._parallel.argtypes = [_REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self._parallel.restype = None
        # OpenMP 5.0 has it; 1 stands for a soft pause.
        self._pause = getattr(openmp, "omp_pause_resource_all", None)
        self._thread, self._threads = quick.omp_get_thread_num, quick.omp_get_num_threads
        self._region = _REGION(self._run)
        # Several engines may be at work; what runs is told by its number.
        self._numbers = itertools.count(1)
        self._jobs: dict[int, _Job] = {}

    def share(self, loop: Loop, bounds: Sequence[int], *arguments: object) -> None:
        """See :func:`share`."""
        number, job = next(self._numbers), _Job(loop, bounds, arguments, [])
        self._jobs[number] = job
        try:
            self._parallel(self._region, number, len(bounds) - 1, 0)
        finally:
            del self._jobs[number]
        if job.errors:
            raise job.errors[0]

    def let_go(self) -> None:
        """See :func:`let_go`."""
        if self._pause is not None:
            self._pause(1)

    def _run(self, number: int) -> None:
        """A thread's parts; there may be fewer threads than were asked for."""
        loop, bounds, arguments, errors = self._jobs[number]
        try:
            for part in range(self._thread(), len(bounds) - 1, self._threads()):
                loop(bounds[part], bounds[part + 1], *arguments)
        except BaseException as exc:  # noqa: BLE001 - raised where the others have ended
            errors.append(exc)


@cache
def _team() -> Team | None:
    """PyTorch's threads, where they are known."""
    folder = Path(torch.__file__).parent / "lib"
    for library in sorted(folder.glob("libgomp*")):
        try:
            return Team(library)
        except (OSError, AttributeError) as exc:
            log.info("openmp_unknown", library=library.name, reason=str(exc)[:200])
    return None


def _share_among_helpers(loop: Loop, bounds: Sequence[int], *arguments: object) -> None:
    """By threads of our own, which sleep while there is nothing to do."""
    parts = [_helpers().submit(loop, start, end, *arguments) for start, end in pairwise(bounds[1:])]
    loop(bounds[0], bounds[1], *arguments)
    for part in parts:
        part.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    """Makes a thread where none is idle, so no more than were ever needed at once."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="helper")
