"""A GPT-2 that decodes a few rows, in seven kernels a layer, whatever the mix of adapters.

A decoding step of a small model consists of kernels that are shorter than the time in which a
device starts one, so what counts is how few they are, and how many of the device's units each of
them keeps busy:

- :func:`add_and_normalise` adds a product to the residual stream and normalises it;
- :func:`multiply` is a linear layer of a few rows. Its inputs may be parted, so that as many units
  read its weights as there are, and whoever reads the result sums the parts up;
- :func:`attend` keeps a new key and value, and attends.

A LoRA adapter adds ``(x @ down) @ up`` (Hu et al., *LoRA*, 2021). Behind a norm, which sees whole
rows, the first half is made by the norm; the second one is as if the layer had more inputs, of
which a row has those of its own slot, all others being nought. Where a product goes into the
residual stream it is the other way round: the first half is the work of programs of their own
beside those of the product, one for each slot, and the norm that reads the product adds the second.
``inner``, what lies between the halves, is float32 ``[rows, parts, rank]`` throughout, parted as
the product is. A row without an adapter has a code outside of the page, and reads nothing of it.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from workers.generation.resident.paths import Places
from workers.generation.resident.triton_decode import FEW_PROGRAMS, attend_to, keep_and_read

# More rows than this are the libraries' business.
MOST_ROWS = 64
# The smallest side that a matrix product of Triton's has.
_MIN_DOT = 16
_FEW_ROWS, _COLUMNS = 16, 32
# Inputs that a program multiplies at a time: the most that its share is a multiple of.
_BLOCKS = (128, 64, 32, 16)
# Of what adapters add to the inputs.
_UP_INPUTS = 64


@dataclass(frozen=True)
class Rows:
    """Whose adapter each row has.

    Attributes:
        codes: int64 ``[rows]``, ``first_code + slot``; others have none.
        first_code: of the page that the slots belong to.
        slots: as many of the page's as rows have, at least.
        rank: of its adapters.
    """

    codes: torch.Tensor
    first_code: int
    slots: int
    rank: int

    @property
    def rank_room(self) -> int:
        """The next power of two."""
        return int(triton.next_power_of_2(self.rank))


@dataclass(frozen=True)
class Half:
    """One half of a layer's adapters.

    Attributes:
        weights: ``down`` ``[slots, in, rank]`` or ``up`` ``[slots, rank, out]``, contiguous.
        inner: float32 ``[rows, parts, rank]``, which the one writes and the other reads.
    """

    weights: torch.Tensor
    inner: torch.Tensor


@triton.jit
def _sum_inner(inner, row, own, PARTS: tl.constexpr, RANK: tl.constexpr, RANK_ROOM: tl.constexpr):
    """A row's ``x @ down``, ``[RANK_ROOM]``; the parts are a power of two."""
    ranks = tl.arange(0, RANK_ROOM)
    where = (row * PARTS + tl.arange(0, PARTS)[:, None]) * RANK + ranks[None, :]
    is_there = (tl.zeros([PARTS], tl.int32) == 0)[:, None] & (ranks < RANK)[None, :] & own
    return tl.sum(tl.load(inner + where, mask=is_there, other=0.0), 0)


@triton.jit
def _read_up(up, slot, own, columns, is_column,
             RANK: tl.constexpr, RANK_ROOM: tl.constexpr, SIZE_OUT: tl.constexpr):  # fmt: skip
    """Some columns of an adapter's second half, ``[RANK_ROOM, columns]``."""
    ranks = tl.arange(0, RANK_ROOM)
    where = (slot * RANK + ranks[:, None]) * SIZE_OUT + columns[None, :]
    is_there = (ranks < RANK)[:, None] & is_column[None, :] & own
    return tl.load(up + where, mask=is_there, other=0.0)


@triton.jit
def _slot_of(codes, row, first_code, slots, HAS_ADAPTERS: tl.constexpr):
    """A row's slot, and whether it has one."""
    if HAS_ADAPTERS:
        slot = tl.load(codes + row) - first_code
        own = (slot >= 0) & (slot < slots)
        slot = tl.where(own, slot, 0)
    else:
        slot = row * 0
        own = slot > 0
    return slot, own


