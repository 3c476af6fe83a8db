"""What PyTorch has no operation for, compiled on this processor the first time it runs.

Steps of a processor consist of many short answers, for each of which PyTorch's attention is a call
of its own in every layer. The loops here go through all of them at once, and threads share them
(:func:`.loops.shared`): what is written here as ``loop(first, last, ...)`` is called with bounds.

Keys and values are read where they lie, at addresses: each answer has memory of its own.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from workers.generation.processor.loops import EXACT, pointer_to, shared

# exp() of what lies below is taken for 0; it would be no normal float32.
_LEAST_EXPONENT = np.float32(-87.0)
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_HALF = np.float32(0.5)
# The minimax polynomial of Cephes' expf, for |x| <= ln(2) / 2.
_P0, _P1, _P2 = (
    np.float32(1.9875691500e-4),
    np.float32(1.3981999507e-3),
    np.float32(8.3334519073e-3),
)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(0.5)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
# Memory answers late: what is read so many bytes further on is asked for already.
_LINE_BYTES, _AHEAD_BYTES = 64, 2_048
# Of numbers in 8 bits; a row of zeros must not be divided by its largest value.
_INT8_MAX, _UINT8_ZERO, _UNSIGNED = np.float32(127.0), np.int32(128), np.int32(0x7FFFFFFF)
_LEAST_LARGEST = np.float32(1e-20).view(np.int32)
# GPT-2's activation is x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3)).
_GELU_LINEAR = np.float32(2 * math.sqrt(2 / math.pi))
_GELU_CUBIC = np.float32(2 * math.sqrt(2 / math.pi) * 0.044715)

# Numba publishes no types for what follows.
_Codegen = Any


@intrinsic
def _widened(_context: Any, number: Any) -> tuple[Any, _Codegen]:
    """A float32 as it is, and an int16 as the float16 whose bits it holds."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(number), generate


@intrinsic
def _narrowed(_context: Any, number: Any, like: Any) -> tuple[Any, _Codegen]:
    """What :func:`_widened` takes, of the kind that ``like`` is an array of; what float16 has no
    number for becomes its largest."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if like.dtype == types.float32:
            return arguments[0]
        number = arguments[0]
        for sign, is_beyond in ((1, ">"), (-1, "<")):
            bound = ir.Constant(ir.FloatType(), sign * float(np.finfo(np.float16).max))
            number = builder.select(builder.fcmp_ordered(is_beyond, number, bound), bound, number)
        return builder.bitcast(builder.fptrunc(number, ir.HalfType()), ir.IntType(16))

    return like.dtype(number, like), generate


@intrinsic
def _power_of_two(_context: Any, _whole: Any) -> tuple[Any, _Codegen]:
    """2 to the power of a whole float32 from -126 to 127."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        exponent = builder.add(builder.fptosi(arguments[0], word), word(127))
        return builder.bitcast(builder.shl(exponent, word(23)), ir.FloatType())

    return types.float32(types.float32), generate


@intrinsic
def _from_bits(_context: Any, _bits: Any) -> tuple[Any, _Codegen]:
    """The float32 that an int32 has the bits of."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _prefetch(_context: Any, _address: Any) -> tuple[Any, _Codegen]:
    """Ask for the cache line at an address, which may be nobody's."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        is_write, closeness, is_data = (word(number) for number in (0, 3, 1))
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(function, [pointer, is_write, closeness, is_data])

    return types.void(types.int64), generate


@njit(inline="always")
def _prefetch_all(address: int, count: int) -> None:
    """Ask for so many bytes, whole cache lines of them."""
    for place in range(address, address + count, _LINE_BYTES):
        _prefetch(place)


@njit(inline="always")
def exp(x: Any) -> Any:
    """e to the power of a float32 of at most 0."""
    whole = np.floor(x * _LOG2_E + _HALF)
    rest = x - whole * _LN2_HIGH - whole * _LN2_LOW
    series = _P0
    series = series * rest + _P1
    series = series * rest + _P2
    series = series * rest + _P3
    series = series * rest + _P4
    series = series * rest + _P5
    series = series * rest * rest + rest + _ONE
    return _ZERO if x < _LEAST_EXPONENT else series * _power_of_two(whole)


INDEXES, _ROWS = types.int64[::1], types.float32[:, :, :]
NUMBERS, MATRIX, _BYTES = types.float32[::1], types.float32[:, ::1], types.uint8[:, ::1]
_PLACES, _KEPT = types.int64[:, ::1], (types.float32, types.int16)


