"""Layers that read the same input, multiplied as one.

In a small model each product takes as long to begin as to be done, and models of Llama's kind part
into five layers what two products give.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import (
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
)

from workers.generation.processor.linears import PackedLinear

# Their layers are the same but for biases, and for what a window's length tells.
_FAMILIES = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)
_NAMES = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def joined_names(model: PreTrainedModel) -> tuple[tuple[str, ...], ...]:
    """The names of layers that read the same, in parents that have all of them.

    Returns:
        Nothing for models that :class:`.llama.DirectLlama` cannot compute: transformers' own
        forward asks for each layer by itself.
    """
    if type(model) not in _FAMILIES or model.config.hidden_act != "silu":
        return ()
    # A part of each head that is turned is what transformers refuses for these families.
    turned = 2 * len(model.model.rotary_emb.inv_freq)
    is_whole = turned == model.model.layers[0].self_attn.head_dim
    return _NAMES if is_whole else ()


class JoinedLinears:
    """A packed layer whose outputs are those of several layers, side by side.

    It is no module itself: what may be changed in a model are its parts, which are where the layers
    were, under their names.
    """

    def __init__(self, product: PackedLinear, sizes: Sequence[int]) -> None:
        """Args:
        product: of the layers' weights, one below the other.
        sizes: how many outputs each layer has, in this order.
        """
        self.product = product
        ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
        self.parts = [
            LinearPart(self, end - size, end) for size, end in zip(sizes, ends, strict=True)
        ]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """What all layers, with the hooks that they have, make of ``[..., in_features]``, float32:
        ``[..., sum(sizes)]``."""
        product: torch.Tensor = self.product(x)
        for part in self.parts:
            part(x, product)
        return product


class LinearPart(nn.Module):
    """One of several layers that are multiplied together, in the place where it was."""

    def __init__(self, joined: JoinedLinears, start: int, end: int) -> None:
        """Args:
        joined: what it is part of.
        start: its first output there.
        end: behind its last output.
        """
        super().__init__()
        self.joined = joined
        self.in_features, self.out_features = joined.product.in_features, end - start
        self._start = start

    def forward(self, x: torch.Tensor, product: torch.Tensor | None = None) -> torch.Tensor:
        """Its share of the product: computed for it alone, with all others, where none is given.

        Returns:
            float32 ``[..., out_features]``, a view.
        """
        if product is None:
            product = self.joined.product(x)
        return product.narrow(-1, self._start, self.out_features)
