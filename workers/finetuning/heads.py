"""Causal language models taught to give their summed loss without making all logits."""

import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from workers.finetuning.devices import to_device
from workers.finetuning.encoding import IGNORED
from workers.finetuning.loss import chunked_cross_entropy
from workers.finetuning.packed_attention import (
    Kernels,
    attention_inputs,
    find_documents,
    use_packed_attention,
)

log = structlog.get_logger(__name__)

# Relative difference above which a head is taken to do more than a matrix product.
_TOLERANCE = 1e-2


def attach_summed_loss(model: PreTrainedModel, autocast: torch.dtype | None = None) -> bool:
    """Make ``model(input_ids, position_ids, labels, documents)`` return the sum of the losses.

    Labels are aligned with ``input_ids``, as everywhere in ``transformers``. Without labels the
    model does what it always did, so generation is untouched; wrappers such as PEFT and
    DistributedDataParallel pass through here too. The result's ``loss`` is a sum in float32, no
    mean: the caller divides, so that accumulation weighs every token alike.

    Where ``position_ids`` start again at 0, another document begins, which does not see the one
    before. ``documents``, their lengths in each row, say the same and spare the mask where the
    model can do without (:mod:`workers.finetuning.packed_attention`). ``learnt``, the positions of
    each row whose next token is, spares the host to wait for a device that would count them.

    Args:
        model: on its device.
        autocast: dtype of the products; None where they run in the weights' own.

    Returns:
        Whether the loss is chunked. Heads that scale or cap their logits keep them whole.
    """
    is_plain = _has_plain_head(model)
    if not is_plain:
        log.info("logits_kept_whole", model=type(model).__name__)
    kernels = use_packed_attention(model, autocast)
    if kernels is None:
        log.info("attention_masked", model=type(model).__name__)
    else:
        log.info("attention_packed", model=type(model).__name__, kernels=kernels.name)
    forward = _summed_forward(model.forward, kernels, is_plain=is_plain)
    model.forward = types.MethodType(forward, model)
    return is_plain


def _summed_forward(
    original: Callable[..., Any], kernels: Kernels | None, *, is_plain: bool
) -> Callable[..., Any]:
    """The ``forward`` that a model gets in place of its own."""

    def forward(
        self: PreTrainedModel,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        documents: Sequence[NDArray[np.int32]] | None = None,
        learnt: Sequence[NDArray[np.int64]] | None = None,
        **kwargs: Any,
    ) -> Any:
        if labels is None or input_ids is None:
            return original(input_ids=input_ids, position_ids=position_ids, **kwargs)
        # Without a cache and a mask, positions that start again tell one document from the next.
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "use_cache": False}
        if kernels is not None and documents is not None:
            inputs |= attention_inputs(find_documents(documents), input_ids.device, kernels)
        # Layers are compiled for training alone: another graph for the measurements between would
        # cost more than it saves.
        is_learning = self.training and torch.is_grad_enabled()
        with nullcontext() if is_learning else torch.compiler.set_stance("force_eager"):
            if is_plain:
                return CausalLMOutput(loss=_chunked_loss(self, inputs, labels, learnt))
            return CausalLMOutput(loss=_whole_loss(original(**inputs).logits, labels))

    return forward


def _chunked_loss(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    labels: Tensor,
    learnt: Sequence[NDArray[np.int64]] | None,
) -> Tensor:
    hidden: Tensor = model.base_model(**inputs).last_hidden_state
    head = _head_of(model)
    flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
    chosen = None
    if learnt is not None:
        size = labels.shape[1] - 1
        places = np.concatenate([row + number * size for number, row in enumerate(learnt)])
        chosen = to_device(torch.from_numpy(places), labels.device)
    targets = labels[:, 1:].reshape(-1)
    return chunked_cross_entropy(flat, head.weight, targets, head.bias, chosen=chosen)


def _whole_loss(logits: Tensor, labels: Tensor) -> Tensor:
    flat = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    targets = labels[:, 1:].reshape(-1)
    return functional.cross_entropy(flat, targets, ignore_index=IGNORED, reduction="sum")


def _head_of(model: PreTrainedModel) -> nn.Linear:
    head = _embeddings_out(model)
    if not isinstance(head, nn.Linear):
        raise TypeError("The model's head is no linear layer.")
    return head


def _embeddings_out(model: PreTrainedModel) -> Any:
    untyped: Any = model
    return untyped.get_output_embeddings()


@torch.no_grad()
def _has_plain_head(model: PreTrainedModel) -> bool:
    """Whether logits are the head's product with the last hidden state and nothing more."""
    head = _embeddings_out(model)
    if type(head) is not nn.Linear or model.base_model is model:
        return False
    was_training = model.training
    model.train(mode=False)
    probe = torch.arange(1, 5, device=head.weight.device).unsqueeze(0)
    whole = model(input_ids=probe, use_cache=False).logits.float()
    plain = head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state).float()
    model.train(was_training)
    return bool((whole - plain).abs().max() <= _TOLERANCE * whole.abs().max().clamp(min=1e-6))
