"""What adapters add to a step's rows, in one compiled loop a layer.

Two products with a rank of 16 are little work for a lot of memory, and PyTorch begins each of them
80 us behind weights that have driven everything else out of the cache. Here four rows of an adapter
at a time go through both products while its matrices are read once. A row is summed up in the same
order whatever stands beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from workers.generation.adapter_rows import Group
from workers.generation.processor.loops import EXACT, shared
from workers.generation.processor.threads import thread_count

# Numbers in a vector, vectors in a block of outputs, and rows that are multiplied at a time.
LANES, _VECTORS, _ROWS = 16, 4, 4
# Reading an adapter takes as long as multiplying so many rows with it.
_READING_ROWS = 4
_FLOAT_BYTES = 4
_VECTOR_BYTES = LANES * _FLOAT_BYTES
_FLOAT, _WORD = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)

# Numba publishes no types for what follows.
_Codegen = Any


def _down_of(rows: int) -> Any:
    """For so many rows."""

    @intrinsic
    def down(
        _context: Any, x: Any, x_bytes: Any, matrix: Any, line_bytes: Any, count: Any, inner: Any
    ) -> tuple[Any, _Codegen]:
        """Write 16 numbers of each row, lines of ``line_bytes`` apart: the products of ``count``
        inputs with 16 columns. Places are addresses."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            x, x_bytes, matrix, line_bytes, count, inner = arguments
            held = _zeros(builder, rows)
            lines = _lines(builder, x, x_bytes, rows)
            with cgutils.for_range(builder, count) as loop:
                place = builder.add(matrix, builder.mul(loop.index, line_bytes))
                weights = builder.load(_vector_at(builder, place), align=_FLOAT_BYTES)
                offset = builder.mul(loop.index, _WORD(_FLOAT_BYTES))
                for line, kept in zip(lines, held, strict=True):
                    number = _everywhere(builder, builder.add(line, offset))
                    builder.store(_fma(builder, number, weights, builder.load(kept)), kept)
            for line, kept in zip(_lines(builder, inner, line_bytes, rows), held, strict=True):
                builder.store(builder.load(kept), _vector_at(builder, line), align=_FLOAT_BYTES)

        return types.void(x, x_bytes, matrix, line_bytes, count, inner), generate

    return down


def _up_of(rows: int, vectors: int) -> Any:
    """For so many rows and so many vectors of outputs."""

    @intrinsic
    def up(
        _context: Any, inner: Any, rank: Any, matrix: Any, line_bytes: Any, sums: Any,
        sums_bytes: Any,
    ) -> tuple[Any, _Codegen]:  # fmt: skip
        """Add to outputs of each row the products of ``rank`` numbers with as many columns. Places
        are addresses."""

        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            inner, rank, matrix, line_bytes, sums, sums_bytes = arguments
            held = [_zeros(builder, vectors) for _ in range(rows)]
            rank_bytes = builder.mul(rank, _WORD(_FLOAT_BYTES))
            lines = _lines(builder, inner, rank_bytes, rows)
            with cgutils.for_range(builder, rank) as loop:
                start = builder.add(matrix, builder.mul(loop.index, line_bytes))
                weights = [
                    builder.load(_vector_at(builder, place), align=_FLOAT_BYTES)
                    for place in _lines(builder, start, _WORD(_VECTOR_BYTES), vectors)
                ]
                offset = builder.mul(loop.index, _WORD(_FLOAT_BYTES))
                for line, kept in zip(lines, held, strict=True):
                    number = _everywhere(builder, builder.add(line, offset))
                    for weight, one in zip(weights, kept, strict=True):
                        builder.store(_fma(builder, number, weight, builder.load(one)), one)
            for line, kept in zip(_lines(builder, sums, sums_bytes, rows), held, strict=True):
                places = _lines(builder, line, _WORD(_VECTOR_BYTES), vectors)
                for place, one in zip(places, kept, strict=True):
                    pointer = _vector_at(builder, place)
                    before = builder.load(pointer, align=_FLOAT_BYTES)
                    builder.store(
                        builder.fadd(before, builder.load(one)), pointer, align=_FLOAT_BYTES
                    )

        return types.void(inner, rank, matrix, line_bytes, sums, sums_bytes), generate

    return up


def _zeros(builder: Any, count: int) -> list[Any]:
    """So many vectors that change."""
    return [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, None)) for _ in range(count)]


def _lines(builder: Any, start: Any, apart: Any, count: int) -> list[Any]:
    """So many addresses, as far apart."""
    return [builder.add(start, builder.mul(apart, _WORD(number))) for number in range(count)]


def _vector_at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, _VECTOR.as_pointer())


def _everywhere(builder: Any, address: Any) -> Any:
    """A vector of the number at an address."""
    number = builder.load(builder.inttoptr(address, _FLOAT.as_pointer()), align=_FLOAT_BYTES)
    undefined, index = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    first = ir.Constant(ir.VectorType(index, LANES), None)
    return builder.shuffle_vector(
        builder.insert_element(undefined, number, index(0)), undefined, first
    )


def _fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [x, y, z])


