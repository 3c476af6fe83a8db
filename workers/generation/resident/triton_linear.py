"""A linear layer of one row: each weight is read once, so memory bandwidth is the bound, and what
matrix products of libraries do for many rows is only in the way."""

# A kernel's sizes are in capitals, as Triton's own documents write them.
# ruff: noqa: N803
from typing import Any

import torch
import triton
import triton.language as tl

# Outputs of a program, so that even the narrow layers of a small model give every processor of a
# device something to do; inputs that it reads at a time.
_OUTPUTS, _INPUTS = 16, 1024


@triton.jit
def _multiply(  # type: ignore[no-untyped-def]
    x, weight, bias, output, SIZE_IN: tl.constexpr, SIZE_OUT: tl.constexpr,
    IS_BY_INPUT: tl.constexpr, HAS_BIAS: tl.constexpr, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr,
):  # fmt: skip
    outputs = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    inputs = tl.arange(0, INPUTS)
    is_output = outputs < SIZE_OUT
    products = tl.zeros([INPUTS, OUTPUTS], tl.float32)
    for first in tl.static_range(0, SIZE_IN, INPUTS):
        places = first + inputs
        is_input = places < SIZE_IN
        values = tl.load(x + places, mask=is_input, other=0.0).to(tl.float32)
        if IS_BY_INPUT:
            where = places[:, None] * SIZE_OUT + outputs[None, :]
        else:
            where = outputs[None, :] * SIZE_IN + places[:, None]
        weights = tl.load(weight + where, mask=is_input[:, None] & is_output[None, :], other=0.0)
        products += values[:, None] * weights.to(tl.float32)
    result = tl.sum(products, 0)
    if HAS_BIAS:
        result += tl.load(bias + outputs, mask=is_output, other=0.0).to(tl.float32)
    tl.store(output + outputs, result.to(output.dtype.element_ty), mask=is_output)


def multiply_row(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, is_by_input: bool
) -> torch.Tensor:
    """``x @ weight + bias`` of a single row.

    Args:
        x: ``[..., in]`` with one row.
        weight: contiguous ``[in, out]`` where ``is_by_input``, else ``[out, in]``.
        bias: ``[out]`` or None.
        is_by_input: see ``weight``.
    """
    size_in, size_out = weight.shape if is_by_input else weight.shape[::-1]
    output = torch.empty((*x.shape[:-1], size_out), dtype=x.dtype, device=x.device)
    # Triton publishes no types for launching.
    kernel: Any = _multiply
    kernel[(triton.cdiv(size_out, _OUTPUTS),)](
        x.contiguous(), weight, weight if bias is None else bias, output,
        SIZE_IN=size_in, SIZE_OUT=size_out, IS_BY_INPUT=is_by_input, HAS_BIAS=bias is not None,
        INPUTS=min(_INPUTS, triton.next_power_of_2(size_in)), OUTPUTS=_OUTPUTS, num_warps=8,
    )  # fmt: skip
    return output
