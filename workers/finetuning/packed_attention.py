"""Attention within the documents of packed rows, without a mask.

``transformers`` builds a block-diagonal mask for packed rows, with which every token is multiplied
with every other one of its row and no flash kernel can run on a GPU. Here a document is a stretch
of its own: on a GPU by kernels for tiles of documents, or where there is no Triton by the
variable-length flash kernel that comes with PyTorch (ROCm's build has both), on a CPU in one call
of PyTorch's flash kernel for each document. The cost falls from rows × block² to the sum of the
documents' squares.

Dropout of attention weights is left out: these kernels have none, nor had the code that GPT-2 was
released with.
"""

import importlib.util
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from workers.finetuning.devices import to_device
from workers.finetuning.packed_kernels import attend_documents

log = structlog.get_logger(__name__)

NAME = "perroquet_documents"
# Tokens of the documents of a trial: longer than a block of the kernels, and no multiple of one. On
# a CPU, whose blocks are of 32, a longer one would take seconds.
_PROBE, _CPU_PROBE = (150, 90), (37, 5)
# Tokens of a tile: the kernels' block.
TILE = 64
# Groups of rows by the tokens of their longest document: one and two of the kernel's blocks.
_GROUP_ENDS = (128, 256)
# Of a token's vector, by its length. In SmolLM2 135M bf16 makes up to 0.02 of the states and 0.08
# of the gradients, and documents that are parted in the wrong place make 0.6 and more of either.
_TOLERANCE = 0.3


class Documents(NamedTuple):
    """Where the documents of a flattened batch lie.

    PyTorch's kernel takes as many steps for each document as for the longest one. So rows are taken
    together in groups by their longest document, those of short ones first.

    Attributes:
        bounds: int32; for each group the starts of its documents and the end of the last one,
            counted from the group's first token.
        groups: int64 ``(groups, 5)``, on the CPU: the group's first token and the end of its last
            one, where its bounds begin and end, and the tokens of its longest document. Surplus
            groups are empty, so that compiled code always sees the same shape.
        tiles: int32 ``(tiles, 3)``, the documents in pieces of up to :data:`TILE` tokens: a piece's
            first token, its document's first one, and where its document ends.
    """

    bounds: Tensor
    groups: Tensor
    tiles: Tensor


class Kernels(Enum):
    """What attends within documents: Triton's kernels by their tiles, or PyTorch's by the rest."""

    TILES = auto()
    SEGMENTS = auto()


def find_documents(lengths: Sequence[NDArray[np.int32]]) -> Documents:
    """The documents of packed rows.

    Args:
        lengths: tokens of each document of each row
            (:meth:`workers.finetuning.packing.PackedRows.lengths`). Rows that are not ordered by
            their longest document make one group.
    """
    kinds = [int(np.searchsorted(_GROUP_ENDS, row.max())) for row in lengths]
    if kinds != sorted(kinds):
        kinds = [len(_GROUP_ENDS)] * len(lengths)
    bounds: list[NDArray[np.int32]] = []
    groups = np.zeros((len(_GROUP_ENDS) + 1, 5), np.int64)
    token = place = 0
    for kind in sorted(set(kinds)):
        flat = np.concatenate([row for row, own in zip(lengths, kinds, strict=True) if own == kind])
        bounds.append(np.concatenate(([0], flat)).cumsum(dtype=np.int32))
        tokens, places = int(flat.sum()), len(flat) + 1
        groups[kind] = (token, token + tokens, place, place + places, flat.max())
        token, place = token + tokens, place + places
    return Documents(
        torch.from_numpy(np.concatenate(bounds)),
        torch.from_numpy(groups),
        torch.from_numpy(_tiles(np.concatenate(lengths))),
    )


