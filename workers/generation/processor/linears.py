"""Linear layers as a processor likes them: weights reordered once, and narrower where that pays.

A model's own layers keep their weights as they were trained, row by row, and each product begins by
reordering them. The layers here keep only the reordered form; what they replace is let go, so that
a model is never in memory twice. Everything between the layers stays fp32.

All of them but one are bitwise independent of the rows beside a row (see docs/log.md), so that what
one answer is given does not depend on the others. The one is bf16 where a processor multiplies it
in tiles (AMX): oneDNN adds up in another order there for another number of rows.

The products are PyTorch's own (oneDNN and FBGEMM come with it), but for those of a single fp32 row.
"""

import itertools
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import nn

from workers.generation.processor import onednn

_INT8_MAX = 127.0
_UINT8_ZERO = 128
# The second term of an activation divides a step of the first into so many.
_FINE_STEPS = 2 * _INT8_MAX
# FBGEMM reads all weights anew for every six rows, so as many as a cache holds are read in turn.
_BLOCK_FEATURES = 16_384
# Rows of fp16 that are always summed alike, and how long the rows of a trial are.
_WHOLE_ROWS, _TRIED_FEATURES = 3, 64
# A row of zeros must not be divided by its largest value.
_TINY = 1e-20


_int8: ModuleType | None = None
_bfloat16_single: ModuleType | None = None
_int8_single: ModuleType | None = None
_single: ModuleType | None = None
try:
    from workers.generation.processor import bfloat16_row, int8_terms, single_row
except ImportError:
    # Numba has no wheel for this Python or this processor.
    pass
else:
    _int8, _single, _bfloat16_single = int8_terms, single_row, bfloat16_row
try:
    from workers.generation.processor import int8_row
except ImportError:
    # The same, or the processor lacks what it takes.
    pass
else:
    _int8_single = int8_row


class WeightKind(StrEnum):
    """How a packed layer keeps its weights."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT16 = "int16"
    INT8 = "int8"


class NeededRows:
    """Of which rows anything is still read; the packed layers of a model share one of these.

    Behind the last layer's attention no row reads another any more, so nothing is computed for
    tokens after which none is chosen.
    """

    def __init__(self) -> None:
        self._all = 0
        self._needed: torch.Tensor | None = None

    def begin(self, needed: torch.Tensor, count: int) -> None:
        """From now on only some of ``count`` rows are needed, int64 ``[num_needed]``."""
        if len(needed) < count:
            self._all, self._needed = count, needed

    def end(self) -> None:
        """All are."""
        self._needed = None

    def among(self, count: int) -> torch.Tensor | None:
        """The needed ones of a layer's ``count`` rows; None for all, as of rows of another kind."""
        return self._needed if count == self._all else None


class PackedLinear(nn.Module):
    """``x @ weight.T + bias`` for fp32 ``[..., in_features]`` on the CPU, without gradients."""

    kind: WeightKind
    rows: NeededRows | None = None
    """Tells which of them are needed; the others become zeros."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Args:
        weight: fp32 ``[out_features, in_features]``; not kept.
        bias: fp32 ``[out_features]`` or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns fp32 ``[..., out_features]``."""
        rows = x.reshape(-1, self.in_features)
        needed = None if self.rows is None else self.rows.among(len(rows))
        product = self._multiply(rows) if needed is None else self._multiply_some(rows, needed)
        return product.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """As ``nn.Linear`` shows itself, with the kind."""
        return f"{self.in_features}, {self.out_features}, {self.kind}"

    def _multiply_some(self, rows: torch.Tensor, needed: torch.Tensor) -> torch.Tensor:
        product = rows.new_zeros((len(rows), self.out_features))
        if len(needed):
            product[needed] = self._multiply(rows[needed])
        return product

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Float32Linear(PackedLinear):
    """oneDNN's own layout of the weights, nothing rounded.

    A single row is multiplied by a loop of our own, and where there is none as one of two alike:
    oneDNN itself adds up otherwise for one row than for several.
    """

    kind = WeightKind.FLOAT32

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        self._packed = onednn.reorder(weight)
        self._single = None
        if _single is not None:
            self._single = _single.single_row(self._packed, self.out_features, self.in_features)

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) != 1:
            return onednn.multiply(rows, self._packed, self._bias)
        if self._single is not None:
            product: torch.Tensor = self._single.multiply(rows.contiguous(), self._bias)
            return product
        return onednn.multiply(rows.repeat(2, 1), self._packed, self._bias)[:1]


