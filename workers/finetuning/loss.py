"""Cross entropy over a large vocabulary that never holds all logits.

GPT-2's logits, batch × time × 50,257 in float32, are the peak of a training step's memory. Here
the hidden states are multiplied by the output weights a chunk of positions at a time, and the
gradient of each chunk is taken while its logits are at hand, so backward only scales it. The
scheme is that of Liger Kernel's fused linear cross entropy (Hsu et al. 2024, arXiv:2410.10989),
written in plain PyTorch. Positions that are not learnt cost nothing.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from workers.finetuning.encoding import IGNORED

# Logits of this many bytes at a time: small enough to stay far below the rest of a step, large
# enough for matrix products to run at full speed.
_CHUNK_BYTES = 64 << 20


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    """Sum of the negative log-likelihoods of ``labels``.

    Args:
        hidden: ``(positions, width)``, float32, bfloat16 or float16.
        weight: output embedding, ``(vocabulary, width)``; gets a gradient only if it needs one.
        labels: ``(positions,)`` int64; :data:`~workers.finetuning.encoding.IGNORED` is left out.
        bias: ``(vocabulary,)``, where the head has one.
        chunk_size: positions at a time; by default as many as fit 64 MiB of float32 logits.

    Returns:
        A float32 scalar: the sum, so that any normalisation is the caller's.
    """
    learnt = labels != IGNORED
    hidden, labels = hidden[learnt], labels[learnt]
    size = chunk_size or max(16, _CHUNK_BYTES // (4 * weight.shape[0]))
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, labels, size)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, size: int
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grads = (
            torch.empty_like(hidden) if needs_hidden else None,
            torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None,
            torch.zeros_like(bias, dtype=torch.float32)
            if bias is not None and needs_bias
            else None,
        )
        total = hidden.new_zeros((), dtype=torch.float32)
        # Under autocast the products run in the low precision, as those of a plain head would.
        with torch.autocast(hidden.device.type, enabled=False):
            cast = weight.to(hidden.dtype)
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                total += _chunk(hidden, cast, bias, labels, part, grads)
        grad_hidden, grad_weight, grad_bias = grads
        ctx.save_for_backward(
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[Tensor | None, ...]:
        scale = outer[0]
        grads = tuple(None if grad is None else grad * scale for grad in ctx.saved_tensors)
        return *grads, None, None


def _chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    part: slice,
    grads: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> Tensor:
    """The loss of one chunk; its gradients are written or added to ``grads``."""
    inputs, targets = hidden[part], labels[part].unsqueeze(1)
    logits = (inputs @ weight.T).float()
    if bias is not None:
        logits += bias
    logits -= logits.amax(dim=-1, keepdim=True)
    at_target = logits.gather(1, targets)
    probabilities = logits.exp_()
    sums = probabilities.sum(dim=-1, keepdim=True)
    loss = (sums.log() - at_target).sum()
    grad_hidden, grad_weight, grad_bias = grads
    if grad_hidden is None and grad_weight is None and grad_bias is None:
        return loss
    # The gradient of the loss by the logits: softmax minus one at the target.
    probabilities /= sums
    probabilities.scatter_add_(1, targets, probabilities.new_full(targets.shape, -1.0))
    if grad_bias is not None:
        grad_bias += probabilities.sum(dim=0)
    lowered = probabilities.to(hidden.dtype)
    if grad_hidden is not None:
        torch.mm(lowered, weight, out=grad_hidden[part])
    if grad_weight is not None:
        _add_product(grad_weight, lowered, inputs)
    return loss


def _add_product(total: Tensor, logits_grad: Tensor, inputs: Tensor) -> None:
    if inputs.dtype == total.dtype:
        total.addmm_(logits_grad.T, inputs)
    else:
        total += (logits_grad.T @ inputs).float()
