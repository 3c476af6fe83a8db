"""A forward pass of Llama's kind on a processor: few products, and compiled loops between them.

transformers' own layers are 30 operations each, most of which take less time than Python needs to
begin them. What is called here are the model's own modules, as in
:mod:`workers.generation.direct`, but for its norms, its turning of queries and keys and its gates.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from workers.generation.attention import Batch
from workers.generation.processor import llama_kernels
from workers.generation.processor.joined import JoinedLinears
from workers.generation.processor.threads import even_bounds

_NOTHING = np.empty((0, 0), np.float32)
_Numbers = NDArray[np.float32]


class _Norm(NamedTuple):
    """What :func:`.llama_kernels.add_and_normalise` knows of one."""

    weight: _Numbers
    epsilon: np.float32


class _Layer(NamedTuple):
    mixing: JoinedLinears
    attention_norm: _Norm
    attention_output: torch.nn.Module
    gating: JoinedLinears
    gating_norm: _Norm
    gated_output: torch.nn.Module
    scaling: float


class DirectLlama:
    """Its layers, to be computed for the packed rows of a step."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Args:
        model: whose layers :func:`.packing.pack_model` has joined.
        """
        # transformers publishes no types for its modules' parts.
        typed = cast(Any, model)
        self._head, self._body = typed, typed.model
        self._layers = [_layer(layer) for layer in self._body.layers]
        self._last_norm = _norm(self._body.norm)
        config = typed.config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._heads, self._turned_heads = [heads, kv_heads, kv_heads], heads + kv_heads
        self._head_size = int(self._body.layers[0].self_attn.head_dim)

    def __call__(
        self, input_ids: torch.Tensor, positions: torch.Tensor, batch: Batch, keep: torch.Tensor
    ) -> torch.Tensor:
        """See :class:`workers.generation.direct.Direct`."""
        embedded = self._body.embed_tokens(input_ids)
        cosines, sines = (
            angles[0].numpy() for angles in self._body.rotary_emb(embedded, positions)
        )
        hidden = embedded[0]
        rows = len(hidden)
        normed = torch.empty_like(hidden)
        sums, norms = hidden.numpy(), normed.numpy()
        by_size = even_bounds(rows, hidden.numel())
        added = _NOTHING
        for number, layer in enumerate(self._layers):
            llama_kernels.add_and_normalise(by_size, sums, added, *layer.attention_norm, norms)
            attended = self._attend(number, layer, normed, cosines, sines, batch)
            added = layer.attention_output(attended).numpy()
            llama_kernels.add_and_normalise(by_size, sums, added, *layer.gating_norm, norms)
            both = layer.gating(normed)
            gated = both.new_empty((rows, both.shape[1] // 2))
            llama_kernels.gate(even_bounds(rows, both.numel()), both.numpy(), gated.numpy())
            added = layer.gated_output(gated).numpy()
        llama_kernels.add_and_normalise(by_size, sums, added, *self._last_norm, norms)
        logits: torch.Tensor = self._head.lm_head(normed.index_select(0, keep))
        return logits

    def _attend(
        self,
        number: int,
        layer: _Layer,
        normed: torch.Tensor,
        cosines: _Numbers,
        sines: _Numbers,
        batch: Batch,
    ) -> torch.Tensor:
        mixed = layer.mixing(normed)
        rows = len(mixed)
        bounds = even_bounds(rows, mixed.numel())
        llama_kernels.rotate(bounds, mixed.numpy(), cosines, sines, self._turned_heads)
        by_head = mixed.view(1, rows, -1, self._head_size).transpose(1, 2)
        query, key, value = torch.split(by_head, self._heads, dim=1)
        return batch.attend(number, query, key, value, layer.scaling).view(rows, -1)


def _layer(layer: Any) -> _Layer:
    attention, feed_forward = layer.self_attn, layer.mlp
    return _Layer(
        attention.q_proj.joined,
        _norm(layer.input_layernorm),
        attention.o_proj,
        feed_forward.gate_proj.joined,
        _norm(layer.post_attention_layernorm),
        feed_forward.down_proj,
        attention.scaling,
    )


def _norm(norm: Any) -> _Norm:
    return _Norm(norm.weight.detach().numpy(), np.float32(norm.variance_epsilon))
