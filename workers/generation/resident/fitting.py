"""Fit a model to a GPU without changing what it computes, and see what its layers keep."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import structlog
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workers.generation.processor.packing import fuse_activations
from workers.generation.resident.arena import LayerShape

log = structlog.get_logger(__name__)

Normalise = Callable[[Any, torch.Tensor], torch.Tensor]
"""A layer and its input in, its output out."""

# A model that several engines had, one after the other, is fitted once.
_FITTED = "_perroquet_is_fitted"
# Of results in half precision.
_TOLERANCE = 0.01
# Tensor cores take rows of whole 128 bytes; an odd vocabulary makes the head six times as slow.
_ALIGNED_COLUMNS = 64


class PaddedHead(nn.Module):
    """The output layer with its vocabulary filled up, of which only the real part is shown.

    Its weights are a copy where the embedding shares them.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self._vocabulary, size = head.weight.shape
        columns = -(-self._vocabulary // _ALIGNED_COLUMNS) * _ALIGNED_COLUMNS
        self.weight = nn.Parameter(head.weight.new_zeros(columns, size), requires_grad=False)
        self.weight.data[: self._vocabulary] = head.weight.data
        self.bias = None
        if head.bias is not None:
            self.bias = nn.Parameter(head.bias.new_zeros(columns), requires_grad=False)
            self.bias.data[: self._vocabulary] = head.bias.data

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., size]`` in, ``[..., vocabulary]`` out."""
        return nn.functional.linear(x, self.weight, self.bias)[..., : self._vocabulary]


class FastNorm(nn.Module):
    """A layer's normalisation by another function of the same meaning."""

    def __init__(self, layer: nn.Module, normalise: Normalise) -> None:
        super().__init__()
        self.layer = layer
        self._normalise = normalise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., size]`` in and out."""
        return self._normalise(self.layer, x)


@torch.inference_mode()
def fit(model: PreTrainedModel) -> None:
    """Change a model in place: an aligned head, activations and norms of one kernel each."""
    # transformers publishes no types for these.
    typed = cast(Any, model)
    if getattr(typed, _FITTED, False):
        return
    setattr(typed, _FITTED, True)
    head = typed.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight.shape[0] % _ALIGNED_COLUMNS:
        typed.set_output_embeddings(PaddedHead(head))
    fuse_activations(model)
    if model.device.type == "cuda":
        _replace_norms(model)
        _fuse_feed_forward(model)


def _replace_norms(model: nn.Module) -> None:
    """Where Triton is there, and says what the layer itself says."""
    fits: dict[tuple[type, int], bool] = {}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            normalise = _normalisation(layer)
            if normalise is None or isinstance(parent, FastNorm):
                continue
            weight = cast(torch.Tensor, layer.weight)
            kind = (type(layer), len(weight))
            if kind not in fits:
                fits[kind] = _says_the_same(layer, normalise, weight)
            if fits[kind]:
                setattr(parent, name, FastNorm(layer, normalise))


def _normalisation(layer: nn.Module) -> Normalise | None:
    """The faster function for a layer, as far as its parameters tell what it is."""
    try:
        from workers.generation.resident.triton_norms import layer_norm, rms_norm
    except ImportError:
        return None
    if type(layer) is nn.LayerNorm and layer.elementwise_affine and layer.bias is not None:
        return lambda of, x: layer_norm(x, of.weight, of.bias, of.eps)
    if type(layer).__name__.endswith("RMSNorm") and hasattr(layer, "variance_epsilon"):
        return lambda of, x: rms_norm(x, of.weight, of.variance_epsilon)
    return None


def _says_the_same(layer: nn.Module, normalise: Normalise, weight: torch.Tensor) -> bool:
    x = _draw(weight, 3, len(weight)) * 2 + 1
    try:
        ours = normalise(layer, x)
    except torch.AcceleratorError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, the layer itself still works
        log.warning("norm_refused", layer=type(layer).__name__, reason=repr(exc)[:200])
        return False
    theirs = layer(x)
    return bool((ours - theirs).float().norm() <= _TOLERANCE * theirs.float().norm())


def _fuse_feed_forward(model: nn.Module) -> None:
    """Let GPT-2's first layer of each feed-forward part apply the activation too.

    Where adapters were added to that layer, the activation must come after them, and everything is
    as it was.
    """
    is_right: dict[torch.Size, bool] = {}
    for mlp in model.modules():
        layer, act = getattr(mlp, "c_fc", None), getattr(mlp, "act", None)
        if not (isinstance(layer, Conv1D) and isinstance(act, nn.GELU)):
            continue
        shape = layer.weight.shape
        if shape not in is_right:
            is_right[shape] = _fuses_right(layer, act)
        if is_right[shape]:
            layer.forward = partial(_forward, layer, layer.forward)  # type: ignore[method-assign]
            mlp.act = _Activation(layer, act)


def _is_fused(layer: nn.Module) -> bool:
    """Adapters come as hooks and stay."""
    return not layer._forward_hooks


def _forward(layer: Conv1D, plain: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Any:
    return _multiply_and_activate(layer, x) if _is_fused(layer) else plain(x)


def _multiply_and_activate(layer: Conv1D, x: torch.Tensor) -> torch.Tensor:
    rows = x.view(-1, x.shape[-1])
    output: torch.Tensor = torch._addmm_activation(layer.bias, rows, layer.weight, use_gelu=True)
    return output.view(*x.shape[:-1], -1)


class _Activation(nn.Module):
    """What is left to do of an activation."""

    def __init__(self, layer: nn.Module, act: nn.Module) -> None:
        super().__init__()
        # Not a child: it is somebody else's.
        self._layer = (layer,)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = x if _is_fused(self._layer[0]) else self.act(x)
        return activated


def _fuses_right(layer: Conv1D, act: nn.Module) -> bool:
    weight = layer.weight
    x = _draw(weight, 1, 3, weight.shape[0])
    try:
        ours, theirs = _multiply_and_activate(layer, x), act(layer(x))
    except torch.AcceleratorError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, the layers themselves still work
        log.warning("fusion_refused", reason=repr(exc)[:200])
        return False
    return bool((ours - theirs).float().norm() <= _TOLERANCE * theirs.float().norm())


def _draw(like: torch.Tensor, *size: int) -> torch.Tensor:
    """Normal numbers. The device's own dice cannot be thrown once a capture has failed."""
    return torch.randn(size, generator=torch.Generator().manual_seed(0)).to(like)


class _Measuring:
    """A batch that notes what each layer would keep, and attends to nothing."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, int, int, int]] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,  # noqa: ARG002 - the signature of all batches
    ) -> torch.Tensor:
        self.seen[layer] = (query.shape[1], key.shape[1], key.shape[3], value.shape[3])
        shape = (1, query.shape[2], query.shape[1], value.shape[3])
        return query.new_zeros(shape)


@torch.inference_mode()
def measure(model: PreTrainedModel, device: torch.device) -> tuple[LayerShape, int] | None:
    """What a model's layers keep of a token, and its query heads; None where layers differ."""
    batch = _Measuring()
    one = torch.zeros((1, 1), dtype=torch.long, device=device)
    model(input_ids=one, position_ids=one, use_cache=False, packed_batch=batch)
    if len(set(batch.seen.values())) != 1 or sorted(batch.seen) != list(range(len(batch.seen))):
        return None
    heads, kv_heads, key_size, value_size = batch.seen[0]
    if key_size != value_size:
        return None
    return LayerShape(len(batch.seen), kv_heads, key_size), heads
