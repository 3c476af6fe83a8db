"""Numbers in two terms of 8 bits, in loops of our own: PyTorch takes seven operations for it."""

import numpy as np
import torch

from workers.generation.processor import kernels
from workers.generation.processor.threads import even_bounds

_NO_BIAS, _NO_REST = np.empty(0, np.float32), np.empty((0, 0), np.float32)


def terms_of(rows: torch.Tensor, fine_steps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Write rows as sums of two terms.

    Args:
        rows: float32 ``[num_rows, size]`` on the CPU.
        fine_steps: into how many the second term divides a step of the first.

    Returns:
        uint8 ``[2 * num_rows, size]``, all first terms, then all second ones, as what they have
        above -128; and how long a step of each row's first term is, float32 ``[num_rows]``.
    """
    count, size = rows.shape
    terms = torch.empty((2 * count, size), dtype=torch.uint8)
    steps = torch.empty(count)
    kernels.quantise(
        even_bounds(count, rows.numel()),
        rows.contiguous().numpy(),
        np.float32(fine_steps),
        terms.numpy(),
        steps.numpy(),
    )
    return terms, steps


def join(
    products: torch.Tensor,
    rest: torch.Tensor | None,
    steps: torch.Tensor,
    bias: torch.Tensor | None,
    fine_steps: float,
    joined: torch.Tensor,
    column: int,
) -> None:
    """Add up what became of both terms.

    Args:
        products: of them with the weights of some columns, float32 ``[2 * num_rows, size]``.
        rest: what is added to the first terms' products, float32 ``[num_rows, size]`` or None.
        steps: as :func:`terms_of` gave them.
        bias: float32 ``[all_columns]`` or None.
        fine_steps: see :func:`terms_of`.
        joined: float32 ``[num_rows, all_columns]``, of which those columns are written.
        column: the first of them.
    """
    kernels.join_terms(
        even_bounds(len(steps), products.numel() // 2),
        products.numpy(),
        _NO_REST if rest is None else rest.numpy(),
        np.float32(fine_steps),
        steps.numpy(),
        _NO_BIAS if bias is None else bias.numpy(),
        joined.numpy(),
        column,
    )
