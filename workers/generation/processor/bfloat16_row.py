"""One row through bf16 weights, as fast as memory gives them.

oneDNN's product of a single row begins slower than it is done, as :mod:`.int8_row` says. Where it
multiplies bf16 in tiles (AMX) it adds up in another order for each number of rows anyhow, and so
does this loop. Elsewhere a row has the same bits among any others, and oneDNN keeps its product.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from workers.generation.processor import onednn
from workers.generation.processor.loops import EXACT, pointer_to, shared
from workers.generation.processor.single_row import SingleRow

# oneDNN's blocks: so many outputs, of which so many inputs each have their weights side by side;
# inputs are filled up.
_COLUMNS, _INPUTS, _FILLED_INPUTS = 32, 2, 32
_WORD_BYTES, _HALF_BITS = 4, 16
_TRIED_ROWS, _LIKE = 3, 1e-2
_WORD, _FLOAT = ir.IntType(32), ir.FloatType()
_WORDS, _FLOATS = (ir.VectorType(kind, _COLUMNS) for kind in (_WORD, _FLOAT))

# Numba publishes no types for what follows.
_Codegen = Any


@intrinsic
def _add_products(
    _context: Any, weights: Any, inputs: Any, count: Any, sums: Any
) -> tuple[Any, _Codegen]:
    """Write 32 float32 at an address: the products of ``2 * count`` inputs, float32, with a block's
    weights, summed up by fused multiply-adds."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words, numbers = _WORDS.as_pointer(), _FLOAT.as_pointer()
        weight, number = (
            builder.inttoptr(arguments[place], kind) for place, kind in ((0, words), (1, numbers))
        )
        total = builder.inttoptr(arguments[3], _FLOATS.as_pointer())
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), f"llvm.fma.v{_COLUMNS}f32"
        )
        undefined, zeros = ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_WORDS, None)
        # What is shifted out is the weight of the first input, and what is masked the second's.
        shift, mask = (ir.Constant(_WORDS, [word] * _COLUMNS) for word in (_HALF_BITS, 0xFFFF0000))
        held = [
            cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, None)) for _ in range(_INPUTS)
        ]
        with cgutils.for_range(builder, arguments[2]) as loop:
            pairs = builder.load(builder.gep(weight, [loop.index]), align=_WORD_BYTES)
            first = builder.mul(loop.index, loop.index.type(_INPUTS))
            halves = builder.shl(pairs, shift), builder.and_(pairs, mask)
            for place, half in enumerate(halves):
                at = builder.gep(number, [builder.add(first, first.type(place))])
                alone = builder.insert_element(undefined, builder.load(at), _WORD(0))
                everywhere = builder.shuffle_vector(alone, undefined, zeros)
                row = builder.bitcast(half, _FLOATS)
                kept = held[place]
                builder.store(builder.call(fma, [everywhere, row, builder.load(kept)]), kept)
        both = builder.fadd(*(builder.load(kept) for kept in held))
        builder.store(both, total, align=_WORD_BYTES)

    return types.void(weights, inputs, count, sums), generate


@intrinsic
def _rounded(_context: Any, number: Any) -> tuple[Any, _Codegen]:
    """A float32 as the nearest bf16 has it."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _WORD)
        odd = builder.and_(builder.lshr(bits, _WORD(_HALF_BITS)), _WORD(1))
        above = builder.add(bits, builder.add(odd, _WORD(0x7FFF)))
        near = builder.bitcast(builder.and_(above, _WORD(0xFFFF0000)), _FLOAT)
        # Of what is no number, the bits must not run over.
        is_number = builder.fcmp_ordered("ord", arguments[0], arguments[0])
        return builder.select(is_number, near, arguments[0])

    return types.float32(number), generate


@intrinsic
def _from_half(_context: Any, half: Any) -> tuple[Any, _Codegen]:
    """The float32 that a uint16 is the upper half of."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = builder.shl(builder.zext(arguments[0], _WORD), _WORD(_HALF_BITS))
        return builder.bitcast(word, _FLOAT)

    return types.float32(half), generate


@shared([(types.int64,) * 6], arithmetic=EXACT)
def multiply_row(
    first: int,
    last: int,
    weights: int,
    in_features: int,
    out_features: int,
    row: int,
    bias: int,
    product: int,
) -> None:
    """A row's products with some blocks of weights; row and product are rounded to bf16.

    Args:
        first: the first block.
        last: behind the last block.
        weights: the address of bf16 ``[num_blocks, in_features / 2, 32, 2]``, with ``in_features``
            filled up to whole 32.
        in_features: of the weights.
        out_features: of the weights.
        row: the address of float32 ``[in_features]``.
        bias: that of bf16 ``[out_features]``, or 0 for none.
        product: that of float32 ``[out_features]``, written.
    """
    filled = (in_features + _FILLED_INPUTS - 1) // _FILLED_INPUTS * _FILLED_INPUTS
    sums = np.empty(_COLUMNS, np.float32)
    inputs = np.zeros(filled, np.float32)
    numbers = carray(pointer_to(row, sums), in_features)
    for i in range(in_features):
        inputs[i] = _rounded(numbers[i])
    products = carray(pointer_to(product, sums), out_features)
    biases = carray(pointer_to(bias, np.empty(0, np.uint16)), out_features)
    for block in range(first, last):
        at = weights + block * filled * (_COLUMNS * _WORD_BYTES // _INPUTS)
        _add_products(at, inputs.ctypes.data, filled // _INPUTS, sums.ctypes.data)
        column = block * _COLUMNS
        for i in range(min(_COLUMNS, out_features - column)):
            total = sums[i]
            if bias:
                total += _from_half(biases[column + i])
            products[column + i] = _rounded(total)


# By the size of weights: whether they lie as is known here.
_known_sizes: dict[tuple[int, int], bool] = {}


def bfloat16_row(weights: torch.Tensor, out_features: int, in_features: int) -> SingleRow | None:
    """What multiplies single rows with weights, where it is known how oneDNN laid them out.

    Args:
        weights: bf16, as :func:`.onednn.reorder` gave them.
        out_features: of them.
        in_features: of them.
    """
    # torch publishes no types for it.
    processor: Any = torch.cpu
    if not processor._is_amx_tile_supported():
        return None
    columns = -(-out_features // _COLUMNS) * _COLUMNS
    filled = -(-in_features // _FILLED_INPUTS) * _FILLED_INPUTS
    address = onednn.address(weights, columns * filled * (_WORD_BYTES // _INPUTS))
    if address is None:
        return None
    size = (out_features, in_features)
    row = SingleRow(weights, size, _COLUMNS, multiply_row, address, in_features, out_features)
    if size not in _known_sizes:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(_TRIED_ROWS, in_features, generator=generator)
        expected = onednn.multiply(rows.bfloat16(), weights, None)[:1].float()
        least = _LIKE * float(expected.abs().max())
        seen = row.multiply(rows[:1], None)
        _known_sizes[size] = torch.allclose(seen, expected, rtol=_LIKE, atol=least)
    return row if _known_sizes[size] else None
