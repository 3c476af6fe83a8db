"""Give a model the linear layers that are fastest on this processor."""

import importlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

from workers.generation.errors import ModelUnreadableError
from workers.generation.memory import give_back_heap, page_out, range_of
from workers.generation.processor.joined import JoinedLinears, joined_names
from workers.generation.processor.linears import (
    NeededRows,
    PackedLinear,
    WeightKind,
    fits_float16,
    pack,
    supported_kinds,
)

AUTOMATIC = "auto"
# One answer, a full batch, and a piece of a prompt.
_MEASURED_ROWS = (1, 16, 128)
_REPEATS = 6
# So much of a layer tells how fast it is; and 16 MiB are more than a processor's own cache.
_MEASURED_FEATURES, _EVICTING_NUMBERS = 4_096, 1 << 22
# A narrower kind must be clearly faster, or the more exact one is kept.
_WORTHWHILE = 0.9
# From the most exact on; int8 is only taken where it is asked for.
_CANDIDATES = (
    WeightKind.FLOAT32,
    WeightKind.FLOAT16,
    WeightKind.INT16,
    WeightKind.BFLOAT16,
)


@dataclass(frozen=True)
class Packed:
    """What was made of a model's linear layers.

    Attributes:
        counts: how many there are of each kind.
        rows: what they are told of the rows of a step; None where none was packed.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rows: NeededRows | None = None


Chooser = Callable[[torch.Tensor], WeightKind]


@torch.inference_mode()
def pack_model(model: PreTrainedModel, wish: str) -> Packed:
    """Replace a model's linear layers, in place; GPT-2's ``Conv1D`` is one too.

    Args:
        model: in fp32 on the CPU.
        wish: a :class:`WeightKind`, or ``auto``, which measures each shape of weights with those
            kinds whose perplexity is known to stay with fp32's.

    Returns:
        What was packed: nothing where the processor has no packed layers; the model is as it was
        then.

    Raises:
        ModelUnreadableError: the processor does not have the kind.
    """
    supported = supported_kinds()
    choose = _chooser(wish, supported)
    if not supported:
        return Packed()
    rows = NeededRows()
    counts: dict[str, int] = {}
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for parent, names in list(_linears(model)):
        layers = [getattr(parent, name) for name in names]
        # Of an embedding that is the head as well, a few rows are read in each step.
        done = [range_of(layer.weight) for layer in layers if id(layer.weight) not in looked_up]
        sizes, weight, bias = _weights(layers)
        packed = pack(choose(weight), weight, bias)
        packed.rows = rows
        parts = JoinedLinears(packed, sizes).parts if len(layers) > 1 else [packed]
        for name, part in zip(names, parts, strict=True):
            setattr(parent, name, part)
        del layers, weight, bias
        for memory in done:
            page_out(memory)
        counts[packed.kind] = counts.get(packed.kind, 0) + 1
    if set(counts) != {WeightKind.FLOAT32}:
        _narrow_embeddings(model)
    fuse_activations(model, _gelu())
    give_back_heap()
    return Packed(counts, rows)


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


class Float16Embedding(nn.Module):
    """Vectors of tokens in fp16, given out in fp32: half the memory."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Args:
        weight: fp32 ``[tokens, size]``; not kept.
        """
        super().__init__()
        self._weight = weight.half()

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Returns fp32 ``[..., size]``."""
        return nn.functional.embedding(token_ids, self._weight).float()


def _narrow_embeddings(model: nn.Module) -> None:
    """Those of a class of their own do more than look up, and stay."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Embedding and fits_float16(child.weight):
                setattr(parent, name, Float16Embedding(child.weight))
                page_out(range_of(child.weight))


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
        fits = fits_float16(weight)
        kinds = [kind for kind in self._candidates if fits or kind is not WeightKind.FLOAT16]
        layers = [pack(kind, weight[:_MEASURED_FEATURES], None) for kind in kinds]
        best, best_seconds = WeightKind.FLOAT32, math.inf
        for kind, seconds in zip(kinds, _mean_seconds(layers), strict=True):
            if seconds < best_seconds * _WORTHWHILE:
                best, best_seconds = kind, seconds
        return best


def _mean_seconds(layers: Sequence[PackedLinear]) -> list[float]:
    """Of each layer the geometric mean over the row counts, so that each counts alike.

    The layers take turns, since others may use the processor for a while, and as in a step what
    they read has left its cache before.
    """
    between = torch.ones(_EVICTING_NUMBERS)
    logs = [0.0] * len(layers)
    for rows in _MEASURED_ROWS:
        x = torch.ones(rows, layers[0].in_features)
        least = [math.inf] * len(layers)
        for _ in range(_REPEATS):
            for number, layer in enumerate(layers):
                between.sum()
                least[number] = min(least[number], _seconds(layer, x))
        logs = [log + math.log(seconds) for log, seconds in zip(logs, least, strict=True)]
    return [math.exp(log / len(_MEASURED_ROWS)) for log in logs]


def _seconds(layer: PackedLinear, x: torch.Tensor) -> float:
    started = time.perf_counter()
    layer(x)
    return time.perf_counter() - started


def _linears(model: PreTrainedModel) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Each linear layer's parent and its name there, or the names of several that become one."""
    joined = joined_names(model) if _are_loops_compiled() else ()
    for parent in model.modules():
        children = parent.named_children()
        left = [name for name, child in children if isinstance(child, nn.Linear | Conv1D)]
        for names in joined:
            if set(names) <= set(left):
                left = [name for name in left if name not in names]
                yield parent, names
        for name in left:
            yield parent, (name,)


def _weights(layers: Sequence[Any]) -> tuple[list[int], torch.Tensor, torch.Tensor | None]:
    """Of layers that become one, how many outputs each has, and what ``nn.Linear`` would have of
    all; ``Conv1D`` keeps its weights the other way round."""
    weights = [layer.weight.t() if isinstance(layer, Conv1D) else layer.weight for layer in layers]
    sizes, biases = [len(weight) for weight in weights], [layer.bias for layer in layers]
    if len(layers) == 1:
        return sizes, weights[0], biases[0]
    if all(bias is None for bias in biases):
        return sizes, torch.cat(weights), None
    filled = [
        weight.new_zeros(size) if bias is None else bias
        for weight, size, bias in zip(weights, sizes, biases, strict=True)
    ]
    return sizes, torch.cat(weights), torch.cat(filled)


def fuse_activations(model: nn.Module, gelu: nn.Module | None = None) -> None:
    """Put GPT-2's activation into one operation instead of eight, in place; the same formula.

    Args:
        model: any; one without this activation stays as it is.
        gelu: takes its place; None for PyTorch's own.
    """
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, gelu or nn.GELU(approximate="tanh"))


def _are_loops_compiled() -> bool:
    """Numba may have no wheel for this Python or this processor."""
    try:
        importlib.import_module("workers.generation.processor.kernels")
    except ImportError:
        return False
    return True


def _gelu() -> nn.Module | None:
    if not _are_loops_compiled():
        return None
    from workers.generation.processor.activations import CompiledGELU

    return CompiledGELU()
