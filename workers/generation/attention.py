"""Attention over packed sequences, plugged into unmodified transformers models.

All tokens of a step lie in one row ``[1, T]``, so the linear layers carry no padding. Only
attention must know where one sequence ends and the next begins; it is told by a
batch that travels as an argument through the model's forward.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

ATTENTION_NAME = "perroquet_packed"


class KeyValueCache:
    """Keys and values of one sequence: a tensor a layer, as long as the room that was reserved.

    Shapes: ``keys[layer]`` and ``values[layer]`` are ``[1, num_kv_heads, room_tokens, head_size]``
    of the model's dtype. Layers are made at their first use, when their shape is known, and made
    anew with what they hold where they became too short.
    """

    def __init__(self, room_tokens: int = 0) -> None:
        self.room_tokens = self.reserved_tokens = room_tokens
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}

    def reserve(self, tokens: int) -> None:
        """Have room for at least so many tokens from the next step on."""
        self.room_tokens = self.reserved_tokens = max(self.room_tokens, tokens)

    def trim(self, tokens: int) -> None:
        """Only the first ``tokens`` are of use from now on; a hint."""

    def extend(
        self, layer: int, start: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write from position ``start``; returns all keys and values up to the end of what was
        written."""
        end = start + keys.shape[2]
        if layer not in self._keys or self._keys[layer].shape[2] < end:
            self.reserve(end)
            self._keys[layer] = self._room_for(keys, self._keys.get(layer), start)
            self._values[layer] = self._room_for(values, self._values.get(layer), start)
        self._keys[layer][:, :, start:end] = keys
        self._values[layer][:, :, start:end] = values
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    @torch.inference_mode()
    def copy_beginning(self, other: "KeyValueCache", count: int) -> None:
        """Take over another cache's first ``count`` tokens; this one must still be empty."""
        for layer, keys in other._keys.items():
            self.extend(layer, 0, keys[:, :, :count], other._values[layer][:, :, :count])

    def _room_for(
        self, part: torch.Tensor, before: torch.Tensor | None, count: int
    ) -> torch.Tensor:
        """A value's heads may be of another size than a key's."""
        room = part.new_empty((1, part.shape[1], self.room_tokens, part.shape[3]))
        if before is not None:
            room[:, :, :count] = before[:, :, :count]
        return room


@dataclass(frozen=True)
class PackedSpan:
    """One sequence's place in the packed row, ``[row_start, row_end)``, and in its own cache."""

    cache: KeyValueCache
    row_start: int
    row_end: int
    position: int


class Batch(Protocol):
    """Where the sequences of a step lie in its row, and how each attends to what is its own."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """Keep the keys and values, and attend within each sequence; see
        :func:`packed_attention`."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """The spans of a step, in row order."""

    spans: tuple[PackedSpan, ...]

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """One span after the other, each over its own cache."""
        is_grouped = key.shape[1] != query.shape[1]
        outputs = []
        for span in self.spans:
            rows = slice(span.row_start, span.row_end)
            keys, values = span.cache.extend(
                layer, span.position, key[:, :, rows], value[:, :, rows]
            )
            outputs.append(
                scaled_dot_product_attention(
                    query[:, :, rows],
                    keys,
                    values,
                    attn_mask=_causal_mask(span, query.device),
                    is_causal=span.position == 0 and span.row_end - span.row_start > 1,
                    scale=scaling,
                    enable_gqa=is_grouped,
                )
            )
        return torch.cat(outputs, dim=2).transpose(1, 2)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - transformers' signature
    scaling: float | None = None,
    packed_batch: Batch | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence only.

    Args:
        module: the attention layer; its ``layer_idx`` names the cache's layer.
        query: ``[1, num_heads, T, head_size]``.
        key: ``[1, num_kv_heads, T, head_size]``; likewise ``value``.
        value: see ``key``.
        attention_mask: unused; causality follows from positions.
        scaling: factor of the scores; None for ``head_size ** -0.5``.
        packed_batch: where the sequences lie.

    Returns:
        ``[1, T, num_heads, head_size]`` and None for the weights.
    """
    assert packed_batch is not None  # noqa: S101 - only our runners select this attention
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return packed_batch.attend(layer, query, key, value, scaling), None


def _causal_mask(span: PackedSpan, device: torch.device) -> torch.Tensor | None:
    """The mask of a later chunk of a prompt; a first chunk and a single token need none."""
    count = span.row_end - span.row_start
    if count == 1 or span.position == 0:
        return None
    total = span.position + count
    return torch.ones(count, total, dtype=torch.bool, device=device).tril(span.position)


AttentionInterface.register(ATTENTION_NAME, packed_attention)
