"""Give a model the linear layers that are fastest on this processor."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

from workers.generation.errors import ModelUnreadableError
from workers.generation.linears import (
    PackedLinear,
    WeightKind,
    fits_float16,
    pack,
    supported_kinds,
)

AUTOMATIC = "auto"
# One answer, a full batch, and a piece of a prompt.
_MEASURED_ROWS = (1, 16, 128)
_REPEATS = 3
# A narrower kind must be clearly faster, or the more exact one is kept.
_WORTHWHILE = 0.9
# From the most exact on; int8 is only taken where it is asked for.
_CANDIDATES = (WeightKind.FLOAT32, WeightKind.FLOAT16, WeightKind.BFLOAT16)

Weights = tuple[torch.Tensor, torch.Tensor | None]
Chooser = Callable[[torch.Tensor], WeightKind]


@torch.inference_mode()
def pack_model(model: PreTrainedModel, wish: str) -> dict[str, int]:
    """Replace a model's linear layers, in place; GPT-2's ``Conv1D`` is one too.

    Args:
        model: in fp32 on the CPU.
        wish: a :class:`WeightKind`, or ``auto``, which measures each shape of weights with those
            kinds whose perplexity is known to stay with fp32's.

    Returns:
        How many layers there are of each kind. Empty where the processor has no packed layers; the
        model is as it was then.

    Raises:
        ModelUnreadableError: the processor does not have the kind.
    """
    supported = supported_kinds()
    choose = _chooser(wish, supported)
    if not supported:
        return {}
    counts: dict[str, int] = {}
    for parent, name, layer in list(_linears(model)):
        weight, bias = _weights(layer)
        packed = pack(choose(weight), weight, bias)
        setattr(parent, name, packed)
        counts[packed.kind] = counts.get(packed.kind, 0) + 1
    fuse_activations(model)
    return counts


def _chooser(wish: str, supported: tuple[WeightKind, ...]) -> Chooser:
    if wish == AUTOMATIC:
        return _Measuring(supported)
    kind = WeightKind(wish)
    if kind not in supported and kind is not WeightKind.FLOAT32:
        raise ModelUnreadableError(
            f"This processor has no {kind} products; set generation.dtype to auto or float32.",
            dtype=wish,
        )
    return lambda _weight: kind


class _Measuring:
    """Chooses by the clock, once for each shape."""

    def __init__(self, supported: tuple[WeightKind, ...]) -> None:
        self._candidates = [kind for kind in _CANDIDATES if kind in supported]
        self._chosen: dict[torch.Size, WeightKind] = {}

    def __call__(self, weight: torch.Tensor) -> WeightKind:
        if weight.shape not in self._chosen:
            self._chosen[weight.shape] = self._fastest(weight)
        return self._chosen[weight.shape]

    def _fastest(self, weight: torch.Tensor) -> WeightKind:
        best, best_seconds = WeightKind.FLOAT32, math.inf
        for kind in self._candidates:
            if kind is WeightKind.FLOAT16 and not fits_float16(weight):
                continue
            seconds = _mean_seconds(pack(kind, weight, None))
            if seconds < best_seconds * _WORTHWHILE:
                best, best_seconds = kind, seconds
        return best


def _mean_seconds(layer: PackedLinear) -> float:
    """The geometric mean over the row counts, so that each counts alike."""
    logs = []
    for rows in _MEASURED_ROWS:
        x = torch.ones(rows, layer.in_features)
        layer(x)
        logs.append(math.log(min(_seconds(layer, x) for _ in range(_REPEATS))))
    return math.exp(sum(logs) / len(logs))


def _seconds(layer: PackedLinear, x: torch.Tensor) -> float:
    started = time.perf_counter()
    layer(x)
    return time.perf_counter() - started


def _linears(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear | Conv1D):
                yield parent, name, child


def _weights(layer: Any) -> Weights:
    """As ``nn.Linear`` has them; ``Conv1D`` keeps its weights the other way round."""
    return (layer.weight.t() if isinstance(layer, Conv1D) else layer.weight), layer.bias


def fuse_activations(model: nn.Module) -> None:
    """Put GPT-2's activation into one operation instead of eight, in place; the same formula."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, nn.GELU(approximate="tanh"))
