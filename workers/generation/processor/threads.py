"""Share a loop among the processor's threads.

PyTorch's own threads serve its own operations only. The helpers here serve loops that hold no lock
of Python's; they sleep while there is nothing to do.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


def thread_count() -> int:
    """How many threads a loop is worth sharing among: as many as PyTorch's operations have."""
    return torch.get_num_threads()


def share(loop: Callable[..., None], bounds: Sequence[int], *arguments: object) -> None:
    """Run ``loop(bounds[i], bounds[i + 1], *arguments)`` for each i, side by side.

    Args:
        loop: lets go of Python's lock.
        bounds: ascending; two of them run the loop in this thread alone.
        arguments: the same for all.
    """
    parts = [_helpers().submit(loop, start, end, *arguments) for start, end in pairwise(bounds[1:])]
    loop(bounds[0], bounds[1], *arguments)
    for part in parts:
        part.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    """Makes a thread where none is idle, so no more than were ever needed at once."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="helper")
