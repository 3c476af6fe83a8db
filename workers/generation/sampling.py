"""Choose the next token of each row. Every request draws from a generator of its own."""

import random
from dataclasses import dataclass, field

import torch

from workers.generation.protocol import Sampling

# Top-p is exact through the most likely tokens where these hold enough of the mass; otherwise
# through more of them, and at last through all.
_TIERS = (256, 4096)


@dataclass
class SamplingState:
    """What a request carries from token to token: its parameters, its dice, the tokens it saw."""

    sampling: Sampling
    seen_ids: set[int]
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.sampling.seed)  # noqa: S311 - sampling, not secrets


@torch.inference_mode()
def choose_tokens(logits: torch.Tensor, states: list[SamplingState]) -> list[int]:
    """The next token id of each row.

    The same seed gives the same text whatever else is in the batch, up to the arithmetic of the
    logits themselves: a device whose matrix products depend on the batch's shape can tip a near
    tie.

    Args:
        logits: float ``[rows, vocabulary]``; changed in place.
        states: one for each row.
    """
    logits = logits.float()
    for row, state in enumerate(states):
        _penalise_repetition(logits[row], state)
    greedy = logits.argmax(dim=-1).tolist()
    warm = [row for row, state in enumerate(states) if state.sampling.temperature > 0]
    chosen = list(greedy)
    if warm:
        for row, token in zip(warm, _draw(logits[warm], [states[r] for r in warm]), strict=True):
            chosen[row] = token
    for state, token in zip(states, chosen, strict=True):
        state.seen_ids.add(token)
    return chosen


def _penalise_repetition(row: torch.Tensor, state: SamplingState) -> None:
    """Keskar et al., *CTRL* (2019), section 4.1, as ``transformers`` has it."""
    penalty = state.sampling.repetition_penalty
    if penalty == 1.0 or not state.seen_ids:
        return
    seen = torch.tensor(sorted(state.seen_ids), device=row.device)
    scores = row[seen]
    row[seen] = torch.where(scores > 0, scores / penalty, scores * penalty)


def _draw(logits: torch.Tensor, states: list[SamplingState]) -> list[int]:
    temperatures = torch.tensor([s.sampling.temperature for s in states], device=logits.device)
    # A temperature near 0 must not overflow; the largest logit becomes 0 first.
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / temperatures[:, None]
    log_total = scaled.logsumexp(dim=-1, keepdim=True)
    width = _width(scaled, log_total, states)
    values, ids = scaled.topk(width, dim=-1)
    probabilities = (values - log_total).exp()
    before = probabilities.cumsum(dim=-1) - probabilities
    rank = torch.arange(width, device=logits.device)
    top_p = torch.tensor([s.sampling.top_p for s in states], device=logits.device)
    top_k = torch.tensor([s.sampling.top_k or width for s in states], device=logits.device)
    keep = (before < top_p[:, None]) & (rank < top_k[:, None])
    keep[:, 0] = True
    kept = probabilities * keep
    dice = torch.tensor([s.dice.random() for s in states], device=logits.device)
    threshold = dice[:, None] * kept.sum(dim=-1, keepdim=True)
    index = (kept.cumsum(dim=-1) <= threshold).sum(dim=-1, keepdim=True)
    last = keep.sum(dim=-1, keepdim=True) - 1
    return ids.gather(1, torch.minimum(index, last)).squeeze(1).tolist()


def _width(scaled: torch.Tensor, log_total: torch.Tensor, states: list[SamplingState]) -> int:
    """How many of the most likely tokens hold every row's top-p or top-k."""
    vocabulary = scaled.shape[-1]
    for width in _TIERS:
        if width >= vocabulary:
            break
        mass = (scaled.topk(width, dim=-1).values - log_total).exp().sum(dim=-1).tolist()
        if all(
            m >= s.sampling.top_p or 0 < s.sampling.top_k <= width
            for m, s in zip(mass, states, strict=True)
        ):
            return width
    return vocabulary
