"""Activations of the MLP, where PyTorch's own are slow."""

import torch
from torch import nn

from workers.generation.processor import kernels
from workers.generation.processor.threads import even_bounds


class CompiledGELU(nn.Module):
    """GPT-2's activation, the tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415).

    PyTorch's takes two to five times as long (docs/log.md).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``x`` itself, float32 on the CPU, changed in place where it is contiguous."""
        x = x.contiguous()
        kernels.gelu(even_bounds(x.numel(), x.numel()), x.view(-1).numpy())
        return x
