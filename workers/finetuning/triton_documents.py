"""Attention within packed documents, forward and backward, tile by tile.

The flash kernel that comes with PyTorch takes as many steps for each document as for the longest of
a call, in blocks of 128 tokens, while most documents that a bot learns from are shorter than one.
Here a program has a tile of one document, 64 tokens at most, and there are no others; a document
that is one tile is gone through once in backward, not twice. The algorithm is that of Dao,
*FlashAttention-2* (2023, arXiv:2307.08691). No program adds to what another writes, so the same
inputs give the same bits.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.finetuning.packed_attention import TILE

_LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
_FORWARD: dict[str, int] = {"num_warps": 4, "num_stages": 2}
# Most documents are one tile, so there is nothing to fetch ahead, and registers are short.
_BACKWARD: dict[str, int] = {"num_warps": 4, "num_stages": 1}


@triton.jit
def _read(of, tokens, is_token, head, token_stride, head_stride, WIDTH: tl.constexpr):
    """Some tokens' part of a head, ``[TILE, WIDTH]``."""
    places = tokens.to(tl.int64)[:, None] * token_stride + tl.arange(0, WIDTH)[None, :]
    return tl.load(of + head * head_stride + places, mask=is_token[:, None], other=0.0)


@triton.jit
def _write(of, values, tokens, is_token, head, HEADS: tl.constexpr, WIDTH: tl.constexpr):
    """The same of a contiguous tensor."""
    places = (tokens.to(tl.int64) * HEADS + head)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    tl.store(of + places, values.to(of.dtype.element_ty), mask=is_token[:, None])


