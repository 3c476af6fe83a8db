"""Activations of the MLP, where PyTorch's own are slow."""

import torch
from torch import nn

from workers.generation.processor import kernels
from workers.generation.processor.threads import share, thread_count

# A helper must be worth waking: so many numbers take about 20 us.
_NUMBERS_PER_THREAD = 32_768


class CompiledGELU(nn.Module):
    """GPT-2's activation, the tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415).

    PyTorch's takes two to five times as long (docs/log.md).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``x`` itself, float32 on the CPU, changed in place where it is contiguous."""
        x = x.contiguous()
        count = x.numel()
        parts = max(1, min(thread_count(), count // _NUMBERS_PER_THREAD))
        bounds = [count * part // parts for part in range(parts + 1)]
        share(kernels.gelu, bounds, x.view(-1).numpy())
        return x
