"""The one place that touches tensors in a step: packed token ids in, logits out."""

from dataclasses import dataclass

import torch

from workers.generation.attention import KeyValueCache, PackedBatch, PackedSpan
from workers.generation.loading import LoadedModel


@dataclass(frozen=True)
class Span:
    """Tokens of one sequence to compute, at their place in the sequence."""

    cache: KeyValueCache
    token_ids: list[int]
    position: int
    is_sampling: bool


class DeviceRunner:
    """Runs a model over packed spans. Holds no state of a request; the caches are the caller's."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._device = loaded.device

    @torch.inference_mode()
    def run(self, spans: list[Span]) -> torch.Tensor:
        """Compute the spans in one forward pass.

        Returns:
            The logits after the last token of each span that is sampling, in order:
            ``[num_sampling, vocabulary]`` of the model's dtype.
        """
        token_ids: list[int] = []
        positions: list[int] = []
        packed: list[PackedSpan] = []
        last_rows: list[int] = []
        for span in spans:
            start = len(token_ids)
            token_ids += span.token_ids
            # GPT-2 would number the packed row through unless it is told each position.
            positions += range(span.position, span.position + len(span.token_ids))
            packed.append(PackedSpan(span.cache, start, len(token_ids), span.position))
            if span.is_sampling:
                last_rows.append(len(token_ids) - 1)
        output = self._model(
            input_ids=torch.tensor([token_ids], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            use_cache=False,
            # An empty index is made of floats unless it is told otherwise.
            logits_to_keep=torch.tensor(last_rows, dtype=torch.long, device=self._device),
            packed_batch=PackedBatch(tuple(packed)),
        )
        logits: torch.Tensor = output.logits[0]
        return logits
