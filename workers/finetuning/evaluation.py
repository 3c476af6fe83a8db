"""How good a model is, measured by the same code before and after training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from workers.finetuning.packing import PackedRows


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How well a model predicts a split.

    Attributes:
        loss: mean negative log-likelihood in nats, every learnt token weighing the same.
        tokens: learnt tokens.
    """

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp of the mean; infinite where that leaves the range of floats."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied generated texts are.

    Attributes:
        distinct_1, distinct_2: distinct words and word pairs over all of them, across all texts
            (Li et al. 2016, arXiv:1510.03055).
        repetition: share of four-word sequences that stood in the same text before, averaged
            over texts (seq-rep-4 of Welleck et al. 2019, arXiv:1908.04319).
    """

    distinct_1: float
    distinct_2: float
    repetition: float


@torch.no_grad()
def measure_likelihood(
    model: nn.Module,
    rows: PackedRows,
    *,
    device: torch.device,
    rows_at_a_time: int,
    autocast: torch.dtype | None = None,
) -> Likelihood:
    """Loss over packed rows. The model must return summed losses, see
    :func:`workers.finetuning.heads.attach_summed_loss`."""
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for start in range(0, len(rows), rows_at_a_time):
        part = slice(start, start + rows_at_a_time)
        batch = {
            name: torch.from_numpy(getattr(rows, name)[part]).to(device, torch.long)
            for name in ("input_ids", "position_ids", "labels")
        }
        numbers = range(start, min(start + rows_at_a_time, len(rows)))
        documents = [rows.lengths(number) for number in numbers]
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            total += float(model(**batch, documents=documents).loss)
        tokens += int((batch["labels"][:, 1:] != -100).sum())
    model.train(was_training)
    return Likelihood(total / tokens if tokens else math.nan, tokens)


def measure_variety(texts: Sequence[str]) -> Variety:
    """Variety of generated texts; words are what white space parts."""
    split = [text.split() for text in texts]
    return Variety(
        _distinct(split, 1), _distinct(split, 2), _mean([_repetition(words) for words in split])
    )


def _distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    grams = [gram for words in texts for gram in _grams(words, size)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _repetition(words: Sequence[str]) -> float:
    grams = _grams(words, 4)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
