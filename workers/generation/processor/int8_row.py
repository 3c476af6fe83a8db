"""One row through weights of 8 bits, read where oneDNN laid them out.

An answer alone waits for the weights. oneDNN's product of so little begins slower than it is done,
and three calls in a row make one of two terms of 8 bits: the loop here does all of it while it
reads the weights once. Sums of whole numbers have no order, so a row alone has the bits that it has
among others.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import binding, ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from workers.generation.processor import onednn
from workers.generation.processor.kernels import INDEXES, NUMBERS, quantise_row
from workers.generation.processor.loops import EXACT, pointer_to, shared
from workers.generation.processor.threads import even_bounds

# oneDNN's blocks: so many outputs, of which so many inputs each have their weights side by side;
# inputs are filled up.
_COLUMNS, _INPUTS, _FILLED_INPUTS = 64, 4, 64
_ZERO_POINT, _TRIED_ROWS = 128, 3
_LANES = 16
_VECTORS = _COLUMNS // _LANES
_DOT = "llvm.x86.avx512.vpdpbusd.512"
_WORD = ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, _LANES)

# Numba publishes no types for what follows.
_Codegen = Any


def _has_dot_products() -> bool:
    try:
        return bool(binding.get_host_cpu_features().get("avx512vnni"))
    except RuntimeError:
        # LLVM cannot tell on this system.
        return False


if not _has_dot_products():
    # What follows has no meaning for such a processor, and compiling it would end the process.
    raise ImportError("This processor has no dot products of 64 numbers of 8 bits (AVX-512 VNNI).")


@intrinsic
def _dot_products(
    _context: Any, weights: Any, terms: Any, fine_terms: Any, count: Any, sums: Any
) -> tuple[Any, _Codegen]:
    """Write two times 64 int32 at an address: the dot products of a block's weights with
    ``4 * count`` inputs of each term, uint8 at addresses of their own."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vectors, words = _VECTOR.as_pointer(), _WORD.as_pointer()
        weight, total = (builder.inttoptr(arguments[place], vectors) for place in (0, 4))
        inputs = [builder.inttoptr(arguments[place], words) for place in (1, 2)]
        dot = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), _DOT
        )
        zeros, undefined = ir.Constant(_VECTOR, None), ir.Constant(_VECTOR, ir.Undefined)
        held = [cgutils.alloca_once_value(builder, zeros) for _ in range(2 * _VECTORS)]
        with cgutils.for_range(builder, arguments[3]) as loop:
            start = builder.mul(loop.index, loop.index.type(_VECTORS))
            places = [builder.add(start, start.type(place)) for place in range(_VECTORS)]
            rows = [builder.load(builder.gep(weight, [at]), align=1) for at in places]
            for number, word in enumerate(inputs):
                four = builder.load(builder.gep(word, [loop.index]), align=1)
                alone = builder.insert_element(undefined, four, _WORD(0))
                everywhere = builder.shuffle_vector(alone, undefined, zeros)
                for place, row in enumerate(rows):
                    kept = held[number * _VECTORS + place]
                    builder.store(builder.call(dot, [builder.load(kept), everywhere, row]), kept)
        for place, kept in enumerate(held):
            builder.store(builder.load(kept), builder.gep(total, [_WORD(place)]), align=1)

    return types.void(weights, terms, fine_terms, count, sums), generate


@shared([(INDEXES, NUMBERS, types.float32, NUMBERS, types.int64)], arithmetic=EXACT)
def multiply_row(
    first: int,
    last: int,
    known: Any,
    row: Any,
    fine_steps: Any,
    product: Any,
    column: int,
) -> None:
    """A row's products with some blocks of weights.

    Args:
        first: the first block.
        last: behind the last block.
        known: int64 ``[6]`` of the weights: how many outputs they have, and the addresses of the
            blocks, int8 ``[num_blocks, in_features / 4, 64, 4]`` with ``in_features`` filled up to
            whole 64; of the blocks of their fine terms, or 0; of ``128 * weights.sum(1)`` of both,
            int32 ``[1 or 2, out_features]``; of how long a step of both is, float32
            ``[1 or 2, out_features]``; and of the biases of all columns, float32, or 0.
        row: float32 ``[in_features]``.
        fine_steps: see :func:`.kernels.quantise`.
        product: float32 ``[all_columns]``, of which ``out_features`` are written.
        column: the first of them.
    """
    out_features, weights, fine_weights, zeros_at, scales_at, biases_at = known
    groups = (len(row) + _INPUTS - 1) // _INPUTS
    filled = (len(row) + _FILLED_INPUTS - 1) // _FILLED_INPUTS * _FILLED_INPUTS
    coarse, fine = np.zeros(filled, np.uint8), np.zeros(filled, np.uint8)
    step = quantise_row(row, fine_steps, coarse, fine)
    fine_step = step / fine_steps
    sums = np.empty((4, _COLUMNS), np.int32)
    zeros = carray(pointer_to(zeros_at, sums), (2, out_features))
    scales = carray(pointer_to(scales_at, row), (2, out_features))
    biases = carray(pointer_to(biases_at, row), column + out_features)
    for block in range(first, last):
        at = block * filled * _COLUMNS
        # Numba lets an array go behind its last use: asked for here, both stay for the next block.
        terms, fine_terms = coarse.ctypes.data, fine.ctypes.data
        _dot_products(weights + at, terms, fine_terms, groups, sums.ctypes.data)
        if fine_weights:
            _dot_products(fine_weights + at, terms, fine_terms, groups, sums[2].ctypes.data)
        for i in range(min(_COLUMNS, out_features - block * _COLUMNS)):
            output = block * _COLUMNS + i
            large = np.float32(sums[0, i] - zeros[0, output]) * scales[0, output]
            small = np.float32(sums[1, i] - zeros[0, output]) * scales[0, output]
            if fine_weights:
                large += np.float32(sums[2, i] - zeros[1, output]) * scales[1, output]
            joined = large * step + small * fine_step
            product[column + output] = joined + biases[column + output] if biases_at else joined


