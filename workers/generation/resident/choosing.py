"""Choose the next tokens of all rows at once, without the host knowing them.

The same choice as :func:`workers.generation.sampling.choose_tokens`, whose dice and order it
shares; here every parameter is a tensor, so that a captured graph serves any mix of requests.
"""

from enum import IntEnum

import torch

from workers.generation.protocol import Sampling
from workers.generation.sampling import Bounds, likeliest, pick

# As many of the likeliest tokens as a small ``top_k`` may ask for.
SMALL_TOP_K = 256
# Bits of what a row has seen.
PENALISED, ANSWERED = 1, 2

# Columns of the parameters of a row.
COLUMNS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "dice",
    "is_early",
)


class Choice(IntEnum):
    """What a row needs, the costlier the larger; a step does what its neediest row needs."""

    GREEDY = 0
    SMALL = 1
    WHOLE = 2


def choice_of(sampling: Sampling) -> Choice:
    """The cheapest way that serves a request exactly."""
    is_plain = sampling.repetition_penalty == 1.0 and not sampling.presence_penalty
    if sampling.temperature == 0:
        return Choice.GREEDY if is_plain and not sampling.min_new_tokens else Choice.SMALL
    return Choice.SMALL if 0 < sampling.top_k <= SMALL_TOP_K else Choice.WHOLE


def parameters_of(sampling: Sampling) -> tuple[float, ...]:
    """A row's parameters as :data:`COLUMNS`; dice and ``is_early`` change from token to token."""
    return (
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.repetition_penalty,
        sampling.presence_penalty,
        0.0,
        0.0,
    )


def choose(
    choice: Choice,
    logits: torch.Tensor,
    parameters: torch.Tensor,
    seen: torch.Tensor,
    is_end: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next token of each row.

    Args:
        choice: at least what the neediest row needs.
        logits: ``[rows, vocabulary]`` of any float dtype; left as they are.
        parameters: float ``[rows, len(COLUMNS)]``.
        seen: uint8 ``[rows, vocabulary]``, bits of :data:`PENALISED` and :data:`ANSWERED`.
        is_end: bool ``[vocabulary]``, tokens that end an answer.

    Returns:
        int64 ``[rows]`` token ids, and float ``[rows]`` the largest logit of each: where it is no
        number, the row's choice means nothing.
    """
    if choice is Choice.GREEDY:
        best, token = logits.max(dim=-1)
        return token, best
    temperature, top_k, top_p, min_p, repetition, presence, dice, is_early = parameters.unbind(1)
    logits = _penalised(logits.float(), seen, repetition[:, None], presence[:, None])
    logits = logits.masked_fill(is_end & (is_early > 0)[:, None], -torch.inf)
    best, greedy = logits.max(dim=-1)
    is_warm = temperature > 0
    scaled = (logits - best[:, None]) / torch.where(is_warm, temperature, 1.0)[:, None]
    log_total = scaled.logsumexp(dim=-1, keepdim=True)
    width = SMALL_TOP_K if choice is Choice.SMALL else scaled.shape[-1]
    values, ids = likeliest(scaled, width)
    drawn = pick(values - log_total, ids, Bounds(top_k, top_p, min_p, dice))
    return torch.where(is_warm, drawn, greedy), best


def _penalised(
    logits: torch.Tensor, seen: torch.Tensor, repetition: torch.Tensor, presence: torch.Tensor
) -> torch.Tensor:
    """Keskar et al., *CTRL* (2019), section 4.1, and OpenAI's presence penalty."""
    by_repetition = torch.where(logits > 0, logits / repetition, logits * repetition)
    logits = torch.where((seen & PENALISED) > 0, by_repetition, logits)
    return torch.where((seen & ANSWERED) > 0, logits - presence, logits)