def _tiles(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Of documents that lie one behind the other."""
    ends = lengths.cumsum(dtype=np.int32)
    begins = ends - lengths
    counts = -(-lengths // TILE)
    numbers = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    firsts = np.repeat(begins, counts) + TILE * numbers
    columns = (firsts, np.repeat(begins, counts), np.repeat(ends, counts))
    return np.stack(columns, axis=1).astype(np.int32)


def use_packed_attention(model: PreTrainedModel, dtype: torch.dtype | None) -> Kernels | None:
    """Make a model attend by :class:`Documents` where it is given some, and as before elsewhere.

    Args:
        model: a causal language model that attends through ``transformers``' interface.
        dtype: of the products under autocast; None where they run in the weights' own.

    Returns:
        By which kernels, found by a trial: some architectures do more than plain causal attention,
        and not every device has the kernels. None where by none: the model is as it was.
    """
    untyped: Any = model
    if untyped.config._attn_implementation != "sdpa" or _has_windows(untyped.config):
        return None
    lengths = _probe_lengths(model)
    device = next(model.parameters()).device
    expected = None
    for kernels in Kernels:
        if kernels is Kernels.TILES and not has_tiles(device):
            continue
        try:
            if expected is None:
                untyped.set_attn_implementation("sdpa")
                expected = _probe(model, dtype, lengths, {})
            untyped.set_attn_implementation(NAME)
            inputs = attention_inputs(find_documents([lengths]), device, kernels)
            found = _probe(model, dtype, lengths, inputs)
            if all(_is_close(*pair) for pair in zip(found, expected, strict=True)):
                return kernels
            log.info("attention_not_packed", kernels=kernels.name, reason="another result")
        except torch.AcceleratorError:
            raise
        except Exception as exc:  # noqa: BLE001 (each compiler raises its own; none is needed)
            reason = f"{type(exc).__name__}: {exc}"[:200]
            log.info("attention_not_packed", kernels=kernels.name, reason=reason)
    untyped.set_attn_implementation("sdpa")
    return None


def has_tiles(device: torch.device) -> bool:
    """Whether there is something that goes by tiles."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def attention_inputs(
    documents: Documents, device: torch.device, kernels: Kernels
) -> dict[str, Any]:
    """What a model's body is given beside tokens and positions.

    The mask of four dimensions keeps ``transformers`` from making one; nothing reads it.
    """
    if kernels is Kernels.TILES:
        documents = documents._replace(bounds=documents.bounds[:0])
    else:
        documents = documents._replace(tiles=documents.tiles[:0])
    bounds, tiles = (to_device(one, device) for one in (documents.bounds, documents.tiles))
    for one in (bounds, tiles):
        torch._dynamo.maybe_mark_dynamic(one, 0)
    mask = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)
    return {
        "attention_mask": mask,
        "document_bounds": bounds,
        "document_tiles": tiles,
        "groups": documents.groups,
    }


def _has_windows(config: Any) -> bool:
    kinds = getattr(config, "layer_types", None) or ()
    if any(kind != "full_attention" for kind in kinds):
        return True
    return not kinds and getattr(config, "sliding_window", None) is not None


def _probe_lengths(model: PreTrainedModel) -> NDArray[np.int32]:
    lengths = _CPU_PROBE if next(model.parameters()).device.type == "cpu" else _PROBE
    window = getattr(model.config, "max_position_embeddings", None) or max(lengths)
    return np.array([min(length, window) for length in lengths], np.int32)


@torch.enable_grad()
def _probe(
    model: PreTrainedModel,
    dtype: torch.dtype | None,
    lengths: NDArray[np.int32],
    extra: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Hidden states and the gradient of the embeddings, float32 ``(tokens, width)`` each."""
    untyped: Any = model
    was_training = model.training
    model.train(mode=False)
    device = next(model.parameters()).device
    positions = torch.cat([torch.arange(size, device=device) for size in lengths.tolist()])
    embedding = untyped.get_input_embeddings()
    # Far apart in the vocabulary, for neighbours may be alike.
    ids = torch.arange(len(positions), device=device) * 7919 % embedding.num_embeddings
    try:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            inputs = embedding(ids.unsqueeze(0)).detach().requires_grad_()
            hidden = untyped.base_model(
                inputs_embeds=inputs,
                position_ids=positions.unsqueeze(0),
                use_cache=False,
                **extra,
            ).last_hidden_state
        outer = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad(hidden, inputs, outer.to(hidden))
    finally:
        model.train(was_training)
    return hidden.detach()[0].float(), gradient[0].float()


def _is_close(found: Tensor, expected: Tensor) -> bool:
    """Whether each token's vector is, by its own length or that of most."""
    return bool(_differences(found, expected).max() <= _TOLERANCE)


def _differences(found: Tensor, expected: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(expected, dim=-1)
    differences = torch.linalg.vector_norm(found - expected, dim=-1)
    relative: Tensor = differences / lengths.clamp(min=float(lengths.median()))
    return relative


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    document_bounds: Tensor | None = None,
    document_tiles: Tensor | None = None,
    groups: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """``transformers``' attention interface: ``(batch, heads, tokens, width)`` each."""
    if document_bounds is None or document_tiles is None or groups is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ValueError("Attention that is capped or has sinks is not plain.")
    batch, heads, tokens, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    # A norm of queries and keys gives float32 under autocast; the products are the values' kind.
    flat = [_flatten(one, value.dtype) for one in (query, key, value)]
    if query.device.type == "cpu" and key.shape[1] != heads:
        flat[1:] = [one.repeat_interleave(heads // key.shape[1], dim=1) for one in flat[1:]]
    attended, _ = attend_documents(*flat, document_bounds, groups, document_tiles, scale)
    return attended.view(batch, tokens, heads, -1), None


def _flatten(heads_first: Tensor, dtype: torch.dtype) -> Tensor:
    """``(batch, heads, tokens, width)`` as ``(batch * tokens, heads, width)``."""
    return heads_first.transpose(1, 2).flatten(0, 1).to(dtype)


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
