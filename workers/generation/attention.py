"""Attention over packed sequences, plugged into unmodified transformers models.

All tokens of a step lie in one row ``[1, T]``, so the linear layers carry no padding. Only
attention must know where one sequence ends and the next begins; it is told by a
batch that travels as an argument through the model's forward.
"""

from collections.abc import Sequence
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

    def room(
        self, layer: int, start: int, end: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values, with room for ``end`` tokens.

        Args:
            layer: counted from 0.
            start: tokens that count already; what lies behind them may be lost.
            end: tokens that it must have room for.
            keys: of any tokens of this layer, for their shape and dtype; likewise ``values``.
            values: see ``keys``.
        """
        if layer not in self._keys or self._keys[layer].shape[2] < end:
            self.reserve(end)
            # Both or none: memory may run out between them, and the step is tried again then.
            longer = (
                self._room_for(keys, self._keys.get(layer), start),
                self._room_for(values, self._values.get(layer), start),
            )
            self._keys[layer], self._values[layer] = longer
        return self._keys[layer], self._values[layer]

    @torch.inference_mode()
    def copy_beginning(self, other: "KeyValueCache", count: int) -> None:
        """Take over another cache's first ``count`` tokens; this one must still be empty."""
        for layer, keys in other._keys.items():
            values = other._values[layer]
            room = self.room(layer, 0, count, keys, values)
            for mine, others in zip(room, (keys, values), strict=True):
                mine[:, :, :count] = others[:, :, :count]

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


class PackedBatch:
    """The spans of a step, in row order, each of which attends over a cache of its own.

    What is done for each span in each layer is what a step of many short spans consists of, so
    that is kept to a few calls: the rows are split and written for all spans at once.
    """

    def __init__(self, spans: Sequence[PackedSpan]) -> None:
        self._spans = spans
        self._lengths = [span.row_end - span.row_start for span in spans]
        # The same in every layer, and made in the first.
        self._masks: list[torch.Tensor | None] = []

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """One span after the other, each over its own cache."""
        rooms = [
            span.cache.room(layer, span.position, span.position + length, key, value)
            for span, length in zip(self._spans, self._lengths, strict=True)
        ]
        self._write([keys for keys, _ in rooms], key)
        self._write([values for _, values in rooms], value)
        if not self._masks:
            self._masks = [_causal_mask(span, query) for span in self._spans]
        outputs = [
            _attend(span, mask, rows, keys, values, scaling)
            for span, mask, rows, (keys, values) in zip(
                self._spans,
                self._masks,
                query.split_with_sizes(self._lengths, dim=2),
                rooms,
                strict=True,
            )
        ]
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _write(self, rooms: list[torch.Tensor], rows: torch.Tensor) -> None:
        """Put each span's rows where they belong in its room."""
        places = [
            room.narrow(2, span.position, length)
            for room, span, length in zip(rooms, self._spans, self._lengths, strict=True)
        ]
        torch._foreach_copy_(places, rows.split_with_sizes(self._lengths, dim=2))


def _attend(
    span: PackedSpan,
    mask: torch.Tensor | None,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """A span's rows over all of its sequence so far, ``[1, num_heads, length, head_size]``."""
    length = query.shape[2]
    end = span.position + length
    keys, values = keys.narrow(2, 0, end), values.narrow(2, 0, end)
    heads, kv_heads = query.shape[1], keys.shape[1]
    if length == 1 and heads != kv_heads:
        # Heads that share keys and values read them once, as rows of one head.
        grouped = query.reshape(1, kv_heads, heads // kv_heads, query.shape[3])
        together = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return together.reshape(1, heads, 1, values.shape[3])
    return scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=span.position == 0 and length > 1,
        scale=scaling,
        enable_gqa=heads != kv_heads,
    )


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


def _causal_mask(span: PackedSpan, like: torch.Tensor) -> torch.Tensor | None:
    """What is added to the scores of a later chunk of a prompt, ``[length, end]``; a first chunk
    and a single token need none."""
    length = span.row_end - span.row_start
    if length == 1 or span.position == 0:
        return None
    hidden = like.new_full((length, span.position + length), -torch.inf)
    return hidden.triu_(span.position + 1)


AttentionInterface.register(ATTENTION_NAME, packed_attention)