@triton.jit
def _add_and_normalise(
    residual, product, bias, weight, shift, output, epsilon,
    codes, first_code, slots, up, up_inner, down, down_inner, part_stride,
    SIZE: tl.constexpr, ROOM: tl.constexpr, PARTS: tl.constexpr, HAS_UP: tl.constexpr,
    HAS_DOWN: tl.constexpr, INNER_PARTS: tl.constexpr, RANK: tl.constexpr,
    RANK_ROOM: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, ROOM)
    is_lane = lanes < SIZE
    ranks = tl.arange(0, RANK_ROOM)
    slot, own = _slot_of(codes, row, first_code, slots, HAS_UP or HAS_DOWN)
    # All that is far away is asked for before anything is waited for.
    if HAS_UP:
        ups = _read_up(up, slot, own, lanes, is_lane, RANK, RANK_ROOM, SIZE)
        factors = _sum_inner(up_inner, row, own, INNER_PARTS, RANK, RANK_ROOM)
    if HAS_DOWN:
        where = (slot * SIZE + lanes[:, None]) * RANK + ranks[None, :]
        is_there = is_lane[:, None] & (ranks < RANK)[None, :] & own
        downs = tl.load(down + where, mask=is_there, other=0.0)
    held = tl.load(residual + row * SIZE + lanes, mask=is_lane, other=0.0)
    scales = tl.load(weight + lanes, mask=is_lane, other=0.0).to(tl.float32)
    shifts = tl.load(shift + lanes, mask=is_lane, other=0.0).to(tl.float32)
    if PARTS > 0:
        part = held.to(tl.float32) + tl.load(bias + lanes, mask=is_lane, other=0.0).to(tl.float32)
        for number in tl.static_range(PARTS):
            added = product + number * part_stride + row * SIZE + lanes
            part += tl.load(added, mask=is_lane, other=0.0).to(tl.float32)
        if HAS_UP:
            part += tl.sum(factors[:, None] * ups.to(tl.float32), 0)
        held = part.to(residual.dtype.element_ty)
        tl.store(residual + row * SIZE + lanes, held, mask=is_lane)
    part = held.to(tl.float32)
    centred = tl.where(is_lane, part - tl.sum(part, 0) / SIZE, 0.0)
    steepness = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / SIZE + epsilon)
    result = (centred * steepness * scales + shifts).to(output.dtype.element_ty)
    tl.store(output + row * SIZE + lanes, result, mask=is_lane)
    if HAS_DOWN:
        inner = tl.sum(result.to(tl.float32)[:, None] * downs.to(tl.float32), 0)
        tl.store(down_inner + row * RANK + ranks, inner, mask=(ranks < RANK) & own)


