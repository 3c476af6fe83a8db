"""How good a model is, measured by the same code before and after training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import torch
from torch import nn

from workers.finetuning.errors import OutOfMemoryError
from workers.finetuning.packing import PackedRows
from workers.generation.memory import is_out_of_memory

log = structlog.get_logger(__name__)


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
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> Likelihood:
    """Loss over packed rows, fewer at a time where memory runs out. ``on_rows`` hears how many are
    measured.

    The model must return summed losses, see
    :func:`workers.finetuning.heads.attach_summed_loss`.

    Raises:
        OutOfMemoryError: a single row does not fit.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            return _measure(model, rows, device, rows_at_a_time, on_rows)
    finally:
        model.train(was_training)


def _measure(
    model: nn.Module,
    rows: PackedRows,
    device: torch.device,
    rows_at_a_time: int,
    on_rows: Callable[[int], None],
) -> Likelihood:
    total, tokens, start = 0.0, 0, 0
    while start < len(rows):
        numbers = range(start, min(start + rows_at_a_time, len(rows)))
        try:
            loss, learnt = _summed_loss(model, rows, numbers, device)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            if len(numbers) == 1:
                raise OutOfMemoryError from exc
            rows_at_a_time = len(numbers) // 2
            log.warning("measured_in_parts", rows=rows_at_a_time)
        else:
            total, tokens, start = total + loss, tokens + learnt, numbers.stop
            on_rows(start)
            continue
        # Only here is what the failed attempt held given back.
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return Likelihood(total / tokens if tokens else math.nan, tokens)


def _summed_loss(
    model: nn.Module, rows: PackedRows, numbers: range, device: torch.device
) -> tuple[float, int]:
    """Of some rows, and how many tokens it is the sum over."""
    part = slice(numbers.start, numbers.stop)
    batch = {
        name: torch.from_numpy(getattr(rows, name)[part]).to(device, torch.long)
        for name in ("input_ids", "position_ids", "labels")
    }
    documents = [rows.lengths(number) for number in numbers]
    loss = float(model(**batch, documents=documents).loss)
    return loss, int((batch["labels"][:, 1:] != -100).sum())


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
