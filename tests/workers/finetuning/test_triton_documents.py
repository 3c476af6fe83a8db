"""Triton's kernels against plain PyTorch: on a GPU, or anywhere with TRITON_INTERPRET=1."""

import os

import numpy as np
import pytest
import torch

from workers.finetuning.packed_attention import find_documents

pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for GPUs")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU, and TRITON_INTERPRET is not set", allow_module_level=True)

from workers.finetuning.triton_documents import attend_tiles, attend_tiles_backward

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SCALE = 0.2


def plain(query, key, value, lengths):
    group = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(group, dim=1) for one in (key, value))
    pieces = []
    for parts in zip(*(one.split(lengths) for one in (query, key, value)), strict=True):
        asked, keys, values = (part.transpose(0, 1) for part in parts)
        scores = asked @ keys.transpose(1, 2) * SCALE
        hidden = torch.ones(scores.shape[1:], device=DEVICE).triu(1).bool()
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        pieces.append((weights @ values).transpose(0, 1))
    return torch.cat(pieces)


@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(2, 2, 16), (4, 2, 32)])
@pytest.mark.parametrize("lengths", [[1], [64], [65, 1, 40], [130, 7, 64, 200]], ids=str)
def test_tiles_attend_as_documents_do(lengths, heads, kv_heads, width):
    dice = torch.Generator().manual_seed(sum(lengths))
    tokens = sum(lengths)
    # Parts of one projection, as GPT-2's are.
    mixed = torch.randn(tokens, heads + 2 * kv_heads, width, generator=dice).to(DEVICE)
    inputs = mixed.split((heads, kv_heads, kv_heads), dim=1)
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    expected = plain(*leaves, lengths)
    outer = torch.randn(expected.shape, generator=dice).to(DEVICE)
    wanted = torch.autograd.grad(expected, leaves, outer)
    tiles = find_documents([np.array(lengths, np.int32)]).tiles.to(DEVICE)
    attended, sums = attend_tiles(*inputs, tiles, SCALE)
    torch.testing.assert_close(attended, expected, atol=1e-5, rtol=1e-5)
    found = attend_tiles_backward(outer, *inputs, attended, sums, tiles, SCALE)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
    again = attend_tiles_backward(outer, *inputs, attended, sums, tiles, SCALE)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