class Float16Linear(PackedLinear):
    """Weights in fp16, products and sums in fp32 (FBGEMM): half the memory traffic.

    Only weights are rounded, so only their range matters (:func:`fits_float16`). Without AVX-512,
    some counts of rows are filled up (:func:`_filled`).
    """

    kind = WeightKind.FLOAT16

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        biases = [None] if self._bias is None else torch.split(self._bias, _BLOCK_FEATURES)
        blocks = torch.split(weight, _BLOCK_FEATURES)
        self._blocks = list(map(_packed_fp16, blocks, itertools.cycle(biases)))

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        missing = _filled(count) - count
        filled = nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows
        products = [_multiply_fp16(filled, block) for block in self._blocks]
        product = products[0] if len(products) == 1 else torch.cat(products, dim=1)
        return product[:count]


class BFloat16Linear(PackedLinear):
    """Weights and inputs in bf16, sums in fp32, for processors that multiply bf16."""

    kind = WeightKind.BFLOAT16

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        self._packed = onednn.reorder(weight.bfloat16())
        self._bias = None if self._bias is None else self._bias.bfloat16()
        self._single = None
        if _bfloat16_single is not None:
            self._single = _bfloat16_single.bfloat16_row(
                self._packed, self.out_features, self.in_features
            )

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        if self._single is not None and len(rows) == 1:
            product: torch.Tensor = self._single.multiply(rows.contiguous(), self._bias)
            return product
        return onednn.multiply(rows.bfloat16(), self._packed, self._bias).float()


class Int8Linear(PackedLinear):
    """Weights in int8 with a scale a channel, inputs in twice 8 bits with a scale a token.

    A scale for the whole batch, as dynamic quantisation usually has it, would let requests disturb
    each other, and a single term of 8 bits loses too much where one value of a token dwarfs the
    others (docs/log.md). So an input is the sum of two terms: the second holds what rounding took
    from the first, in steps 254 times as fine, and both go through one product as rows of their
    own. One answer alone waits for the weights, not for the arithmetic.
    """

    kind = WeightKind.INT8
    # Whether what rounding took from the weights is kept as a second term of theirs.
    _keeps_fine_weights = False

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        scales = weight.abs().amax(dim=1).clamp_min_(_TINY) / _INT8_MAX
        scaled = weight / scales[:, None]
        whole = scaled.round()
        self._coarse = _blocks(whole, scales)
        self._fine: list[_Whole] = []
        if self._keeps_fine_weights:
            rest = scaled.sub_(whole).mul_(_FINE_STEPS).round_()
            self._fine = _blocks(rest, scales / _FINE_STEPS)
        self._single = None
        if _int8_single is not None:
            self._single = _int8_single.int8_row(
                [_int8_single.Weights(*block.weights) for block in self._coarse],
                [_int8_single.Weights(*block.weights) for block in self._fine],
                self._bias,
                self.in_features,
                _FINE_STEPS,
                self._multiply_several,
            )

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        if self._single is not None and len(rows) == 1:
            product: torch.Tensor = self._single.multiply(rows.contiguous())
            return product
        return self._multiply_several(rows)

    def _multiply_several(self, rows: torch.Tensor) -> torch.Tensor:
        if _int8 is None:
            return self._multiply_plainly(rows)
        count, column = len(rows), 0
        terms, steps = _int8.terms_of(rows, _FINE_STEPS)
        joined = rows.new_empty((count, self.out_features))
        for coarse, fine in itertools.zip_longest(self._coarse, self._fine):
            products = coarse.multiply(terms)
            rest = None if fine is None else fine.multiply(terms[:count])
            _int8.join(products, rest, steps, self._bias, _FINE_STEPS, joined, column)
            column += products.shape[1]
        return joined

    def _multiply_plainly(self, rows: torch.Tensor) -> torch.Tensor:
        """By PyTorch's operations, which takes up to three times as long."""
        count = len(rows)
        steps = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
        steps = steps.clamp_min_(_TINY).div_(_INT8_MAX)
        scaled = rows / steps
        coarse = scaled.round()
        fine = scaled.sub_(coarse).mul_(_FINE_STEPS).round_()
        terms = torch.cat((coarse, fine)).add_(_UINT8_ZERO).to(torch.uint8)
        product = rows.new_empty((count, self.out_features))
        parts = torch.split(product, _BLOCK_FEATURES, dim=1)
        for part, coarse, fine in itertools.zip_longest(parts, self._coarse, self._fine):
            both = coarse.multiply(terms)
            torch.add(both[:count], both[count:], alpha=1 / _FINE_STEPS, out=part)
            if fine is not None:
                part.add_(fine.multiply(terms[:count]))
        product.mul_(steps)
        return product if self._bias is None else product.add_(self._bias)


