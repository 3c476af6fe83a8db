"""Choose the next token of each row. Every request throws dice of its own."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from workers.generation.protocol import Sampling

# Top-p is exact through the most likely tokens where these hold enough of the mass; otherwise
# through more of them, and at last through all.
_TIERS = (256, 4096)
_DICE_BYTES = 7


class SamplingState:
    """What a request carries from token to token: its parameters and the tokens it saw.

    The dice are a function of the seed and of how many tokens were drawn, so a step that is tried
    again after a failure draws the same.

    Args:
        sampling: with a seed where ``temperature`` is above 0.
        prompt_ids: the prompt, which the repetition penalty counts as seen.
        max_new_tokens: how many tokens may be accepted.
        end_ids: what ends an answer, and is not drawn before ``min_new_tokens`` were.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_ids: tuple[int, ...],
        max_new_tokens: int,
        end_ids: Collection[int] = (),
    ) -> None:
        self.sampling = sampling
        self._prompt_tokens = len(prompt_ids)
        self._drawn = 0
        self._end_ids = list(end_ids) if sampling.min_new_tokens else []
        self._seen = np.zeros(len(prompt_ids) + max_new_tokens, np.int64)
        self._seen[: len(prompt_ids)] = prompt_ids

    @property
    def seen_ids(self) -> NDArray[np.int64]:
        """Prompt and answer so far, ``[tokens]``."""
        return self._seen[: self._prompt_tokens + self._drawn]

    @property
    def forbidden_ids(self) -> list[int]:
        """Tokens that may not be the next one."""
        return self._end_ids if self._drawn < self.sampling.min_new_tokens else []

    @property
    def end_ids(self) -> list[int]:
        """Tokens that may not come before ``min_new_tokens`` others; none without such a bound."""
        return self._end_ids

    @property
    def answer_ids(self) -> NDArray[np.int64]:
        """The answer so far, ``[tokens]``."""
        return self.seen_ids[self._prompt_tokens :]

    def throw(self, drawn: int | None = None) -> float:
        """The uniform number in [0, 1) for the next token, or for the one after ``drawn``."""
        number = self._drawn if drawn is None else drawn
        source = f"{self.sampling.seed}:{number}".encode()
        digest = blake2b(source, digest_size=_DICE_BYTES).digest()
        return int.from_bytes(digest, "big") / 2.0 ** (8 * _DICE_BYTES)

    def accept(self, token_id: int) -> None:
        """Note that a token was chosen for good."""
        self._seen[self._prompt_tokens + self._drawn] = token_id
        self._drawn += 1


@torch.inference_mode()
def choose_tokens(logits: torch.Tensor, states: list[SamplingState]) -> list[int | None]:
    """The next token id of each row, None where a row's logits are no numbers.

    The same seed gives the same text whatever else is in the batch, up to the arithmetic of the
    logits themselves: a device whose matrix products depend on the batch's shape can tip a near
    tie. Changes no state, so it can be called again for the same step.

    Args:
        logits: float ``[rows, vocabulary]``; changed in place.
        states: one for each row.
    """
    logits = logits.float()
    penalised = [row for row, s in enumerate(states) if s.sampling.repetition_penalty != 1.0]
    if penalised:
        _penalise_repetition(logits, penalised, states)
    present = [row for row, s in enumerate(states) if s.sampling.presence_penalty]
    if present:
        _penalise_presence(logits, present, states)
    for row, state in enumerate(states):
        if state.forbidden_ids:
            logits[row, state.forbidden_ids] = -torch.inf
    best, greedy = logits.max(dim=-1)
    is_sound: list[bool] = best.isfinite().tolist()
    chosen: list[int | None] = list(greedy.tolist())
    warm = [r for r, s in enumerate(states) if s.sampling.temperature > 0 and is_sound[r]]
    if warm:
        for row, token in zip(warm, _draw(logits[warm], [states[r] for r in warm]), strict=True):
            chosen[row] = token
    return [token if sound else None for token, sound in zip(chosen, is_sound, strict=True)]


def _penalise_repetition(
    logits: torch.Tensor, rows: list[int], states: list[SamplingState]
) -> None:
    """Keskar et al., *CTRL* (2019), section 4.1, as ``transformers`` has it.

    A token that occurs twice is looked up twice and written twice with the same value.
    """
    row_index, token_index = _cells(rows, [states[r].seen_ids for r in rows], logits.device)
    penalties = logits.new_tensor([s.sampling.repetition_penalty for s in states])
    scores = logits[row_index, token_index]
    penalty = penalties[row_index]
    logits[row_index, token_index] = torch.where(scores > 0, scores / penalty, scores * penalty)


