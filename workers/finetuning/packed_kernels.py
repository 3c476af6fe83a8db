"""The two operations behind :mod:`workers.finetuning.packed_attention`, forward and backward.

They are registered with PyTorch, so that compiled layers hold them as one step each. The aten
functions they call are those behind ``scaled_dot_product_attention`` and
``torch.nn.attention.varlen``, whose own signature has changed from release to release.
"""

# ruff: noqa: ARG001, FBT003 (the signatures, of fakes too, are PyTorch's)

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


@torch.library.custom_op("perroquet::attend_documents", mutates_args=())
def attend_documents(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    groups: Tensor,
    tiles: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Causal attention within each document.

    Args:
        query: ``(tokens, heads, width)``.
        key, value: as ``query``, on a GPU maybe with fewer heads; bf16 or fp16 there.
        bounds, groups, tiles: as :class:`workers.finetuning.packed_attention.Documents` has them,
            bounds and tiles on the same device. With tiles, Triton's kernels go by them; without
            any, PyTorch's own go by the rest.
        scale: of the products.

    Returns:
        The result, like ``query``, and the logarithms of the sums, float32 ``(heads, tokens)``,
        for backward.
    """
    if len(tiles):
        found_by_tiles: tuple[Tensor, Tensor] = _tiled().attend_tiles(
            query, key, value, tiles, scale
        )
        return found_by_tiles
    forward = _forward_on_cpu if query.device.type == "cpu" else _forward_on_gpu
    found = [
        forward(query[one.tokens], key[one.tokens], value[one.tokens], bounds[one.bounds],
                one.longest, scale)
        for one in _read(groups)
    ]  # fmt: skip
    if len(found) == 1:
        attended, sums = found[0]
        return attended.contiguous(), sums
    return torch.cat([one for one, _ in found]), torch.cat([sums for _, sums in found], dim=1)


@attend_documents.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    groups: Tensor,
    tiles: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    sums = query.new_empty((query.shape[1], query.shape[0]), dtype=torch.float32)
    return query.new_empty(query.shape), sums


@torch.library.custom_op("perroquet::attend_documents_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    sums: Tensor,
    bounds: Tensor,
    groups: Tensor,
    tiles: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    if len(tiles):
        grads: tuple[Tensor, Tensor, Tensor] = _tiled().attend_tiles_backward(
            grad, query, key, value, attended, sums, tiles, scale
        )
        return grads
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]] = (
        _backward_on_cpu if query.device.type == "cpu" else _backward_on_gpu
    )
    tensors = (grad.contiguous(), query, key, value, attended)
    found = [
        backward(*(tensor[one.tokens] for tensor in tensors), sums[:, one.tokens].contiguous(),
                 bounds[one.bounds], one.longest, scale)
        for one in _read(groups)
    ]  # fmt: skip
    if len(found) == 1:
        by_query, by_key, by_value = (one.contiguous() for one in found[0])
        return by_query, by_key, by_value
    by_query, by_key, by_value = (torch.cat(pieces) for pieces in zip(*found, strict=True))
    return by_query, by_key, by_value


@_attend_backward.register_fake
def _(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    sums: Tensor,
    bounds: Tensor,
    groups: Tensor,
    tiles: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    by_query, by_key, by_value = (one.new_empty(one.shape) for one in (query, key, value))
    return by_query, by_key, by_value


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, groups, tiles, scale = inputs
    ctx.save_for_backward(query, key, value, *output, bounds, groups, tiles)
    ctx.scale = scale


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    grads = _attend_backward(grad, *ctx.saved_tensors, ctx.scale)
    return *grads, None, None, None, None


def _tiled() -> Any:
    """The kernels for tiles; where there is no Triton, nobody makes tiles."""
    from workers.finetuning import triton_documents

    return triton_documents


attend_documents.register_autograd(_backward, setup_context=_remember)


class _Group(NamedTuple):
    """Documents of about one length, which lie side by side."""

    tokens: slice
    bounds: slice
    longest: int


def _read(groups: Tensor) -> list[_Group]:
    return [
        _Group(slice(start, end), slice(first, last), longest)
        for start, end, first, last, longest in groups.tolist()
        if end > start
    ]


def _forward_on_gpu(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float
) -> tuple[Tensor, Tensor]:
    attended, sums, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, 0.0, True, False, scale=scale
    )
    return attended, sums


def _backward_on_gpu(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    sums: Tensor,
    bounds: Tensor,
    longest: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    # Without dropout there is no random state to go back to.
    state = torch.zeros((2,), dtype=torch.uint64, device=query.device)
    unused = torch.empty(0, device=query.device)
    by_query, by_key, by_value = torch.ops.aten._flash_attention_backward(
        grad, query, key, value, attended, sums, bounds, bounds, longest, longest,
        0.0, True, state, unused, scale=scale,
    )  # fmt: skip
    return by_query, by_key, by_value


def _forward_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float
) -> tuple[Tensor, Tensor]:
    found = [
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            _one(query, part), _one(key, part), _one(value, part), 0.0, True, scale=scale
        )
        for part in _parts(bounds)
    ]
    attended = torch.empty_like(query)
    _join([inner for inner, _ in found], attended)
    return attended, torch.cat([sums[0] for _, sums in found], dim=1)


def _backward_on_cpu(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor,
    sums: Tensor,
    bounds: Tensor,
    longest: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    found = [
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(_one(one, part) for one in (grad, query, key, value, attended)),
            sums[:, part].unsqueeze(0),
            0.0,
            True,
            scale=scale,
        )
        for part in _parts(bounds)
    ]
    grads = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    for whole, pieces in zip(grads, zip(*found, strict=True), strict=True):
        _join(pieces, whole)
    return grads


def _join(pieces: Sequence[Tensor], whole: Tensor) -> None:
    """Put what the kernels made of each document back side by side."""
    torch.cat([piece[0].transpose(0, 1) for piece in pieces], out=whole)


def _parts(bounds: Tensor) -> Iterator[slice]:
    numbers = bounds.tolist()
    return (slice(start, end) for start, end in itertools.pairwise(numbers))


def _one(tensor: Tensor, part: slice) -> Tensor:
    """A document's tokens as the kernels want them: ``(1, heads, tokens, width)``."""
    return tensor[part].transpose(0, 1).unsqueeze(0)