@triton.jit
def _attend(
    mixed, keys, values, output, starts, used, scaling, token_stride, head_stride,
    WIDTH: tl.constexpr, SIZE: tl.constexpr, SIZE_ROOM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start = tl.load(starts + row).to(tl.int64)
    count = tl.load(used + row) - 1
    lanes = tl.arange(0, SIZE_ROOM)
    is_lane = lanes < SIZE
    columns = head * SIZE + lanes
    of_row = mixed + row * 3 * WIDTH + columns
    asked = tl.load(of_row, mask=is_lane, other=0.0).to(tl.float32)
    new_key = tl.load(of_row + WIDTH, mask=is_lane, other=0.0)
    new_value = tl.load(of_row + 2 * WIDTH, mask=is_lane, other=0.0)
    place = (start + count) * token_stride + head * head_stride + lanes
    new_key = keep_and_read(new_key, keys, place, is_lane)
    new_value = keep_and_read(new_value, values, place, is_lane)
    result = attend_to(
        asked * scaling, new_key, new_value, keys, values, start, count,
        head * head_stride, token_stride, lanes, is_lane, SIZE_ROOM, BLOCK,
    )  # fmt: skip
    target = output + row * WIDTH + columns
    tl.store(target, result.to(output.dtype.element_ty), mask=is_lane)


@triton.jit
def _multiply(
    x, weight, bias, output, count, codes, first_code, slots, up, up_inner, down, down_inner,
    SIZE_IN: tl.constexpr, SIZE_OUT: tl.constexpr, PARTS: tl.constexpr, SHARE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INPUTS: tl.constexpr, HAS_BIAS: tl.constexpr,
    IS_ACTIVATED: tl.constexpr, HAS_UP: tl.constexpr, HAS_DOWN: tl.constexpr,
    RANK: tl.constexpr, RANK_ROOM: tl.constexpr, UP_INPUTS: tl.constexpr,
):  # fmt: skip
    tile, part = tl.program_id(0), tl.program_id(1)
    rows = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    is_row = rows < count
    inputs = part * SHARE + tl.arange(0, INPUTS)
    asked = x + rows.to(tl.int64)[:, None] * SIZE_IN + inputs[None, :]
    if tile < SIZE_OUT // COLUMNS:
        columns = tile * COLUMNS + tl.arange(0, COLUMNS)
        weights = weight + inputs.to(tl.int64)[:, None] * SIZE_OUT + columns[None, :]
        sums = tl.zeros([ROWS, COLUMNS], tl.float32)
        for first in range(0, SHARE, INPUTS):
            values = tl.load(asked + first, mask=is_row[:, None], other=0.0)
            block = tl.load(weights + first * SIZE_OUT)
            sums = tl.dot(values, block, sums, input_precision="ieee")
        if HAS_BIAS:
            sums += tl.load(bias + columns).to(tl.float32)[None, :]
        if HAS_UP:
            slot = tl.load(codes + rows, mask=is_row, other=-1) - first_code
            for first in range(0, slots * RANK, UP_INPUTS):
                places = first + tl.arange(0, UP_INPUTS)
                own = (slot[:, None] == (places // RANK)[None, :]) & (slot < slots)[:, None]
                factors = up_inner + rows[:, None] * RANK + (places % RANK)[None, :]
                values = tl.load(factors, mask=own, other=0.0).to(x.dtype.element_ty)
                where = places.to(tl.int64)[:, None] * SIZE_OUT + columns[None, :]
                block = tl.load(up + where, mask=(places < slots * RANK)[:, None], other=0.0)
                sums = tl.dot(values, block, sums, input_precision="ieee")
        if IS_ACTIVATED:
            # The tanh form of GELU; 2 * sqrt(2 / pi) = 1.5957691216.
            bent = 1.5957691216057308 * (sums + 0.044715 * sums * sums * sums)
            sums = sums * tl.sigmoid(bent)
        target = output + (part * count + rows.to(tl.int64))[:, None] * SIZE_OUT + columns[None, :]
        tl.store(target, sums.to(output.dtype.element_ty), mask=is_row[:, None])
    elif HAS_DOWN:
        # Names of their own: what has two types in two branches does not compile.
        row_slots = tl.load(codes + rows, mask=is_row, other=-1) - first_code
        is_own = row_slots == tile - SIZE_OUT // COLUMNS
        ranks = tl.arange(0, RANK_ROOM)
        is_rank = ranks < RANK
        of_slot = down + (tile - SIZE_OUT // COLUMNS).to(tl.int64) * SIZE_IN * RANK
        downs = of_slot + inputs[:, None] * RANK + ranks[None, :]
        inner = tl.zeros([ROWS, RANK_ROOM], tl.float32)
        for begun in range(0, SHARE, INPUTS):
            asked_part = tl.load(asked + begun, mask=is_row[:, None], other=0.0)
            down_part = tl.load(downs + begun * RANK, mask=is_rank[None, :], other=0.0)
            inner = tl.dot(asked_part, down_part, inner, input_precision="ieee")
        inner_places = (rows * PARTS + part)[:, None] * RANK + ranks[None, :]
        tl.store(down_inner + inner_places, inner, mask=is_own[:, None] & is_rank[None, :])


def add_and_normalise(
    residual: torch.Tensor,
    product: tuple[torch.Tensor, torch.Tensor] | None,
    norm: Any,
    rows: Rows | None = None,
    up: Half | None = None,
    down: Half | None = None,
) -> torch.Tensor:
    """``residual += product + bias`` with a layer's adapters, and its normalisation.

    Args:
        residual: ``[rows, size]``, changed in place.
        product: ``[rows, size]`` or ``[parts, rows, size]``, contiguous, and its layer's bias
            ``[size]``; None to add nothing.
        norm: a ``torch.nn.LayerNorm``.
        rows: whose adapters; None where nobody has one.
        up: of the layer that gave the product.
        down: of the layer that takes the result; its ``inner`` has one part.

    Returns:
        ``[rows, size]``.
    """
    count, size = residual.shape
    output = torch.empty_like(residual)
    added, bias = product or (residual, residual)
    parts = 0 if product is None else added.numel() // residual.numel()
    # Triton publishes no types for launching.
    kernel: Any = _add_and_normalise
    kernel[(count,)](
        residual, added, bias, norm.weight, norm.bias, output, norm.eps,
        *_codes(residual, rows), *_half(residual, up), *_half(residual, down), count * size,
        SIZE=size, ROOM=triton.next_power_of_2(size), PARTS=parts,
        HAS_UP=up is not None, HAS_DOWN=down is not None,
        INNER_PARTS=1 if up is None else up.inner.shape[1], **_ranks(rows), num_warps=8,
    )  # fmt: skip
    return output


def multiply(
    x: torch.Tensor,
    layer: Any,
    *,
    parts: int = 1,
    is_activated: bool = False,
    rows: Rows | None = None,
    up: Half | None = None,
    down: Half | None = None,
) -> torch.Tensor:
    """A linear layer of a few rows.

    Args:
        x: ``[rows, in]``, contiguous.
        layer: ``Conv1D`` of a shape that :func:`can_multiply` knows.
        parts: of the inputs, a power of two; with more than one the bias is left to whoever sums
            them up.
        is_activated: whether GPT-2's activation is applied.
        rows: see :func:`add_and_normalise`.
        up: of this layer's adapters, to be added here; its ``inner`` has one part.
        down: of this layer's adapters, for which ``inner`` is made, in as many parts.

    Returns:
        ``[rows, out]`` of the dtype of ``x``, or float32 ``[parts, rows, out]``.
    """
    (count, size_in), size_out = x.shape, layer.weight.shape[1]
    if parts == 1:
        output = x.new_empty(count, size_out)
    else:
        output = x.new_empty((parts, count, size_out), dtype=torch.float32)
    room = _FEW_ROWS if count <= _FEW_ROWS else 2 * _FEW_ROWS
    tiles = size_out // _COLUMNS + (rows.slots if rows and down else 0)
    ranks = _ranks(rows)
    kernel: Any = _multiply
    kernel[(tiles, parts, triton.cdiv(count, room))](
        x, layer.weight, layer.bias, output, count,
        *_codes(x, rows), *_half(x, up), *_half(x, down),
        SIZE_IN=size_in, SIZE_OUT=size_out, PARTS=parts, SHARE=size_in // parts, ROWS=room,
        COLUMNS=_COLUMNS, INPUTS=_inputs_at_a_time(size_in // parts), IS_ACTIVATED=is_activated,
        HAS_BIAS=parts == 1, HAS_UP=up is not None, HAS_DOWN=down is not None,
        RANK=ranks["RANK"], RANK_ROOM=max(_MIN_DOT, ranks["RANK_ROOM"]), UP_INPUTS=_UP_INPUTS,
        num_warps=4, num_stages=4,
    )  # fmt: skip
    return output


def can_multiply(size_in: int, size_out: int, parts: int) -> bool:
    """Whether :func:`multiply` takes layers of this shape, in so many parts."""
    is_whole = size_in % (parts * _BLOCKS[-1]) == 0
    return is_whole and size_out % _COLUMNS == 0


def attend(
    mixed: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """Attention of one new token a sequence, whose key and value are kept.

    Args:
        mixed: ``[rows, 3 * width]``: queries, keys and values; contiguous.
        keys: of a layer, ``[tokens of the arena, heads, size]``; likewise ``values``.
        values: see ``keys``.
        places: where the rows belong.
        scaling: factor of the scores.

    Returns:
        ``[rows, width]``.
    """
    count, heads, size = len(mixed), keys.shape[1], keys.shape[2]
    output = mixed.new_empty(count, heads * size)
    is_few = count * heads < FEW_PROGRAMS
    kernel: Any = _attend
    kernel[(count, heads)](
        mixed, keys, values, output, places.starts, places.used, scaling,
        keys.stride(0), keys.stride(1), WIDTH=heads * size, SIZE=size,
        SIZE_ROOM=max(_MIN_DOT, triton.next_power_of_2(size)),
        BLOCK=128 if is_few else 64, num_warps=8 if is_few else 4,
    )  # fmt: skip
    return output


def _inputs_at_a_time(share: int) -> int:
    return next(block for block in _BLOCKS if share % block == 0)


def _codes(unused: torch.Tensor, rows: Rows | None) -> tuple[torch.Tensor, int, int]:
    """What kernels take; what they do not read is some tensor."""
    return (rows.codes, rows.first_code, rows.slots) if rows else (unused, 0, 0)


def _half(unused: torch.Tensor, half: Half | None) -> tuple[torch.Tensor, torch.Tensor]:
    return (half.weights, half.inner) if half else (unused, unused)


def _ranks(rows: Rows | None) -> dict[str, int]:
    return {"RANK": rows.rank if rows else 1, "RANK_ROOM": rows.rank_room if rows else 1}
