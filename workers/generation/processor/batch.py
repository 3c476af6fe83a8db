"""Attention of a step on a processor: all answers under way in one call a layer.

Most of a step's spans are single tokens, and what PyTorch takes for each of them beside reading its
keys and values is longer than the reading. Prompts have work enough for PyTorch's own attention.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.generation.attention import PackedBatch, PackedSpan, empty_output
from workers.generation.processor import kernels
from workers.generation.processor.linears import NeededRows
from workers.generation.processor.threads import thread_count

# A helper must be worth calling: so many numbers of keys, and values, take about 10 us.
_NUMBERS_PER_THREAD = 16_384
# What caches are made of, as the compiled loop knows it.
_LIKE: dict[torch.dtype, NDArray[Any]] = {
    torch.float32: np.empty(0, np.float32),
    torch.float16: np.empty(0, np.int16),
}


class _Spans:
    """Some of a step's spans as the compiled loops take them; arrays are int64 ``[num_spans]``."""

    def __init__(self, spans: Sequence[PackedSpan]) -> None:
        self.spans = spans
        self.starts = np.array([span.row_start for span in spans], np.int64)
        self.lengths = np.array([span.length for span in spans], np.int64)
        self.positions = np.array([span.position for span in spans], np.int64)
        # By the number of heads that have keys of their own, and numbers of one.
        self._bounds: dict[tuple[int, int], NDArray[np.int64]] = {}

    def places(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> NDArray[np.int64]:
        """Where each sequence's keys and values lie, with room for its span."""
        return np.array(
            [
                span.cache.addresses(layer, span.position, span.end, key, value)
                for span in self.spans
            ],
            np.int64,
        )

    def bounds(self, heads: int, size: int) -> NDArray[np.int64]:
        """Where each thread's heads begin, so that all have as many keys to read and write."""
        if (heads, size) not in self._bounds:
            work = np.cumsum(np.repeat(self.positions + self.lengths, heads))
            worth = max(1, int(work[-1]) * size // _NUMBERS_PER_THREAD)
            parts = min(thread_count(), worth)
            shares = np.arange(1, parts) * (int(work[-1]) / parts)
            between = np.searchsorted(work, shares)
            self._bounds[heads, size] = np.array([0, *between, len(work)], np.int64)
        return self._bounds[heads, size]


class _Prompts(PackedBatch):
    """Spans of several tokens: they attend by PyTorch, but are kept by a compiled loop."""

    def __init__(self, spans: Sequence[PackedSpan], like: NDArray[Any]) -> None:
        super().__init__(spans)
        self._kept = _Spans(spans)
        self._like = like

    def _keep(
        self,
        layer: int,
        rooms: list[tuple[torch.Tensor, torch.Tensor]],  # noqa: ARG002 - written by address
        key: torch.Tensor,
        value: torch.Tensor,
    ) -> None:
        kernels.keep(
            self._kept.bounds(key.shape[1], key.shape[3]),
            self._kept.starts,
            self._kept.lengths,
            self._kept.positions,
            _by_row(key),
            _by_row(value),
            self._kept.places(layer, key, value),
            self._like,
        )


class ProcessorBatch:
    """A :class:`workers.generation.attention.Batch` of float32 rows."""

    def __init__(
        self,
        spans: Sequence[PackedSpan],
        needed: torch.Tensor,
        *,
        cache_dtype: torch.dtype,
        rows: NeededRows | None,
        last_layer: int,
    ) -> None:
        """Args:
        spans: of a step.
        needed: rows of it that are read at its end, int64.
        cache_dtype: what keys and values are kept as, float32 or float16.
        rows: told of them behind the last layer's attention.
        last_layer: its number.
        """
        self._needed = needed
        self._needed_rows = rows
        self._last_layer = last_layer
        if rows is not None:
            # A step that broke has not come to its end.
            rows.end()
        self._like = _LIKE[cache_dtype]
        prompts = [span for span in spans if span.length > 1]
        self._prompts = _Prompts(prompts, self._like) if prompts else None
        self._singles = _Spans([span for span in spans if span.length == 1])

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """See :class:`workers.generation.attention.Batch`."""
        output = empty_output(query, value)
        if self._singles.spans:
            self._attend_singles(output, layer, query, key, value, scaling)
        if self._prompts is not None:
            self._prompts.attend_into(output, layer, query, key, value, scaling)
        if layer == self._last_layer and self._needed_rows is not None:
            self._needed_rows.begin(self._needed, query.shape[2])
        return output

    def _attend_singles(
        self,
        output: torch.Tensor,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> None:
        heads, size = key.shape[1], key.shape[3]
        kernels.attend(
            self._singles.bounds(heads, size),
            self._singles.starts,
            self._singles.positions,
            _by_row(query),
            _by_row(key),
            _by_row(value),
            output[0].numpy(),
            self._singles.places(layer, key, value),
            np.float32(size**-0.5 if scaling is None else scaling),
            self._like,
        )


def _by_row(states: torch.Tensor) -> NDArray[np.float32]:
    """``[1, heads, T, size]`` as ``[T, heads, size]``, without a copy."""
    rows: NDArray[np.float32] = states[0].transpose(0, 1).numpy()
    return rows
