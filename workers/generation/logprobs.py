"""How likely the model held each token that was chosen, and the likeliest others beside it.

These are the model's own log probabilities, before temperature, penalties and bounds: they say what
the model believes, not how it was made to speak.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from workers.generation.sampling import SamplingState


class Wanted(NamedTuple):
    """A row whose choice is reported, with so many of the likeliest tokens."""

    row: int
    most: int


def wanted_of(states: Sequence[SamplingState]) -> list[Wanted]:
    """Which rows of a step are reported."""
    return [
        Wanted(row, state.sampling.logprobs)
        for row, state in enumerate(states)
        if state.sampling.logprobs is not None
    ]


class Report(NamedTuple):
    """Natural logarithms: of the chosen token, and of the likeliest, the likeliest first."""

    logprob: float
    likeliest: tuple[tuple[int, float], ...]


class Scores:
    """What is reported of a step; stays on the device until it is read."""

    def __init__(
        self, logits: torch.Tensor, tokens: torch.Tensor, wanted: Sequence[Wanted]
    ) -> None:
        """Args:
        logits: ``[wanted, vocabulary]`` of any float dtype, as the model made them.
        tokens: int64 ``[wanted]``, what was chosen; below 0 where a row has no choice.
        wanted: the rows that these are.
        """
        scores = logits.float().log_softmax(dim=-1)
        chosen = tokens.clamp(min=0)
        count = min(max(w.most for w in wanted), scores.shape[-1])
        self._wanted = wanted
        self._chosen = scores.gather(1, chosen[:, None]).squeeze(1)
        self._values, self._ids = scores.topk(count, dim=-1)

    def read(self) -> Mapping[int, Report]:
        """The reports by row."""
        chosen, values, ids = self._chosen.tolist(), self._values.tolist(), self._ids.tolist()
        return {
            w.row: Report(chosen[n], tuple(zip(ids[n], values[n], strict=True))[: w.most])
            for n, w in enumerate(self._wanted)
        }
