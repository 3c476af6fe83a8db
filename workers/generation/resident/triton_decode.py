"""Attention of one new token a sequence over an arena, in one kernel that also keeps the new key
and value.

A decoding step reads every key and value once and computes next to nothing, so memory bandwidth is
its bound; flash attention, made for many query rows, spends most of its time on rows that are not
there (docs/log.md has both). The running maximum and sum are Milakov and Gimelshein's, *Online
normalizer calculation for softmax* (2018). Triton makes the same source run on CUDA and ROCm.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from workers.generation.resident.paths import Places

_BLOCK_TOKENS = 64
# The smallest side that a matrix product of Triton's has.
_MIN_DOT = 16


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    query, key, value, keys, values, output, starts, used, scaling,
    query_row, query_head, key_row, key_head, value_row, value_head, token_stride, head_stride,
    GROUP: tl.constexpr, GROUP_ROOM: tl.constexpr, SIZE: tl.constexpr, SIZE_ROOM: tl.constexpr,
    BLOCK: tl.constexpr, IS_DOT: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start = tl.load(starts + row).to(tl.int64)
    count = tl.load(used + row) - 1
    lanes = tl.arange(0, SIZE_ROOM)
    is_lane = lanes < SIZE
    new_key = tl.load(key + row * key_row + head * key_head + lanes, mask=is_lane, other=0.0)
    new_value = tl.load(value + row * value_row + head * value_head + lanes, mask=is_lane, other=0.0)
    place = (start + count) * token_stride + head * head_stride + lanes
    tl.store(keys + place, new_key, mask=is_lane)
    tl.store(values + place, new_value, mask=is_lane)

    members = tl.arange(0, GROUP_ROOM)
    heads = head * GROUP + members
    is_query = (members < GROUP)[:, None] & is_lane[None, :]
    queries = tl.load(
        query + row * query_row + heads[:, None] * query_head + lanes[None, :],
        mask=is_query, other=0.0,
    )  # fmt: skip
    # The new token is never read back: what other programs see of it does not matter.
    highest = tl.sum(queries.to(tl.float32) * new_key.to(tl.float32)[None, :], 1) * scaling
    total = tl.full([GROUP_ROOM], 1.0, tl.float32)
    mixed = tl.zeros([GROUP_ROOM, SIZE_ROOM], tl.float32) + new_value.to(tl.float32)[None, :]

    offsets = tl.arange(0, BLOCK)
    for first in range(0, count, BLOCK):
        tokens = first + offsets
        is_token = tokens < count
        where = (start + tokens)[:, None] * token_stride + head * head_stride + lanes[None, :]
        is_there = is_token[:, None] & is_lane[None, :]
        block_keys = tl.load(keys + where, mask=is_there, other=0.0)
        block_values = tl.load(values + where, mask=is_there, other=0.0)
        if IS_DOT:
            scores = tl.dot(queries, tl.trans(block_keys), input_precision="ieee")
        else:
            # A group of one: the axis of members is made by the sum.
            products = queries.to(tl.float32) * block_keys.to(tl.float32)
            scores = tl.sum(products, 1)[None, :]
        scores = tl.where(is_token[None, :], scores * scaling, -float("inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        fading = tl.exp(highest - higher)
        weights = tl.exp(scores - higher[:, None])
        if IS_DOT:
            more = tl.dot(weights.to(block_values.dtype), block_values, input_precision="ieee")
        else:
            flat = tl.reshape(weights, [BLOCK])
            more = tl.sum(flat[:, None] * block_values.to(tl.float32), 0)[None, :]
        mixed = mixed * fading[:, None] + more
        total = total * fading + tl.sum(weights, 1)
        highest = higher

    result = (mixed / total[:, None]).to(output.dtype.element_ty)
    target = (row * tl.num_programs(1) * GROUP + heads)[:, None] * SIZE + lanes[None, :]
    tl.store(output + target, result, mask=is_query)


def decode(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """A :data:`workers.generation.resident.paths.Path` for steps in which every sequence has one
    row; the last axis of all tensors must be contiguous."""
    rows, heads, size = query.shape
    groups = keys.shape[1]
    output = torch.empty((rows, heads, size), dtype=query.dtype, device=query.device)
    group = heads // groups
    is_dot = group > 1
    launch: Any = _kernel[(rows, groups)]
    launch(
        query, key, value, keys, values, output, places.starts, places.used, scaling,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1),
        value.stride(0), value.stride(1), keys.stride(0), keys.stride(1),
        GROUP=group,
        GROUP_ROOM=max(_MIN_DOT, triton.next_power_of_2(group)) if is_dot else 1,
        SIZE=size,
        SIZE_ROOM=max(_MIN_DOT, triton.next_power_of_2(size)),
        BLOCK=_BLOCK_TOKENS,
        IS_DOT=is_dot,
        num_warps=4,
    )  # fmt: skip
    return output