def _penalise_presence(logits: torch.Tensor, rows: list[int], states: list[SamplingState]) -> None:
    """Once for each token of the answer, however often it is there; the prompt is left alone."""
    row_index, token_index = _cells(rows, [states[r].answer_ids for r in rows], logits.device)
    penalties = logits.new_tensor([s.sampling.presence_penalty for s in states])
    logits[row_index, token_index] = logits[row_index, token_index] - penalties[row_index]


def _cells(
    rows: list[int], token_ids: list[NDArray[np.int64]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of each row's tokens."""
    row_index = torch.from_numpy(np.repeat(rows, [len(ids) for ids in token_ids])).to(device)
    return row_index, torch.from_numpy(np.concatenate(token_ids)).to(device)


def _draw(logits: torch.Tensor, states: list[SamplingState]) -> list[int]:
    device = logits.device
    temperatures = torch.tensor([s.sampling.temperature for s in states], device=device)
    # A temperature near 0 must not overflow; the largest logit becomes 0 first.
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / temperatures[:, None]
    log_total = scaled.logsumexp(dim=-1, keepdim=True)
    values, ids = _most_likely(scaled, log_total, states)
    bounds = Bounds(
        top_k=torch.tensor([s.sampling.top_k for s in states], device=device),
        top_p=torch.tensor([s.sampling.top_p for s in states], device=device),
        min_p=torch.tensor([s.sampling.min_p for s in states], device=device),
        dice=torch.tensor([s.throw() for s in states], device=device),
    )
    tokens: list[int] = pick(values - log_total, ids, bounds).tolist()
    return tokens


@dataclass(frozen=True)
class Bounds:
    """What each row may choose among, and its dice; all ``[rows]``. ``top_k`` 0 is no bound."""

    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    dice: torch.Tensor


def pick(log_probabilities: torch.Tensor, ids: torch.Tensor, bounds: Bounds) -> torch.Tensor:
    """The token of each row on which its dice fall, ``[rows]`` of int64.

    Args:
        log_probabilities: float ``[rows, width]``, the most likely first.
        ids: int64 ``[rows, width]``, whose they are.
        bounds: of each row.
    """
    probabilities = log_probabilities.exp()
    kept = probabilities * _is_kept(probabilities, bounds)
    threshold = bounds.dice[:, None] * kept.sum(dim=-1, keepdim=True)
    index = (kept.cumsum(dim=-1) <= threshold).sum(dim=-1, keepdim=True)
    # Rounding may put the dice at or past the whole mass; the last token that is kept has it then.
    # Where nothing is a number, nothing is kept, and what is chosen does not matter.
    last = (kept > 0).sum(dim=-1, keepdim=True) - 1
    return ids.gather(1, torch.minimum(index, last).clamp_(min=0)).squeeze(1)


def _is_kept(probabilities: torch.Tensor, bounds: Bounds) -> torch.Tensor:
    """Which tokens of each row, most likely first, are within ``top_k``, ``top_p`` and ``min_p``.

    As in ``transformers``, ``top_k`` comes first and ``top_p`` is a share of what it leaves;
    ``min_p`` is a share of the most likely token.
    """
    ranks = torch.arange(probabilities.shape[-1], device=probabilities.device)
    is_bounded = bounds.top_k > 0
    within_k = (ranks < bounds.top_k[:, None]) | ~is_bounded[:, None]
    within = probabilities * within_k
    # Without a bound the probabilities are shares of the whole vocabulary, seen here or not.
    mass = torch.where(is_bounded, within.sum(dim=-1), 1.0)
    before = within.cumsum(dim=-1) - within
    keep = within_k & (before < (bounds.top_p * mass)[:, None])
    keep &= probabilities >= bounds.min_p[:, None] * probabilities[:, :1]
    # The first is always kept; its rank says so without a write of its own.
    return keep | (ranks == 0)


def _most_likely(
    scaled: torch.Tensor, log_total: torch.Tensor, states: list[SamplingState]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As few of the most likely tokens, sorted, as hold every row's ``top_k`` or ``top_p``."""
    vocabulary = scaled.shape[-1]
    for width in _TIERS:
        if width >= vocabulary:
            break
        values, ids = likeliest(scaled, width)
        mass = (values - log_total).exp().sum(dim=-1).tolist()
        if all(
            0 < s.sampling.top_k <= width or m >= s.sampling.top_p
            for m, s in zip(mass, states, strict=True)
        ):
            return values, ids
    return likeliest(scaled, vocabulary)


def likeliest(scaled: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest of each row and their ids, ``[rows, width]``, the largest first.

    Of equal ones the lower id comes first, however many are asked for: what is drawn must not
    depend on what others of the batch need, and logits in half precision are often equal.
    """
    if width >= scaled.shape[-1]:
        values, ids = scaled.sort(dim=-1, descending=True, stable=True)
        return values, ids
    values, ids = scaled.topk(width, dim=-1, sorted=False)
    ids, order = ids.sort(dim=-1)
    values, order = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
    return values, ids.gather(1, order)
