"""Fit a model to a GPU without changing what it computes, and see what its layers keep."""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from workers.generation.packing import fuse_activations
from workers.generation.resident.arena import LayerShape

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


@torch.inference_mode()
def fit(model: PreTrainedModel) -> None:
    """Change a model in place: an aligned head, activations of one kernel."""
    # transformers publishes no types for these.
    typed = cast(Any, model)
    head = typed.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight.shape[0] % _ALIGNED_COLUMNS:
        typed.set_output_embeddings(PaddedHead(head))
    fuse_activations(model)


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
