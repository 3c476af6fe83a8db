"""Cross entropy over a large vocabulary that never holds all logits.

GPT-2's logits, batch × time × 50,257 in float32, are the peak of a training step's memory. Here
the hidden states are multiplied by the output weights a chunk of positions at a time, and the
gradient of each chunk is taken while its logits are at hand, so backward only scales it. The
scheme is that of Liger Kernel's fused linear cross entropy (Hsu et al. 2024, arXiv:2410.10989),
written in plain PyTorch. Positions that are not learnt cost nothing.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function

from workers.finetuning.encoding import IGNORED
from workers.finetuning.logits import gradient_of_logits, padded_weight

# Logits of this many bytes at a time, reckoned in float32: small enough to stay far below the rest
# of a step, large enough for matrix products to run at full speed. A GPU takes a share of its
# memory, for with a few hundred rows most of its units have nothing to do.
_CHUNK_BYTES = 64 << 20
_MOST_GPU_CHUNK_BYTES = 2 << 30
_GPU_SHARE = 32
_LEAST_ROWS = 16
_ROUNDED_ROWS = 128


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    chunk_size: int | None = None,
    chosen: Tensor | None = None,
) -> Tensor:
    """Sum of the negative log-likelihoods of ``labels``.

    The products run in autocast's dtype where autocast is on, as those of a plain head would.
    Backward may be run once: it scales the gradients in place.

    Args:
        hidden: ``(positions, width)``, float32, bfloat16 or float16.
        weight: output embedding, ``(vocabulary, width)``; gets a gradient only if it needs one.
        labels: ``(positions,)`` int64; :data:`~workers.finetuning.encoding.IGNORED` is left out.
        bias: ``(vocabulary,)``, where the head has one.
        chunk_size: positions at a time; by default as many as fit 64 MiB of float32 logits, or
            a thirty-second of a GPU's memory.
        chosen: the positions whose label is not left out, int64, where the caller knows them; to
            find them, the host waits for the device.

    Returns:
        A float32 scalar: the sum, so that any normalisation is the caller's.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    if chosen is None:
        chosen = (labels != IGNORED).nonzero().squeeze(1)
    hidden, labels = _Rows.apply(hidden, chosen), labels[chosen]  # type: ignore[no-untyped-call]
    if not torch.is_grad_enabled():
        # A function is told that weights need a gradient even where none is kept.
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    size = _even_size(len(labels), chunk_size or _most_rows(hidden.device, weight.shape[0]))
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, labels, size)  # type: ignore[no-untyped-call]
    return loss


def _most_rows(device: torch.device, vocabulary: int) -> int:
    room = _CHUNK_BYTES
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        room = min(_MOST_GPU_CHUNK_BYTES, total // _GPU_SHARE)
    return max(_LEAST_ROWS, room // (4 * vocabulary))


def _even_size(positions: int, most: int) -> int:
    """Chunks of equal size: a small last one would read all weights for a few rows. Large ones are
    rounded, so that from step to step a device finds room of the same size again."""
    count = max(1, math.ceil(positions / most))
    size = max(1, math.ceil(positions / count))
    return size + -size % _ROUNDED_ROWS if size > _ROUNDED_ROWS else size


class _Rows(Function):
    """Some rows, each once; backward reads where plain indexing sorts and adds."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, chosen: Tensor) -> Tensor:
        # Where a row went; behind the last one lies a row of zeros.
        places = chosen.new_full((len(rows),), len(chosen))
        places[chosen] = torch.arange(len(chosen), device=chosen.device)
        ctx.save_for_backward(places)
        return rows.index_select(0, chosen)

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        grad = torch.cat((outer[0], outer[0].new_zeros((1, outer[0].shape[1]))))
        return grad.index_select(0, places), None


class _Gradients(NamedTuple):
    """Of the hidden states, in their dtype, and of the weights and the bias, in float32; None
    where nobody needs them."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


class _ChunkedCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, size: int
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        total = hidden.new_zeros((), dtype=torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            cast = padded_weight(weight, hidden)
            grads = _Gradients(
                torch.empty_like(hidden) if needs_hidden else None,
                torch.empty_like(cast, dtype=torch.float32) if needs_weight else None,
                torch.zeros_like(bias, dtype=torch.float32)
                if bias is not None and needs_bias
                else None,
            )
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                total += _chunk(hidden, cast, bias, labels, part, grads, len(weight))
        if grads.weight is not None and not len(labels):
            grads.weight.zero_()
        ctx.save_for_backward(
            grads.hidden,
            None if grads.weight is None else grads.weight[: len(weight)].to(weight.dtype),
            None if grads.bias is None or bias is None else grads.bias.to(bias.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Any) -> tuple[Tensor | None, ...]:
        scale = outer[0]
        # In place: for GPT-2's head a copy is 154 MB. Autograd notices a second backward.
        grads = tuple(None if grad is None else grad.mul_(scale) for grad in ctx.saved_tensors)
        return *grads, None, None


def _chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    part: slice,
    grads: _Gradients,
    vocabulary: int,
) -> Tensor:
    """The loss of one chunk; its gradients are written or added to ``grads``."""
    inputs, targets = hidden[part], labels[part]
    logits = inputs @ weight.T
    loss, by_logits = gradient_of_logits(
        logits,
        targets,
        bias,
        vocabulary,
        is_wanted=any(grad is not None for grad in grads),
    )
    if by_logits is None:
        return loss
    if grads.bias is not None:
        grads.bias.add_(by_logits[:, :vocabulary].sum(dim=0, dtype=torch.float32))
    by_logits = by_logits.to(inputs.dtype)
    if grads.hidden is not None:
        torch.mm(by_logits, weight, out=grads.hidden[part])
    if grads.weight is not None:
        _add_product(grads.weight, by_logits, inputs, is_first=part.start == 0)
    return loss


def _add_product(total: Tensor, by_logits: Tensor, inputs: Tensor, *, is_first: bool) -> None:
    if inputs.dtype != total.dtype:
        product = by_logits.T @ inputs
        total.copy_(product) if is_first else total.add_(product)
    elif is_first:
        torch.mm(by_logits.T, inputs, out=total)
    else:
        total.addmm_(by_logits.T, inputs)