@triton.jit
def _forward(
    query, key, value, output, sums, tiles, scale, tokens,
    query_token, query_head, key_token, key_head, value_token, value_head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    tile, head = tl.program_id(0), tl.program_id(1)
    first = tl.load(tiles + 3 * tile)
    begin, end = tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    rows = first + tl.arange(0, SIZE)
    is_row = rows < end
    asked = _read(query, rows, is_row, head, query_token, query_head, WIDTH)
    highest = tl.full([SIZE], -1.0e30, tl.float32)
    total = tl.zeros([SIZE], tl.float32)
    mixed = tl.zeros([SIZE, WIDTH], tl.float32)
    for start in range(begin, first + 1, SIZE):
        columns = start + tl.arange(0, SIZE)
        is_column = columns < end
        keys = _read(key, columns, is_column, head // GROUP, key_token, key_head, WIDTH)
        values = _read(value, columns, is_column, head // GROUP, value_token, value_head, WIDTH)
        scores = tl.dot(asked, tl.trans(keys), input_precision="ieee") * (scale * _LOG2_E)
        scores = tl.where(columns[None, :] <= rows[:, None], scores, -1.0e30)
        higher = tl.maximum(highest, tl.max(scores, 1))
        fading = tl.exp2(highest - higher)
        weights = tl.exp2(scores - higher[:, None])
        total = total * fading + tl.sum(weights, 1)
        mixed = mixed * fading[:, None]
        mixed = tl.dot(weights.to(values.dtype), values, mixed, input_precision="ieee")
        highest = higher
    _write(output, mixed / total[:, None], rows, is_row, head, HEADS, WIDTH)
    # Natural logarithms, as flash has them.
    logarithms = (highest + tl.log2(total)) / _LOG2_E
    tl.store(sums + head.to(tl.int64) * tokens + rows, logarithms, mask=is_row)


@triton.jit
def _slopes(
    asked, keys, values, outer, attended, logarithms, rows, columns, is_pair, scale,
):  # fmt: skip
    """The attention of a pair of tiles and the derivative of its scores, ``[rows, columns]``."""
    scores = tl.dot(asked, tl.trans(keys), input_precision="ieee") * scale
    weights = tl.exp2((scores - logarithms[:, None]) * _LOG2_E)
    weights = tl.where(is_pair & (columns[None, :] <= rows[:, None]), weights, 0.0)
    by_weights = tl.dot(outer, tl.trans(values), input_precision="ieee")
    means = tl.sum(outer.to(tl.float32) * attended.to(tl.float32), 1)
    return weights, weights * (by_weights - means[:, None]) * scale


@triton.jit
def _backward_keys(
    outer, query, key, value, attended, sums, by_query, by_key, by_value, tiles, scale, tokens,
    outer_token, outer_head, query_token, query_head, key_token, key_head, value_token, value_head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile's keys and values; where it is a whole document, of its queries."""
    tile, group = tl.program_id(0), tl.program_id(1)
    first = tl.load(tiles + 3 * tile)
    begin, end = tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    is_whole = (first == begin) & (end <= first + SIZE)
    columns = first + tl.arange(0, SIZE)
    is_column = columns < end
    keys = _read(key, columns, is_column, group, key_token, key_head, WIDTH)
    values = _read(value, columns, is_column, group, value_token, value_head, WIDTH)
    by_keys = tl.zeros([SIZE, WIDTH], tl.float32)
    by_values = tl.zeros([SIZE, WIDTH], tl.float32)
    for member in range(GROUP):
        head = group * GROUP + member
        for start in range(first, end, SIZE):
            rows = start + tl.arange(0, SIZE)
            is_row = rows < end
            asked = _read(query, rows, is_row, head, query_token, query_head, WIDTH)
            slope = _read(outer, rows, is_row, head, outer_token, outer_head, WIDTH)
            found = _read(attended, rows, is_row, head, HEADS * WIDTH, WIDTH, WIDTH)
            logarithms = tl.load(sums + head.to(tl.int64) * tokens + rows, mask=is_row, other=0.0)
            is_pair = is_row[:, None] & is_column[None, :]
            weights, by_scores = _slopes(
                asked, keys, values, slope, found, logarithms, rows, columns, is_pair, scale
            )
            weights, by_scores = weights.to(slope.dtype), by_scores.to(asked.dtype)
            by_values = tl.dot(tl.trans(weights), slope, by_values, input_precision="ieee")
            by_keys = tl.dot(tl.trans(by_scores), asked, by_keys, input_precision="ieee")
            if is_whole:
                by_rows = tl.dot(by_scores, keys, input_precision="ieee")
                _write(by_query, by_rows, rows, is_row, head, HEADS, WIDTH)
    _write(by_key, by_keys, columns, is_column, group, HEADS // GROUP, WIDTH)
    _write(by_value, by_values, columns, is_column, group, HEADS // GROUP, WIDTH)


@triton.jit
def _backward_queries(
    outer, query, key, value, attended, sums, by_query, tiles, scale, tokens,
    outer_token, outer_head, query_token, query_head, key_token, key_head, value_token, value_head,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The gradients of a tile's queries, unless :func:`_backward_keys` has made them."""
    tile, head = tl.program_id(0), tl.program_id(1)
    first = tl.load(tiles + 3 * tile)
    begin, end = tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    if (first > begin) | (end > first + SIZE):
        rows = first + tl.arange(0, SIZE)
        is_row = rows < end
        asked = _read(query, rows, is_row, head, query_token, query_head, WIDTH)
        slope = _read(outer, rows, is_row, head, outer_token, outer_head, WIDTH)
        found = _read(attended, rows, is_row, head, HEADS * WIDTH, WIDTH, WIDTH)
        logarithms = tl.load(sums + head.to(tl.int64) * tokens + rows, mask=is_row, other=0.0)
        by_rows = tl.zeros([SIZE, WIDTH], tl.float32)
        for start in range(begin, first + 1, SIZE):
            columns = start + tl.arange(0, SIZE)
            is_column = columns < end
            keys = _read(key, columns, is_column, head // GROUP, key_token, key_head, WIDTH)
            values = _read(value, columns, is_column, head // GROUP, value_token, value_head, WIDTH)
            is_pair = is_row[:, None] & is_column[None, :]
            _, by_scores = _slopes(
                asked, keys, values, slope, found, logarithms, rows, columns, is_pair, scale
            )
            by_rows = tl.dot(by_scores.to(keys.dtype), keys, by_rows, input_precision="ieee")
        _write(by_query, by_rows, rows, is_row, head, HEADS, WIDTH)


def attend_tiles(
    query: Tensor, key: Tensor, value: Tensor, tiles: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Causal attention within each document.

    Args:
        query: ``(tokens, heads, width)``, the width a power of two from 16 on.
        key: likewise, maybe with fewer heads; likewise ``value``.
        value: see ``key``.
        tiles: int32 ``(tiles, 3)``, as :class:`workers.finetuning.packed_attention.Documents` has
            them, on the same device.
        scale: of the products.

    Returns:
        The result, like ``query``, and the logarithms of the sums, float32 ``(heads, tokens)``.
    """
    query, key, value = map(_with_lanes, (query, key, value))
    tokens, heads, width = query.shape
    output = query.new_empty(query.shape)
    sums = query.new_empty((heads, tokens), dtype=torch.float32)
    # Triton publishes no types for launching.
    kernel: Any = _forward
    kernel[(len(tiles), heads)](
        query, key, value, output, sums, tiles, scale, tokens,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2],
        HEADS=heads, GROUP=heads // key.shape[1], WIDTH=width, SIZE=TILE, **_FORWARD,
    )  # fmt: skip
    return output, sums


def attend_tiles_backward(
    outer: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    sums: Tensor,
    tiles: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of :func:`attend_tiles`.

    Args:
        outer: the gradient of the result, like ``query``.
        query: see :func:`attend_tiles`, likewise what follows.
        key: see ``query``.
        value: see ``query``.
        attended: the result, contiguous.
        sums: what was returned with it.
        tiles: see ``query``.
        scale: see ``query``.

    Returns:
        Those of ``query``, ``key`` and ``value``, contiguous.
    """
    outer, query, key, value = map(_with_lanes, (outer, query, key, value))
    tokens, heads, width = query.shape
    by_query, by_key, by_value = (one.new_empty(one.shape) for one in (query, key, value))
    strides = [size for one in (outer, query, key, value) for size in one.stride()[:2]]
    sizes = {"HEADS": heads, "GROUP": heads // key.shape[1], "WIDTH": width, "SIZE": TILE}
    inputs = (outer, query, key, value, attended, sums)
    by_keys: Any = _backward_keys
    by_keys[(len(tiles), key.shape[1])](
        *inputs, by_query, by_key, by_value, tiles, scale, tokens, *strides, **sizes, **_BACKWARD
    )
    by_queries: Any = _backward_queries
    by_queries[(len(tiles), heads)](
        *inputs, by_query, tiles, scale, tokens, *strides, **sizes, **_BACKWARD
    )
    return by_query, by_key, by_value


def _with_lanes(tensor: Tensor) -> Tensor:
    """With a last axis that is contiguous."""
    return tensor if tensor.stride(2) == 1 else tensor.contiguous()