@shared([(INDEXES, INDEXES, INDEXES, _ROWS, _ROWS, _PLACES, kept[::1]) for kept in _KEPT])
def keep(
    first: int,
    last: int,
    starts: Any,
    lengths: Any,
    positions: Any,
    key: Any,
    value: Any,
    places: Any,
    like: Any,
) -> None:
    """Append tokens to the keys and values of some sequences.

    What is to be done is numbered: ``sequence * num_kv_heads + head``.

    Args:
        first: the first number.
        last: behind the last number.
        starts: the row of each sequence's first token in what follows, int64 ``[num_sequences]``.
        lengths: how many tokens each has there, int64 ``[num_sequences]``.
        positions: of its first one, in its sequence, int64 ``[num_sequences]``.
        key: float32 ``[T, num_kv_heads, head_size]``.
        value: float32 ``[T, num_kv_heads, value_size]``.
        places: of the sequences' keys ``[num_kv_heads, room, head_size]`` and values
            ``[num_kv_heads, room, value_size]`` the addresses, and the room; int64
            ``[num_sequences, 3]``.
        like: an array of what keys and values are kept as, float32, or int16 for float16.
    """
    kv_heads, head_size, value_size = key.shape[1], key.shape[2], value.shape[2]
    for number in range(first, last):
        sequence, head = number // kv_heads, number % kv_heads
        keys_at, values_at, room = places[sequence]
        keys = carray(pointer_to(keys_at, like), (kv_heads, room, head_size))[head]
        values = carray(pointer_to(values_at, like), (kv_heads, room, value_size))[head]
        for token in range(lengths[sequence]):
            row, position = starts[sequence] + token, positions[sequence] + token
            for i in range(head_size):
                keys[position, i] = _narrowed(key[row, head, i], like)
            for i in range(value_size):
                values[position, i] = _narrowed(value[row, head, i], like)


