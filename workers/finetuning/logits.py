"""What a chunk of logits costs and how it would have to change.

On a CPU a few passes in place. On a GPU the passes over memory are what takes the time, three
times that of the matrix products: there one fused kernel is compiled, and the vocabulary is padded
to a multiple that the matrix units like (GPT-2's 50,257 is odd, so that no row of its logits would
begin at an even address).
"""

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

_ALIGNMENT = 64
Fused = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def padded_weight(weight: Tensor, hidden: Tensor) -> Tensor:
    """The output embedding in the hidden states' dtype, on a GPU with rows of zeros at the end.

    Args:
        weight: ``(vocabulary, width)``.
        hidden: the states that it will be multiplied with.

    Returns:
        ``weight`` itself where nothing had to change.
    """
    surplus = -len(weight) % _ALIGNMENT
    if hidden.device.type == "cpu" or not surplus:
        return weight.to(hidden.dtype)
    padded = weight.new_zeros((len(weight) + surplus, weight.shape[1]), dtype=hidden.dtype)
    padded[: len(weight)] = weight
    return padded


def gradient_of_logits(
    logits: Tensor, targets: Tensor, bias: Tensor | None, vocabulary: int, *, is_wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """The summed cross entropy of a chunk, and its derivative: softmax minus one at the target.

    Args:
        logits: ``(positions, columns)``; overwritten. Columns behind the vocabulary are padding.
        targets: ``(positions,)`` int64.
        bias: ``(vocabulary,)``, added to the logits.
        vocabulary: columns that count.
        is_wanted: whether the derivative is; None is returned where it is not.

    Returns:
        A float32 scalar, and the derivative in the dtype of ``logits``, 0 in the padding.
    """
    # Heads with a bias are rare, and theirs is better added in float32.
    fused = _fused() if logits.device.type == "cuda" and bias is None else None
    if fused is not None:
        for tensor in (logits, targets):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return fused(logits, targets, vocabulary)
    lowered, logits = logits.dtype, logits.float()
    if bias is not None:
        logits[:, :vocabulary] += bias
    logits[:, vocabulary:] = -torch.inf
    loss, derivative = _in_place(logits, targets.unsqueeze(1), is_wanted=is_wanted)
    return loss, None if derivative is None else derivative.to(lowered)


def _in_place(logits: Tensor, targets: Tensor, *, is_wanted: bool) -> tuple[Tensor, Tensor | None]:
    logits -= logits.amax(dim=-1, keepdim=True)
    at_target = logits.gather(1, targets)
    probabilities = logits.exp_()
    sums = probabilities.sum(dim=-1, keepdim=True)
    loss = (sums.log() - at_target).sum()
    if not is_wanted:
        return loss, None
    probabilities /= sums
    probabilities.scatter_add_(1, targets, probabilities.new_full(targets.shape, -1.0))
    return loss, probabilities


def fused_gradient(logits: Tensor, targets: Tensor, vocabulary: int) -> tuple[Tensor, Tensor]:
    """As :func:`gradient_of_logits`, in steps that a compiler makes one kernel of."""
    columns = torch.arange(logits.shape[1], device=logits.device)
    exact = torch.where(columns < vocabulary, logits.float(), -torch.inf)
    sums = exact.logsumexp(dim=-1, keepdim=True)
    is_target = columns == targets.unsqueeze(1)
    loss = (sums.squeeze(1) - exact.gather(1, targets.unsqueeze(1)).squeeze(1)).sum()
    derivative = (exact - sums).exp() - is_target.to(exact.dtype)
    return loss, derivative.to(logits.dtype)


@functools.cache
def _fused() -> Fused | None:
    """The compiled kernel; None where there is no compiler for GPUs."""
    if importlib.util.find_spec("triton") is None:
        return None
    return torch.compile(fused_gradient)
