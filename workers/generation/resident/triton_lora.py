"""Add each row's own adapter to a layer's output, whatever the mix of adapters.

Two kernels: the first half needs only the layer's input, so it runs beside the layer's own product.
"""

from typing import Any

import torch
import triton
import triton.language as tl

_INPUTS, _OUTPUTS = 1024, 512


@triton.jit
def _down(
    x, inner, down, codes, first_code, slots, x_row,
    SIZE_IN: tl.constexpr, RANK: tl.constexpr, RANK_ROOM: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    slot = tl.load(codes + row) - first_code
    if (slot >= 0) & (slot < slots):
        ranks = tl.arange(0, RANK_ROOM)
        is_rank = ranks < RANK
        inputs = tl.arange(0, INPUTS)
        products = tl.zeros([INPUTS, RANK_ROOM], tl.float32)
        for first in range(0, SIZE_IN, INPUTS):
            places = first + inputs
            is_input = places < SIZE_IN
            values = tl.load(x + row * x_row + places, mask=is_input, other=0.0)
            where = slot * SIZE_IN * RANK + places[:, None] * RANK + ranks[None, :]
            weights = tl.load(down + where, mask=is_input[:, None] & is_rank[None, :], other=0.0)
            products += values.to(tl.float32)[:, None] * weights.to(tl.float32)
        result = tl.sum(products, 0).to(inner.dtype.element_ty)
        tl.store(inner + row * RANK + ranks, result, mask=is_rank)


@triton.jit
def _up(
    inner, output, up, codes, first_code, slots, output_row,
    SIZE_OUT: tl.constexpr, RANK: tl.constexpr, RANK_ROOM: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(codes + row) - first_code
    if (slot >= 0) & (slot < slots):
        ranks = tl.arange(0, RANK_ROOM)
        is_rank = ranks < RANK
        outputs = part * OUTPUTS + tl.arange(0, OUTPUTS)
        is_output = outputs < SIZE_OUT
        factors = tl.load(inner + row * RANK + ranks, mask=is_rank, other=0.0).to(tl.float32)
        where = slot * RANK * SIZE_OUT + ranks[:, None] * SIZE_OUT + outputs[None, :]
        weights = tl.load(up + where, mask=is_rank[:, None] & is_output[None, :], other=0.0)
        target = output + row * output_row + outputs
        before = tl.load(target, mask=is_output, other=0.0).to(tl.float32)
        added = tl.sum(factors[:, None] * weights.to(tl.float32), 0)
        tl.store(target, (before + added).to(output.dtype.element_ty), mask=is_output)


def multiply_down(
    x: torch.Tensor, inner: torch.Tensor, down: torch.Tensor, codes: torch.Tensor, first_code: int
) -> None:
    """Write ``x @ down[slot]`` of each row that has a slot.

    Args:
        x: ``[rows, in]``.
        inner: ``[rows, rank]``, contiguous; rows without a slot stay as they are.
        down: ``[slots, in, rank]``, contiguous.
        codes: int64 ``[rows]``, ``first_code + slot``; others have none.
        first_code: of the page that the slots belong to.
    """
    slots, size_in, rank = down.shape
    # Triton publishes no types for launching.
    kernel: Any = _down
    kernel[(x.shape[0],)](
        x, inner, down, codes, first_code, slots, x.stride(0), SIZE_IN=size_in, RANK=rank,
        RANK_ROOM=triton.next_power_of_2(rank), INPUTS=_INPUTS, num_warps=8,
    )  # fmt: skip


def add_up(
    inner: torch.Tensor,
    output: torch.Tensor,
    up: torch.Tensor,
    codes: torch.Tensor,
    first_code: int,
) -> None:
    """Add ``inner @ up[slot]`` to each row of ``output`` that has a slot, in place.

    Args:
        inner: ``[rows, rank]``, contiguous.
        output: ``[rows, out]``.
        up: ``[slots, rank, out]``, contiguous.
        codes: see :func:`multiply_down`.
        first_code: see :func:`multiply_down`.
    """
    slots, rank, size_out = up.shape
    kernel: Any = _up
    kernel[(output.shape[0], triton.cdiv(size_out, _OUTPUTS))](
        inner, output, up, codes, first_code, slots, output.stride(0), SIZE_OUT=size_out,
        RANK=rank, RANK_ROOM=triton.next_power_of_2(rank), OUTPUTS=_OUTPUTS, num_warps=4,
    )  # fmt: skip
