"""What lies between the products of a model of Llama's kind, compiled as in :mod:`.kernels`."""

from typing import Any

import numpy as np
from numba import types

from workers.generation.processor.kernels import MATRIX, NUMBERS, exp
from workers.generation.processor.loops import shared

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)


@shared([(MATRIX, MATRIX, NUMBERS, types.float32, MATRIX)])
def add_and_normalise(
    first: int, last: int, hidden: Any, added: Any, weight: Any, epsilon: Any, normed: Any
) -> None:
    """Add to some rows what a layer has made of them, and normalise the sums by their root mean
    square (Zhang and Sennrich, arXiv 1910.07467).

    Args:
        first: the first row.
        last: behind the last row.
        hidden: float32 ``[T, size]``, added to.
        added: float32 ``[T, size]``, or ``[0, 0]`` for nothing.
        weight: float32 ``[size]``, what the normalised rows are multiplied with.
        epsilon: added to the mean square, float32.
        normed: float32 ``[T, size]``, written.
    """
    size = hidden.shape[1]
    for number in range(first, last):
        row, result = hidden[number], normed[number]
        if len(added):
            more = added[number]
            for i in range(size):
                row[i] += more[i]
        total = _ZERO
        for i in range(size):
            total += row[i] * row[i]
        scale = _ONE / np.sqrt(total / np.float32(size) + epsilon)
        for i in range(size):
            result[i] = weight[i] * (row[i] * scale)


@shared([(MATRIX, MATRIX, MATRIX, types.int64)])
def rotate(first: int, last: int, mixed: Any, cosines: Any, sines: Any, heads: int) -> None:
    """Turn queries and keys by their positions (Su et al., arXiv 2104.09864), in place.

    Args:
        first: the first row.
        last: behind the last row.
        mixed: float32 ``[T, at least heads * head_size]``: the heads of a token side by side, those
            to be turned first.
        cosines: float32 ``[T, head_size]``, of the angles of each number of a head.
        sines: likewise.
        heads: how many to turn.
    """
    size = cosines.shape[1]
    half = size // 2
    for number in range(first, last):
        lower_cosines, upper_cosines = cosines[number, :half], cosines[number, half:]
        lower_sines, upper_sines = sines[number, :half], sines[number, half:]
        for head in range(heads):
            start = head * size
            lower = mixed[number, start : start + half]
            upper = mixed[number, start + half : start + size]
            for i in range(half):
                low, high = lower[i], upper[i]
                lower[i] = low * lower_cosines[i] - high * lower_sines[i]
                upper[i] = high * upper_cosines[i] + low * upper_sines[i]


@shared([(MATRIX, MATRIX)])
def gate(first: int, last: int, both: Any, gated: Any) -> None:
    """SiLU of the first half of some rows times their second half (SwiGLU; Shazeer, arXiv
    2002.05202).

    Args:
        first: the first row.
        last: behind the last row.
        both: float32 ``[T, 2 * size]``.
        gated: float32 ``[T, size]``, written.
    """
    size = gated.shape[1]
    for number in range(first, last):
        gates, values, result = both[number, :size], both[number, size:], gated[number]
        for i in range(size):
            x = gates[i]
            small = exp(-abs(x))
            result[i] = x * (_ONE if x > _ZERO else small) / (_ONE + small) * values[i]