@shared(
    [
        (INDEXES, INDEXES, _ROWS, _ROWS, _ROWS, _ROWS, _PLACES, types.float32, kept[::1])
        for kept in _KEPT
    ]
)
def attend(  # noqa: C901 - loops within loops, which must be compiled as one
    first: int,
    last: int,
    rows: Any,
    positions: Any,
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    places: Any,
    scaling: Any,
    like: Any,
) -> None:
    """Append one token to each of some sequences and let it attend to all of its own.

    What is to be done is numbered: ``sequence * num_kv_heads + head``.

    Args:
        first: the first number.
        last: behind the last number.
        rows: of each sequence's token in what follows, int64 ``[num_sequences]``.
        positions: of each sequence's token in it, int64 ``[num_sequences]``.
        query: float32 ``[T, num_heads, head_size]``.
        key: float32 ``[T, num_kv_heads, head_size]``.
        value: float32 ``[T, num_kv_heads, value_size]``.
        output: float32 ``[T, num_heads, value_size]``, written in the sequences' rows.
        places: see :func:`keep`.
        scaling: factor of the scores, float32.
        like: see :func:`keep`.
    """
    kv_heads, head_size, value_size = key.shape[1], key.shape[2], value.shape[2]
    group = query.shape[1] // kv_heads
    longest = 0
    for sequence in range(first // kv_heads, (last + kv_heads - 1) // kv_heads):
        longest = max(longest, positions[sequence] + 1)
    scores = np.empty(longest, np.float32)
    asked = np.empty(head_size, np.float32)
    answer = np.empty(value_size, np.float32)
    key_bytes, value_bytes = head_size * like.itemsize, value_size * like.itemsize
    for number in range(first, last):
        sequence, head = number // kv_heads, number % kv_heads
        row, end = rows[sequence], positions[sequence] + 1
        keys_at, values_at, room = places[sequence]
        keys = carray(pointer_to(keys_at, like), (kv_heads, room, head_size))[head]
        values = carray(pointer_to(values_at, like), (kv_heads, room, value_size))[head]
        for i in range(head_size):
            keys[end - 1, i] = _narrowed(key[row, head, i], like)
        for i in range(value_size):
            values[end - 1, i] = _narrowed(value[row, head, i], like)
        first_key = keys_at + head * room * key_bytes + _AHEAD_BYTES
        first_value = values_at + head * room * value_bytes + _AHEAD_BYTES
        for one in range(head * group, (head + 1) * group):
            for i in range(head_size):
                asked[i] = query[row, one, i] * scaling
            largest = np.float32(-np.inf)
            for token in range(end):
                score = _ZERO
                _prefetch_all(first_key + token * key_bytes, key_bytes)
                for i in range(head_size):
                    score += asked[i] * _widened(keys[token, i])
                scores[token] = score
                largest = max(largest, score)
            total = _ZERO
            for token in range(end):
                scores[token] = exp(scores[token] - largest)
                total += scores[token]
            answer[:] = _ZERO
            for token in range(end):
                share = scores[token]
                _prefetch_all(first_value + token * value_bytes, value_bytes)
                for i in range(value_size):
                    answer[i] += share * _widened(values[token, i])
            for i in range(value_size):
                output[row, one, i] = answer[i] / total


@shared([(NUMBERS,)])
def gelu(first: int, last: int, numbers: Any) -> None:
    """GPT-2's activation of ``numbers[first:last]``, float32, in place."""
    # Indexes that could be negative would be looked at one by one.
    part = numbers[first:last]
    for i in range(len(part)):
        x = part[i]
        bent = x * (_GELU_LINEAR + _GELU_CUBIC * x * x)
        small = exp(-abs(bent))
        part[i] = x * (_ONE if bent > _ZERO else small) / (_ONE + small)


@njit(inline="always")
def quantise_row(row: Any, fine_steps: Any, coarse: Any, fine: Any) -> Any:
    """One row of :func:`quantise`; returns how long a step of its first term is."""
    # Bits without their sign grow with what they stand for; those of no number are the largest.
    bits, largest = row.view(np.int32), _LEAST_LARGEST
    for i in range(len(bits)):
        largest = max(largest, bits[i] & _UNSIGNED)
    step = _from_bits(largest) / _INT8_MAX
    per_step = _ONE / step
    for i in range(len(row)):
        scaled = row[i] * per_step
        whole = np.rint(scaled)
        rest = np.rint((scaled - whole) * fine_steps)
        coarse[i] = np.uint8(np.int32(whole) + _UINT8_ZERO)
        fine[i] = np.uint8(np.int32(rest) + _UINT8_ZERO)
    return step


@shared([(MATRIX, types.float32, _BYTES, NUMBERS)], arithmetic=EXACT)
def quantise(first: int, last: int, rows: Any, fine_steps: Any, terms: Any, steps: Any) -> None:
    """Write rows as sums of two terms of 8 bits, for :class:`.linears.Int8Linear`.

    Args:
        first: the first row.
        last: behind the last row.
        rows: float32 ``[num_rows, size]``.
        fine_steps: into how many the second term divides a step of the first.
        terms: uint8 ``[2 * num_rows, size]``, written: all first terms, then all second ones, as
            what they have above -128.
        steps: float32 ``[num_rows]``, written: how long a step of each row's first term is.
    """
    count = len(rows)
    for number in range(first, last):
        coarse, fine = terms[number], terms[count + number]
        steps[number] = quantise_row(rows[number], fine_steps, coarse, fine)


@shared([(MATRIX, MATRIX, types.float32, NUMBERS, NUMBERS, MATRIX, types.int64)], arithmetic=EXACT)
def join_terms(
    first: int,
    last: int,
    products: Any,
    rest: Any,
    fine_steps: Any,
    steps: Any,
    bias: Any,
    joined: Any,
    column: int,
) -> None:
    """Add up what became of the terms that :func:`quantise` made.

    Args:
        first: the first row.
        last: behind the last row.
        products: float32 ``[2 * num_rows, size]``.
        rest: added to the first half, float32 ``[num_rows, size]``, or ``[0, 0]`` for none.
        fine_steps: see :func:`quantise`.
        steps: see :func:`quantise`.
        bias: float32 ``[all_columns]``, or ``[0]`` for none.
        joined: float32 ``[num_rows, all_columns]``, of which ``size`` columns are written.
        column: the first of them.
    """
    count, size = len(products) // 2, products.shape[1]
    for number in range(first, last):
        coarse, fine, step = products[number], products[count + number], steps[number]
        fine_step = step / fine_steps
        row = joined[number, column : column + size]
        if len(rest):
            more = rest[number]
            for i in range(size):
                row[i] = (coarse[i] + more[i]) * step + fine[i] * fine_step
        else:
            for i in range(size):
                row[i] = coarse[i] * step + fine[i] * fine_step
        if len(bias):
            added = bias[column : column + size]
            for i in range(size):
                row[i] += added[i]
