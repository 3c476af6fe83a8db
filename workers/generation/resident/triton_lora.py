"""Add each row's own adapter to a layer's output: one kernel, whatever the mix of adapters."""

from typing import Any

import torch
import triton
import triton.language as tl

_INPUTS, _OUTPUTS = 1024, 512


@triton.jit
def _add(
    x, output, down, up, codes, first_code, slots, x_row, output_row,
    SIZE_IN: tl.constexpr, SIZE_OUT: tl.constexpr, RANK: tl.constexpr, RANK_ROOM: tl.constexpr,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    slot = tl.load(codes + row) - first_code
    if (slot >= 0) & (slot < slots):
        ranks = tl.arange(0, RANK_ROOM)
        is_rank = ranks < RANK
        # Asked for before they are needed, so that they come meanwhile.
        outputs = part * OUTPUTS + tl.arange(0, OUTPUTS)
        is_output = outputs < SIZE_OUT
        place = slot * RANK * SIZE_OUT + ranks[:, None] * SIZE_OUT + outputs[None, :]
        upward = tl.load(up + place, mask=is_rank[:, None] & is_output[None, :], other=0.0)
        target = output + row * output_row + outputs
        before = tl.load(target, mask=is_output, other=0.0).to(tl.float32)
        inputs = tl.arange(0, INPUTS)
        products = tl.zeros([INPUTS, RANK_ROOM], tl.float32)
        for first in range(0, SIZE_IN, INPUTS):
            places = first + inputs
            is_input = places < SIZE_IN
            values = tl.load(x + row * x_row + places, mask=is_input, other=0.0)
            where = slot * SIZE_IN * RANK + places[:, None] * RANK + ranks[None, :]
            weights = tl.load(down + where, mask=is_input[:, None] & is_rank[None, :], other=0.0)
            products += values.to(tl.float32)[:, None] * weights.to(tl.float32)
        # As the product of two matrices would have it between them.
        inner = tl.sum(products, 0).to(output.dtype.element_ty).to(tl.float32)
        added = tl.sum(inner[:, None] * upward.to(tl.float32), 0)
        tl.store(target, (before + added).to(output.dtype.element_ty), mask=is_output)


def add_rows(
    x: torch.Tensor,
    output: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    codes: torch.Tensor,
    first_code: int,
) -> None:
    """Add ``x @ down[slot] @ up[slot]`` to each row of ``output``, in place.

    Args:
        x: ``[rows, in]``.
        output: ``[rows, out]``.
        down: ``[slots, in, rank]``, contiguous.
        up: ``[slots, rank, out]``, contiguous.
        codes: int64 ``[rows]``, ``first_code + slot``; others get nothing.
        first_code: of the page that the slots belong to.
    """
    slots, size_in, rank = down.shape
    size_out = up.shape[2]
    # Triton publishes no types for launching.
    kernel: Any = _add
    kernel[(x.shape[0], triton.cdiv(size_out, _OUTPUTS))](
        x, output, down, up, codes, first_code, slots, x.stride(0), output.stride(0),
        SIZE_IN=size_in, SIZE_OUT=size_out, RANK=rank,
        RANK_ROOM=triton.next_power_of_2(rank), INPUTS=_INPUTS, OUTPUTS=_OUTPUTS, num_warps=8,
    )  # fmt: skip