class Int16Linear(Int8Linear):
    """Weights, too, in twice 8 bits: as much memory as fp16, and as exact where it matters.

    A weight is off by at most 1/64,516 of its channel's largest one, where fp16 is off by 1/4,096
    of the weight itself. Of the four products the one of both second terms, 1/64,516 of the whole,
    is left out. Processors that multiply int8 in tiles take half of fp16's time.
    """

    kind = WeightKind.INT16
    _keeps_fine_weights = True


class _Whole:
    """Weights that are whole numbers in [-127, 127], with a scale a channel."""

    def __init__(self, numbers: torch.Tensor, scales: torch.Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(numbers.to(torch.int8).contiguous(), None)
        self._sums, self._scales = numbers.sum(1).int(), scales
        self._zero_points = torch.zeros(len(scales), dtype=torch.int64)

    @property
    def weights(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :class:`.int8_row.Weights` has them."""
        return self._packed, self._sums, self._scales

    def multiply(self, terms: torch.Tensor) -> torch.Tensor:
        """Of whole numbers in [-127, 127]; oneDNN's fast kernels take unsigned inputs, so they come
        as what they have above -128, uint8 ``[num_rows, in_features]``."""
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            terms,
            1.0,
            _UINT8_ZERO,
            self._packed,
            self._scales,
            self._zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return product


def _blocks(numbers: torch.Tensor, scales: torch.Tensor) -> list[_Whole]:
    """Of as many features as are multiplied at once: what comes of all is long in a vocabulary."""
    blocks = zip(*(torch.split(part, _BLOCK_FEATURES) for part in (numbers, scales)), strict=True)
    return list(itertools.starmap(_Whole, blocks))


def fits_float16(weight: torch.Tensor) -> bool:
    """Whether fp16 can hold the weights without an overflow."""
    return bool(weight.abs().max() <= torch.finfo(torch.float16).max)


def has_float16() -> bool:
    """Whether the processor turns float16 into float32 by itself."""
    return torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}


def supported_kinds() -> tuple[WeightKind, ...]:
    """What this processor multiplies natively."""
    # torch publishes no types for the first, and the others only under names of its own.
    onednn: Any = torch.backends.mkldnn
    processor: Any = torch.cpu
    if not onednn.is_available():
        return ()
    has = {
        WeightKind.FLOAT32: True,
        WeightKind.FLOAT16: "fbgemm" in torch.backends.quantized.supported_engines,
        WeightKind.BFLOAT16: processor._is_avx512_bf16_supported(),
        # Without VNNI oneDNN adds pairs of products in 16 bits, which can overflow.
        WeightKind.INT16: processor._is_vnni_supported(),
        WeightKind.INT8: processor._is_vnni_supported(),
    }
    return tuple(kind for kind, is_there in has.items() if is_there)


def pack(kind: WeightKind, weight: torch.Tensor, bias: torch.Tensor | None) -> PackedLinear:
    """A packed layer of a kind; weights that fp16 cannot hold stay fp32."""
    if kind is WeightKind.INT8:
        return Int8Linear(weight, bias)
    if kind is WeightKind.INT16:
        return Int16Linear(weight, bias)
    if kind is WeightKind.FLOAT16 and fits_float16(weight):
        return Float16Linear(weight, bias)
    if kind is WeightKind.BFLOAT16:
        return BFloat16Linear(weight, bias)
    return Float32Linear(weight, bias)


def _packed_fp16(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        return torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
    finally:
        torch.backends.quantized.engine = engine


def _multiply_fp16(rows: torch.Tensor, packed: Any) -> torch.Tensor:
    product: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, packed)
    return product


@cache
def _filled(count: int) -> int:
    """The least number of rows, ``count`` at least, of which none depends on how many they are.

    FBGEMM cuts rows into blocks of up to six, and where AVX-512 is missing it sums the rows of a
    block of one or two in another order. How it cuts is known to it alone, so a small product
    tells; blocks of three never leave so few, and are what others are compared with.
    """
    generator = torch.Generator().manual_seed(0)
    packed = _packed_fp16(torch.randn(8, _TRIED_FEATURES, generator=generator), None)
    rows = torch.randn(-(-count // _WHOLE_ROWS) * _WHOLE_ROWS, _TRIED_FEATURES, generator=generator)
    expected = torch.cat(
        [_multiply_fp16(block, packed) for block in torch.split(rows, _WHOLE_ROWS)]
    )
    for tried in range(count, len(rows)):
        if torch.equal(_multiply_fp16(rows[:tried], packed), expected[:tried]):
            return tried
    return len(rows)