_down_rows, _down_row = _down_of(_ROWS), _down_of(1)
_up_rows, _up_row = _up_of(_ROWS, _VECTORS), _up_of(1, _VECTORS)
_end_rows, _end_row = _up_of(_ROWS, 1), _up_of(1, 1)

_PIECES, _MATRICES = types.int64[:, ::1], types.float32[:, :, ::1]
_ROWS_OF_ANY = types.float32[:, :]


@shared([(_PIECES, _ROWS_OF_ANY, _MATRICES, _MATRICES, _ROWS_OF_ANY)], arithmetic=EXACT)
def add_products(first: int, last: int, pieces: Any, x: Any, down: Any, up: Any, sums: Any) -> None:
    """Add to rows what their adapters make of them.

    Args:
        first: the first piece.
        last: behind the last piece.
        pieces: int64 ``[num_pieces, 3]``: the slot, the first row, and how many rows, 4 or 1.
        x: float32 ``[T, in]``, each row in one piece.
        down: float32 ``[slots, in, rank]``.
        up: float32 ``[slots, rank, out]``; ``rank`` and ``out`` are whole 16.
        sums: float32 ``[T, out]``, each row in one piece; added to.
    """
    size_in, rank, size_out = down.shape[1], down.shape[2], up.shape[2]
    x_bytes, sums_bytes = x.strides[0], sums.strides[0]
    rank_bytes, out_bytes = rank * _FLOAT_BYTES, size_out * _FLOAT_BYTES
    inner = np.empty((_ROWS, rank), np.float32)
    whole = size_out // (LANES * _VECTORS) * (LANES * _VECTORS)
    for piece in range(first, last):
        slot, row, count = pieces[piece]
        # Numba lets an array go behind its last use: asked for here, it stays for the next piece.
        inner_at = inner.ctypes.data
        x_at, sums_at = x.ctypes.data + row * x_bytes, sums.ctypes.data + row * sums_bytes
        down_at = down.ctypes.data + slot * size_in * rank_bytes
        up_at = up.ctypes.data + slot * rank * out_bytes
        for at in range(0, rank_bytes, _VECTOR_BYTES):
            if count == _ROWS:
                _down_rows(x_at, x_bytes, down_at + at, rank_bytes, size_in, inner_at + at)
            else:
                _down_row(x_at, x_bytes, down_at + at, rank_bytes, size_in, inner_at + at)
        for at in range(0, whole * _FLOAT_BYTES, _VECTORS * _VECTOR_BYTES):
            if count == _ROWS:
                _up_rows(inner_at, rank, up_at + at, out_bytes, sums_at + at, sums_bytes)
            else:
                _up_row(inner_at, rank, up_at + at, out_bytes, sums_at + at, sums_bytes)
        for at in range(whole * _FLOAT_BYTES, out_bytes, _VECTOR_BYTES):
            if count == _ROWS:
                _end_rows(inner_at, rank, up_at + at, out_bytes, sums_at + at, sums_bytes)
            else:
                _end_row(inner_at, rank, up_at + at, out_bytes, sums_at + at, sums_bytes)


Matrices = Mapping[str, torch.Tensor]


class CompiledProducts:
    """What a step adds from one page, see :class:`workers.generation.adapter_bank.Products`."""

    def __init__(self, down: Matrices, up: Matrices, groups: Sequence[Group]) -> None:
        """Args:
        down: of each layer, float32 ``[slots, in, rank]``; likewise ``up``, ``[slots, rank, out]``.
        up: see ``down``.
        groups: the rows of each slot that is in use.
        """
        self._down, self._up = down, up
        self._pieces = np.array([piece for group in groups for piece in _pieces(group)], np.int64)
        self._bounds = self._shared_out()

    def _shared_out(self) -> NDArray[np.int64]:
        """Where each thread's pieces begin."""
        work = np.cumsum(self._pieces[:, 2] + _READING_ROWS)
        parts = min(thread_count(), len(work))
        shares = np.arange(1, parts) * (int(work[-1]) / parts)
        return np.array([0, *(np.searchsorted(work, shares) + 1), len(work)], np.int64)

    def begin(self, layer: str, x: torch.Tensor) -> None:
        """Nothing can be done before the layer's output is there."""

    def add(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:
        """Add to a layer's output, in place: ``[..., in]`` and ``[..., out]``."""
        down = self._down.get(layer)
        if down is not None:
            add_products(
                self._bounds,
                self._pieces,
                x.view(-1, x.shape[-1]).numpy(),
                down.numpy(),
                self._up[layer].numpy(),
                output.view(-1, output.shape[-1]).numpy(),
            )


def _pieces(group: Group) -> Iterator[tuple[int, int, int]]:
    """Four rows at a time, and those that are left one by one."""
    fours = group.count // _ROWS * _ROWS
    for start in range(0, fours, _ROWS):
        yield group.slot, group.row + start, _ROWS
    for start in range(fours, group.count):
        yield group.slot, group.row + start, 1


def fits(down: Matrices, up: Matrices) -> bool:
    """Whether the loop can multiply such matrices."""
    return all(
        half.dtype is torch.float32 and half.shape[2] % LANES == 0
        for halves in (down, up)
        for half in halves.values()
    )
