"""GPT-2's forward pass, layer after layer, without what transformers wraps around each of them.

The modules are the model's own, so whatever was made of them (packed weights, adapters' hooks,
faster norms) takes part; what is left out are masks that nobody reads, dropouts of nothing and the
handling of arguments: 1.5 to 2 ms of Python a step.
"""

from typing import Any, Protocol, cast

import torch
from transformers import GPT2LMHeadModel, PreTrainedModel

from workers.generation.attention import Batch
from workers.generation.processor.joined import LinearPart


class Direct(Protocol):
    """A short way through a model."""

    def __call__(
        self, input_ids: torch.Tensor, positions: torch.Tensor, batch: Batch, keep: torch.Tensor
    ) -> torch.Tensor:
        """Compute a step.

        Args:
            input_ids: int64 ``[1, T]``.
            positions: int64 ``[1, T]``, of each token in its own sequence.
            batch: where the sequences lie.
            keep: int64, of which rows logits are wanted.

        Returns:
            ``[len(keep), vocabulary]`` of the model's dtype.
        """
        ...


class DirectGPT2:
    """A GPT-2's layers, to be computed for the packed rows of a step."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        """Use :func:`direct`, which knows whom this serves."""
        # transformers publishes no types for its modules' parts.
        typed = cast(Any, model)
        self._head = typed
        self._body = typed.transformer
        self._blocks = [(i, block, block.attn, block.mlp) for i, block in enumerate(self._body.h)]
        self._heads = int(typed.config.num_attention_heads)

    def __call__(
        self, input_ids: torch.Tensor, positions: torch.Tensor, batch: Batch, keep: torch.Tensor
    ) -> torch.Tensor:
        """See :class:`Direct`."""
        body = self._body
        hidden = body.wte(input_ids) + body.wpe(positions)
        rows = hidden.shape[1]
        by_head = (1, rows, self._heads, hidden.shape[2] // self._heads)
        for number, block, attention, feed_forward in self._blocks:
            mixed = attention.c_attn(block.ln_1(hidden)).split(hidden.shape[2], dim=2)
            query, key, value = (part.view(by_head).transpose(1, 2) for part in mixed)
            attended = batch.attend(number, query, key, value, attention.scaling)
            hidden += attention.c_proj(attended.view(1, rows, -1))
            activated = feed_forward.act(feed_forward.c_fc(block.ln_2(hidden)))
            hidden += feed_forward.c_proj(activated)
        kept = body.ln_f(hidden[0].index_select(0, keep))
        logits: torch.Tensor = self._head.lm_head(kept)
        return logits


def direct(model: PreTrainedModel) -> Direct | None:
    """The short way through a model, where there is one.

    Returns:
        None for other families, whose own forward serves as well, and for a GPT-2 that is asked to
        compute something else than this does.
    """
    if type(model) is GPT2LMHeadModel:
        config = model.config
        is_usual = not (config.add_cross_attention or config.reorder_and_upcast_attn)
        return DirectGPT2(model) if is_usual else None
    if any(isinstance(module, LinearPart) for module in model.modules()):
        # Needs Numba, which has no wheel for each Python and each processor; so does its sign.
        from workers.generation.processor.llama import DirectLlama

        return DirectLlama(model)
    return None
