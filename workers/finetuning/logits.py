"""What a chunk of logits costs and how it would have to change.

On a CPU a few passes in place. On a GPU the passes over memory are what takes the time, three
times that of the matrix products: there one fused kernel is compiled, and the vocabulary is padded
to a multiple that the matrix units like (GPT-2's 50,257 is odd, so that no row of its logits would
begin at an even address).
"""

import functools
from collections.abc import Callable

import structlog
import torch
from torch import Tensor

log = structlog.get_logger(__name__)

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
        A float32 scalar, and the derivative, 0 in the padding: in float32, where a GPU fuses the
        steps in the dtype of ``logits``.
    """
    # Heads with a bias are rare, and theirs is better added in float32.
    # It makes the derivative in any case, for which measuring has no use.
    if logits.device.type == "cuda" and bias is None and is_wanted:
        found = _fused().attempt(logits, targets, vocabulary)
        if found is not None:
            return found
    logits = logits.float()
    if bias is not None:
        logits[:, :vocabulary] += bias
    logits[:, vocabulary:] = -torch.inf
    return _in_place(logits, targets.unsqueeze(1), is_wanted=is_wanted)


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


class FusedGradient:
    """:func:`fused_gradient` compiled, as long as that goes well.

    A GPU's compiler needs one for C too, which many an image does without.
    """

    def __init__(self, compiled: Fused) -> None:
        self._compiled = compiled
        self._is_broken = False

    def attempt(
        self, logits: Tensor, targets: Tensor, vocabulary: int
    ) -> tuple[Tensor, Tensor] | None:
        """The result; None where it cannot be compiled. What is given stays as it is.

        Raises:
            torch.OutOfMemoryError, torch.AcceleratorError: these say nothing of the compiler.
        """
        if self._is_broken:
            return None
        for tensor in (logits, targets):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        try:
            # Elsewhere a failure is passed over, and the function then runs as it is written.
            with torch._dynamo.config.patch(suppress_errors=False):
                return self._compiled(logits, targets, vocabulary)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as exc:  # noqa: BLE001 (each compiler raises its own; none is needed)
            self._is_broken = True
            reason = str(exc).strip().partition("\n")[0]
            log.warning("loss_not_compiled", error=type(exc).__name__, reason=reason)
            return None


@functools.cache
def _fused() -> FusedGradient:
    return FusedGradient(torch.compile(fused_gradient))
