"""The library that PyTorch multiplies with on processors, as far as PyTorch lets it through."""

import os
from typing import Any

import torch

# It makes code for each size of product and keeps the latest 1,024: with ever other counts of rows
# 130 MB of it, though a step needs no more than 15. Read where the first product is made.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
# It lays weights out for about so many rows; between 1 and 256 it chose alike.
_LIKELY_ROWS = 16
# PyTorch publishes no types for it.
_operations: Any = torch.ops.mkldnn


def reorder(weight: torch.Tensor) -> torch.Tensor:
    """Weights ``[out_features, in_features]`` as it likes to read them; opaque."""
    reordered: torch.Tensor = _operations._reorder_linear_weight(weight.contiguous(), _LIKELY_ROWS)
    return reordered


def multiply(
    rows: torch.Tensor, reordered: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Rows ``[num_rows, in_features]`` with such weights: ``[num_rows, out_features]``."""
    product: torch.Tensor = _operations._linear_pointwise(rows, reordered, bias, "none", [], "")
    return product


def address(reordered: torch.Tensor, num_bytes: int) -> int | None:
    """Where such weights lie; None where they are of another size, or this PyTorch does not say."""
    if not hasattr(_operations, "data_ptr") or _operations._nbytes(reordered) != num_bytes:
        return None
    place: int = _operations.data_ptr(reordered)
    return place