class Weights(NamedTuple):
    """Weights of some outputs, as oneDNN laid them out.

    Attributes:
        packed: whole numbers in [-127, 127], ``[out_features, in_features]``; opaque.
        sums: of each output's, int32 ``[out_features]``.
        scales: how long a step of each output's is, float32 ``[out_features]``.
    """

    packed: torch.Tensor
    sums: torch.Tensor
    scales: torch.Tensor


class Int8Row:
    """Multiplies single rows with weights of 8 bits, or with those of twice 8 bits."""

    def __init__(self, parts: Sequence["_Part"], fine_steps: float, out_features: int) -> None:
        """Use :func:`int8_row`, which knows how the weights lie."""
        self._parts, self._fine_steps = parts, np.float32(fine_steps)
        self._out_features = out_features

    def multiply(self, row: torch.Tensor) -> torch.Tensor:
        """Of float32 ``[1, in_features]``, contiguous on the CPU: ``[1, out_features]``."""
        product = torch.empty((1, self._out_features))
        numbers, products = row.numpy()[0], product.numpy()[0]
        for part in self._parts:
            multiply_row(part.bounds, part.known, numbers, self._fine_steps, products, part.column)
        return product


class _Part(NamedTuple):
    """What :func:`multiply_row` knows of weights, and what must not be let go meanwhile."""

    column: int
    bounds: NDArray[np.int64]
    known: NDArray[np.int64]
    held: tuple[object, ...]


# By the size of weights and whether they have fine terms: whether they lie as is known here.
_known_sizes: dict[tuple[int, int, bool], bool] = {}


def int8_row(
    coarse: Sequence[Weights],
    fine: Sequence[Weights],
    bias: torch.Tensor | None,
    in_features: int,
    fine_steps: float,
    multiply: Callable[[torch.Tensor], torch.Tensor],
) -> Int8Row | None:
    """What multiplies single rows with weights, where it is known how oneDNN laid them out.

    Args:
        coarse: the weights of some outputs after the other.
        fine: their fine terms, or nothing.
        bias: float32, of all outputs, or None.
        in_features: of them.
        fine_steps: see :func:`.kernels.quantise`.
        multiply: what multiplies several rows, ``[num_rows, in_features]``. The first weights of a
            size are tried: what has the very bits of its product was read alike.
    """
    parts, column = [], 0
    for whole, rest in itertools.zip_longest(coarse, fine):
        part = _part(whole, rest, bias, in_features, column)
        if part is None:
            return None
        parts.append(part)
        column += len(whole.sums)
    row = Int8Row(parts, fine_steps, column)
    size = (column, in_features, bool(fine))
    if size not in _known_sizes:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(_TRIED_ROWS, in_features, generator=generator)
        _known_sizes[size] = torch.equal(row.multiply(rows[:1]), multiply(rows)[:1])
    return row if _known_sizes[size] else None


def _part(
    whole: Weights,
    rest: Weights | None,
    bias: torch.Tensor | None,
    in_features: int,
    column: int,
) -> _Part | None:
    count = len(whole.sums)
    blocks = -(-count // _COLUMNS)
    filled = -(-in_features // _FILLED_INPUTS) * _FILLED_INPUTS
    # Behind the blocks are sums of 32 bits, which oneDNN makes for inputs with a sign.
    num_bytes = blocks * _COLUMNS * (filled + 4)
    terms = [whole] if rest is None else [whole, rest]
    addresses = [onednn.address(term.packed, num_bytes) for term in terms]
    if None in addresses:
        return None
    zeros = torch.stack([term.sums * _ZERO_POINT for term in terms])
    scales = torch.stack([term.scales for term in terms])
    places = (*addresses, 0)[:2]
    biases = 0 if bias is None else bias.data_ptr()
    known = np.array([count, *places, zeros.data_ptr(), scales.data_ptr(), biases], np.int64)
    bounds = np.array(even_bounds(blocks, len(terms) * count * in_features), np.int64)
    return _Part(column, bounds, known, (terms, zeros, scales, bias))
