"""One row through weights as oneDNN laid them out, as fast as memory gives them.

An answer alone waits for the weights, and oneDNN's product of a single row reads them at three
quarters of what memory gives (docs/log.md). Where rows are long it also adds up in other pieces
than it does for several rows, so that an answer alone would differ in its last bits from the same
answer among others. The loop here adds up as oneDNN does for several rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from workers.generation.processor import onednn
from workers.generation.processor.loops import EXACT, pointer_to, shared
from workers.generation.processor.threads import even_bounds

# oneDNN's blocks: so many outputs, of which each input has its weights side by side.
_COLUMNS = 64
# Of how many inputs it adds up the products before it adds that to the sum.
_PIECES = (512, 1024, 256, 2048, 128, 4096, 64)
_TRIED_ROWS = 3
_FLOAT_BYTES = 4
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _COLUMNS)

# Numba publishes no types for what follows.
_Codegen = Any


@intrinsic
def _add_products(
    _context: Any, weights: Any, inputs: Any, count: Any, sums: Any
) -> tuple[Any, _Codegen]:
    """Add to 64 float32 at an address the products of some inputs with a block's weights, which are
    summed up by fused multiply-adds from 0 on."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vectors, numbers = _VECTOR.as_pointer(), _FLOAT.as_pointer()
        weight, number, total = (
            builder.inttoptr(arguments[place], kind)
            for place, kind in ((0, vectors), (1, numbers), (3, vectors))
        )
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{_COLUMNS}f32"
        )
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), _COLUMNS), None)
        held = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, None))
        with cgutils.for_range(builder, arguments[2]) as loop:
            x = builder.load(builder.gep(number, [loop.index]))
            alone = builder.insert_element(undefined, x, ir.IntType(32)(0))
            everywhere = builder.shuffle_vector(alone, undefined, first)
            row = builder.load(builder.gep(weight, [loop.index]), align=_FLOAT_BYTES)
            builder.store(builder.call(fma, [everywhere, row, builder.load(held)]), held)
        added = builder.fadd(builder.load(total, align=_FLOAT_BYTES), builder.load(held))
        builder.store(added, total, align=_FLOAT_BYTES)

    return types.void(weights, inputs, count, sums), generate


@shared([(types.int64,) * 7], arithmetic=EXACT)
def multiply_row(
    first: int,
    last: int,
    weights: int,
    in_features: int,
    out_features: int,
    piece: int,
    row: int,
    bias: int,
    product: int,
) -> None:
    """A row's products with some blocks of weights; all arrays are float32 and given by address.

    Args:
        first: the first block.
        last: behind the last block.
        weights: ``[num_blocks, in_features, 64]``.
        in_features: of the weights.
        out_features: of the weights.
        piece: of how many inputs the products are summed up before they are added to the sum.
        row: ``[in_features]``.
        bias: ``[out_features]``, or 0 for none.
        product: ``[out_features]``, written.
    """
    sums = np.empty(_COLUMNS, np.float32)
    products = carray(pointer_to(product, sums), out_features)
    biases = carray(pointer_to(bias, sums), out_features)
    for block in range(first, last):
        sums[:] = np.float32(0.0)
        for start in range(0, in_features, piece):
            _add_products(
                weights + (block * in_features + start) * (_FLOAT_BYTES * _COLUMNS),
                row + start * _FLOAT_BYTES,
                min(piece, in_features - start),
                sums.ctypes.data,
            )
        column = block * _COLUMNS
        for i in range(min(_COLUMNS, out_features - column)):
            products[column + i] = sums[i] + (biases[column + i] if bias else np.float32(0.0))


class SingleRow:
    """Multiplies single rows with weights, as oneDNN laid them out."""

    def __init__(
        self,
        weights: torch.Tensor,
        size: tuple[int, int],
        columns: int,
        loop: Callable[..., None],
        *known: int,
    ) -> None:
        """Args:
        weights: opaque; they are where they are as long as somebody has them.
        size: their ``(out_features, in_features)``.
        columns: how many outputs make a block.
        loop: as :func:`multiply_row`.
        known: what it takes before the row.
        """
        self._weights, self._loop, self._known = weights, loop, known
        self._out_features, in_features = size
        blocks = -(-self._out_features // columns)
        self._bounds = np.array(even_bounds(blocks, blocks * columns * in_features), np.int64)

    def multiply(self, row: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Of float32 ``[1, in_features]``, contiguous on the CPU: ``[1, out_features]``.

        All that is done here costs twice as much as it seems: the weights that were just read have
        driven everything else out of the processor's cache.
        """
        product = torch.empty((1, self._out_features))
        self._loop(
            self._bounds,
            *self._known,
            row.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            product.data_ptr(),
        )
        return product


# By the size of weights: the piece in which oneDNN adds up there, None where that is not known.
_pieces: dict[tuple[int, int], int | None] = {}


def single_row(weights: torch.Tensor, out_features: int, in_features: int) -> SingleRow | None:
    """What multiplies single rows with weights, where it is known how oneDNN does it.

    Layout and pieces are oneDNN's own affair. So the first weights of a size are tried: a product
    that has the very bits of oneDNN's was read and summed up alike.

    Args:
        weights: float32, as :func:`.onednn.reorder` gave them.
        out_features: of them.
        in_features: of them.
    """
    columns = -(-out_features // _COLUMNS) * _COLUMNS
    address = onednn.address(weights, columns * in_features * _FLOAT_BYTES)
    # With AVX2 there are fused multiply-adds.
    if address is None or torch.backends.cpu.get_cpu_capability() not in {"AVX2", "AVX512"}:
        return None
    size = (out_features, in_features)
    if size not in _pieces:
        tried = {piece: _summing(weights, address, size, piece) for piece in _PIECES}
        _pieces[size] = _alike(tried, weights, in_features)
    piece = _pieces[size]
    return None if piece is None else _summing(weights, address, size, piece)


def _summing(weights: torch.Tensor, address: int, size: tuple[int, int], piece: int) -> SingleRow:
    out_features, in_features = size
    known = (address, in_features, out_features, piece)
    return SingleRow(weights, size, _COLUMNS, multiply_row, *known)


def _alike(tried: Mapping[int, SingleRow], weights: torch.Tensor, in_features: int) -> int | None:
    """The piece that gives what oneDNN gives for a row among several."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(_TRIED_ROWS, in_features, generator=generator)
    expected = onednn.multiply(rows, weights, None)[:1]
    for piece, single in tried.items():
        if torch.equal(single.multiply(rows[:1], None), expected):
            return piece
    return None
