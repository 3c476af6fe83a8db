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

# The smallest side that a matrix product of Triton's has.
_MIN_DOT = 16
# With fewer programs than this the device is not full, and each should read more at a time.
FEW_PROGRAMS = 264
_LOWEST: tl.constexpr = tl.constexpr(-1.0e30)


@triton.jit
def _keep(new, kept, row, head, row_stride, head_stride, place, lanes, is_lane):
    """Read a new key or value and write it into the arena."""
    part = tl.load(new + row * row_stride + head * head_stride + lanes, mask=is_lane, other=0.0)
    return keep_and_read(part, kept, place, is_lane)


@triton.jit
def keep_and_read(part, kept, place, is_lane):
    """Write a new key or value into the arena; returns it as it is kept there, in float32."""
    part = part.to(kept.dtype.element_ty)
    tl.store(kept + place, part, mask=is_lane)
    return part.to(tl.float32)


@triton.jit
def attend_to(
    asked, new_key, new_value, keys, values, start, count, of_head, token_stride, lanes, is_lane,
    SIZE_ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What a query head with keys of its own finds among ``count`` tokens and a new one.

    Every token of a block has a running maximum, sum and mix of its own, so that threads need to
    speak to each other only once, at the end. The new token's own key and value were never written
    by anybody else, nor are they read back.
    """
    offsets = tl.arange(0, BLOCK)
    highest = tl.full([BLOCK], _LOWEST, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    mixed = tl.zeros([BLOCK, SIZE_ROOM], tl.float32)
    for first in range(0, count, BLOCK):
        tokens = first + offsets
        is_token = tokens < count
        where = (start + tokens)[:, None] * token_stride + of_head + lanes[None, :]
        is_there = is_token[:, None] & is_lane[None, :]
        block_keys = tl.load(keys + where, mask=is_there, other=0.0).to(tl.float32)
        block_values = tl.load(values + where, mask=is_there, other=0.0).to(tl.float32)
        scores = tl.sum(asked[None, :] * block_keys, 1)
        scores = tl.where(is_token, scores, _LOWEST)
        higher = tl.maximum(highest, scores)
        fading = tl.exp(highest - higher)
        weights = tl.where(is_token, tl.exp(scores - higher), 0.0)
        mixed = mixed * fading[:, None] + weights[:, None] * block_values
        total = total * fading + weights
        highest = higher
    new_score = tl.sum(asked * new_key, 0)
    top = tl.maximum(tl.max(highest, 0), new_score)
    shares = tl.exp(highest - top)
    new_weight = tl.exp(new_score - top)
    mass = tl.sum(total * shares, 0) + new_weight
    return (tl.sum(mixed * shares[:, None], 0) + new_weight * new_value) / mass


@triton.jit
def _single(
    query, key, value, keys, values, output, starts, used, scaling,
    query_row, query_head, key_row, key_head, value_row, value_head, token_stride, head_stride,
    SIZE: tl.constexpr, SIZE_ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each query head has keys of its own."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start = tl.load(starts + row).to(tl.int64)
    count = tl.load(used + row) - 1
    lanes = tl.arange(0, SIZE_ROOM)
    is_lane = lanes < SIZE
    place = (start + count) * token_stride + head * head_stride + lanes
    new_key = _keep(key, keys, row, head, key_row, key_head, place, lanes, is_lane)
    new_value = _keep(value, values, row, head, value_row, value_head, place, lanes, is_lane)
    asked = tl.load(query + row * query_row + head * query_head + lanes, mask=is_lane, other=0.0)
    result = attend_to(
        asked.to(tl.float32) * scaling, new_key, new_value, keys, values, start, count,
        head * head_stride, token_stride, lanes, is_lane, SIZE_ROOM, BLOCK,
    )  # fmt: skip
    target = (row * tl.num_programs(1) + head) * SIZE + lanes
    tl.store(output + target, result.to(output.dtype.element_ty), mask=is_lane)


@triton.jit
def _grouped(
    query, key, value, keys, values, output, starts, used, scaling,
    query_row, query_head, key_row, key_head, value_row, value_head, token_stride, head_stride,
    GROUP: tl.constexpr, GROUP_ROOM: tl.constexpr,
    SIZE: tl.constexpr, SIZE_ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Several query heads share their keys, which are read once for all of them."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start = tl.load(starts + row).to(tl.int64)
    count = tl.load(used + row) - 1
    lanes = tl.arange(0, SIZE_ROOM)
    is_lane = lanes < SIZE
    place = (start + count) * token_stride + head * head_stride + lanes
    new_key = _keep(key, keys, row, head, key_row, key_head, place, lanes, is_lane)
    new_value = _keep(value, values, row, head, value_row, value_head, place, lanes, is_lane)

    members = tl.arange(0, GROUP_ROOM)
    heads = head * GROUP + members
    is_query = (members < GROUP)[:, None] & is_lane[None, :]
    asked = tl.load(
        query + row * query_row + heads[:, None] * query_head + lanes[None, :],
        mask=is_query, other=0.0,
    )  # fmt: skip
    highest = tl.sum(asked.to(tl.float32) * new_key[None, :], 1) * scaling
    total = tl.full([GROUP_ROOM], 1.0, tl.float32)
    mixed = tl.zeros([GROUP_ROOM, SIZE_ROOM], tl.float32) + new_value[None, :]

    offsets = tl.arange(0, BLOCK)
    for first in range(0, count, BLOCK):
        tokens = first + offsets
        is_token = tokens < count
        where = (start + tokens)[:, None] * token_stride + head * head_stride + lanes[None, :]
        is_there = is_token[:, None] & is_lane[None, :]
        block_keys = tl.load(keys + where, mask=is_there, other=0.0)
        block_values = tl.load(values + where, mask=is_there, other=0.0)
        scores = tl.dot(asked, tl.trans(block_keys), input_precision="ieee")
        scores = tl.where(is_token[None, :], scores * scaling, _LOWEST)
        higher = tl.maximum(highest, tl.max(scores, 1))
        fading = tl.exp(highest - higher)
        weights = tl.exp(scores - higher[:, None])
        more = tl.dot(weights.to(block_values.dtype), block_values, input_precision="ieee")
        mixed = mixed * fading[:, None] + more
        total = total * fading + tl.sum(weights, 1)
        highest = higher

    result = (mixed / total[:, None]).to(output.dtype.element_ty)
    target = (row * tl.num_programs(1) * GROUP + heads)[:, None] * SIZE + lanes[None, :]
    tl.store(output + target, result, mask=is_query)


def triton_decode(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """A :class:`workers.generation.resident.paths.Path` for steps in which every sequence has one
    row; the last axis of all tensors must be contiguous."""
    rows, heads, size = query.shape
    groups = keys.shape[1]
    output = torch.empty((rows, heads, size), dtype=query.dtype, device=query.device)
    group = heads // groups
    is_few = rows * groups < FEW_PROGRAMS
    sizes = {"SIZE": size, "SIZE_ROOM": max(_MIN_DOT, triton.next_power_of_2(size))}
    if group > 1:
        room = max(_MIN_DOT, triton.next_power_of_2(group))
        sizes |= {"GROUP": group, "GROUP_ROOM": room}
    # Triton publishes no types for launching.
    kernel: Any = _grouped if group > 1 else _single
    kernel[(rows, groups)](
        query, key, value, keys, values, output, places.starts, places.used, scaling,
        query.stride(0), query.stride(1), key.stride(0), key.stride(1),
        value.stride(0), value.stride(1), keys.stride(0), keys.stride(1),
        **sizes, BLOCK=128 if is_few else 64, num_warps=8 if is_few else 4,
    )  # fmt: skip
    return output
