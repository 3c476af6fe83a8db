"""The layers of a base, made ready to be run thousands of times.

What is changed here is gone when the model is saved: its configuration stays as it was.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import NewGELUActivation


def layers_of(causal: PreTrainedModel) -> list[nn.Module]:
    """The transformer's layers, lowest first; empty where it has none in a list."""
    body: nn.Module = causal.base_model
    return next((list(one) for one in body.children() if isinstance(one, nn.ModuleList)), [])


def make_layers_fast(causal: PreTrainedModel, dropout: float) -> None:
    """Replace what costs time and gives nothing for it.

    GPT-2's activation becomes the one kernel that PyTorch has for it, in place of eight passes.
    Under autocast to bf16 the embeddings give bf16, and with them all states between the layers,
    as where a model is trained in bf16 throughout; the weights themselves stay in float32.
    """
    for module in causal.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                child.p = dropout
            elif isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(_lower)


def compile_layers(causal: PreTrainedModel, backend: str = "inductor") -> None:
    """Compile each layer on its own: they share one graph, so it takes seconds and not minutes.

    Where that fails, for want of a compiler say, the layers run as they are.

    Args:
        causal: the model; it is compiled in its first step of training.
        backend: of ``torch.compile``.
    """
    config: Any = torch._dynamo.config
    config.suppress_errors = True
    for layer in layers_of(causal):
        layer.compile(backend=backend)


def _lower(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    device = output.device.type
    is_lowered = torch.is_autocast_enabled(device)
    is_lowered = is_lowered and torch.get_autocast_dtype(device) is torch.bfloat16
    return output.to(torch.bfloat16) if is_lowered else output
