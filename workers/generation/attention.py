"""Attention over packed sequences, plugged into unmodified transformers models.

All tokens of a step lie in one row ``[1, T]``, so the linear layers carry no padding. Only
attention must know where one sequence ends and the next begins; it is told by a
batch that travels as an argument through the model's forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PretrainedConfig

from workers.generation.errors import ModelUnreadableError
from workers.generation.processor.extent import Extent

ATTENTION_NAME = "perroquet_packed"
_NOT_PLAIN = "Attention that is capped or has sinks cannot be served."


class Addresses(NamedTuple):
    """Addresses of a layer's keys and values, and for how many tokens each of their heads is."""

    keys: int
    values: int
    room_tokens: int


class KeyValueCache:
    """Keys and values of one sequence: a tensor a layer, as long as the room that was reserved.

    Shapes: ``keys[layer]`` and ``values[layer]`` are ``[1, num_kv_heads, room_tokens, head_size]``
    of the model's dtype or a narrower one. Layers are made at their first use, when their shape is
    known, and made anew with what they hold where they became too short.
    """

    def __init__(
        self,
        room_tokens: int = 0,
        *,
        dtype: torch.dtype | None = None,
        extent: Extent | None = None,
    ) -> None:
        """Args:
        room_tokens: to begin with.
        dtype: what keys and values are kept as; None for the model's own.
        extent: memory for all that it may come to hold.
        """
        self.room_tokens = self.reserved_tokens = room_tokens
        self._dtype = dtype
        self._extent = extent
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._addresses: dict[int, Addresses] = {}

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
            self._addresses.pop(layer, None)
        return self._keys[layer], self._values[layer]

    def addresses(
        self, layer: int, start: int, end: int, keys: torch.Tensor, values: torch.Tensor
    ) -> Addresses:
        """Where in a processor's memory what :meth:`room` gives lies."""
        known = self._addresses.get(layer)
        if known is None or known.room_tokens < end:
            rooms = self.room(layer, start, end, keys, values)
            known = Addresses(rooms[0].data_ptr(), rooms[1].data_ptr(), rooms[0].shape[2])
            self._addresses[layer] = known
        return known

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
        tokens, dtype = self.room_tokens, self._dtype or part.dtype
        if self._extent is not None:
            tokens = max(tokens, self._extent.tokens)
        shape = (1, part.shape[1], tokens, part.shape[3])
        room = None if self._extent is None else self._extent.take(shape, dtype)
        if room is None:
            room = part.new_empty(shape, dtype=dtype)
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

    @property
    def length(self) -> int:
        """Rows, and tokens."""
        return self.row_end - self.row_start

    @property
    def end(self) -> int:
        """Behind the last of its tokens, in its sequence."""
        return self.position + self.length


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
    """The spans of a step, each of which attends over a cache of its own.

    What is done for each span in each layer is what a step of many short spans consists of, so
    that is kept to a few calls.
    """

    def __init__(self, spans: Sequence[PackedSpan]) -> None:
        self._spans = spans
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
        output = empty_output(query, value)
        self.attend_into(output, layer, query, key, value, scaling)
        return output

    def attend_into(
        self,
        output: torch.Tensor,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> None:
        """Write the spans' rows of ``[1, T, num_heads, value_size]``, and no others."""
        rooms = [
            span.cache.room(layer, span.position, span.end, key, value) for span in self._spans
        ]
        self._keep(layer, rooms, key, value)
        if not self._masks:
            self._masks = [_causal_mask(span, query) for span in self._spans]
        for span, mask, (keys, values) in zip(self._spans, self._masks, rooms, strict=True):
            rows = query.narrow(2, span.row_start, span.length)
            attended = _attend(span, mask, rows, keys, values, scaling)
            output.narrow(1, span.row_start, span.length).copy_(attended.transpose(1, 2))

    def _keep(
        self,
        layer: int,  # noqa: ARG002 - for those who write by address
        rooms: list[tuple[torch.Tensor, torch.Tensor]],
        key: torch.Tensor,
        value: torch.Tensor,
    ) -> None:
        """Put each span's keys and values where they belong in its rooms."""
        for rows, places in ((key, [keys for keys, _ in rooms]), (value, [v for _, v in rooms])):
            torch._foreach_copy_(
                [
                    room.narrow(2, span.position, span.length)
                    for room, span in zip(places, self._spans, strict=True)
                ],
                [rows.narrow(2, span.row_start, span.length) for span in self._spans],
            )


def empty_output(query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """What an attention layer is to fill, ``[1, T, num_heads, value_size]``."""
    return query.new_empty((1, query.shape[2], query.shape[1], value.shape[3]))


def _attend(
    span: PackedSpan,
    mask: torch.Tensor | None,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """A span's rows over all of its sequence so far, ``[1, num_heads, length, head_size]``."""
    keys = keys.narrow(2, 0, span.end).to(query.dtype)
    values = values.narrow(2, 0, span.end).to(query.dtype)
    heads, kv_heads = query.shape[1], keys.shape[1]
    if span.length == 1 and heads != kv_heads:
        # Heads that share keys and values read them once, as rows of one head.
        grouped = query.reshape(1, kv_heads, heads // kv_heads, query.shape[3])
        together = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return together.reshape(1, heads, 1, values.shape[3])
    return scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=span.position == 0 and span.length > 1,
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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
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
        softcap: bound of the scores; none is served, nor ``s_aux``, sinks.
        s_aux: see ``softcap``.

    Returns:
        ``[1, T, num_heads, head_size]`` and None for the weights.

    Raises:
        ModelUnreadableError: the model's attention is more than this.
    """
    assert packed_batch is not None  # noqa: S101 - only our runners select this attention
    if softcap is not None or s_aux is not None:
        raise ModelUnreadableError(_NOT_PLAIN)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return packed_batch.attend(layer, query, key, value, scaling), None


def _causal_mask(span: PackedSpan, like: torch.Tensor) -> torch.Tensor | None:
    """What is added to the scores of a later chunk of a prompt, ``[length, end]``; a first chunk
    and a single token need none."""
    if span.length == 1 or span.position == 0:
        return None
    hidden = like.new_full((span.length, span.end), -torch.inf)
    return hidden.triu_(span.position + 1)


def plain_window(config: PretrainedConfig, window: int) -> int:
    """Within how many tokens a model's attention is plain, ``window`` at most.

    Layers with a sliding window see all there is as long as that is no more than the window.

    Raises:
        ModelUnreadableError: some layers do something else than attend.
    """
    text: Any = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ())
    if others := kinds - {"full_attention", "sliding_attention"}:
        raise ModelUnreadableError(f"Layers of the kind {min(others)} cannot be served.")
    if getattr(text, "attn_logit_softcapping", None) is not None:
        raise ModelUnreadableError(_NOT_PLAIN)
    slides = "sliding_attention" in kinds if kinds else getattr(text, "use_sliding_window", True)
    size = getattr(text, "sliding_window", None)
    return min(window, size) if slides and size else window


AttentionInterface.register(ATTENTION_NAME, packed_attention)
