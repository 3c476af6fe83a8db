import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from workers.generation.processor import llama_kernels

ROWS, SIZE = 5, 24
BOUNDS = [[0, ROWS], [0, 2, ROWS], [0, 1, 3, ROWS]]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("is_adding", [True, False])
def test_sums_are_kept_and_normalised_by_their_root_mean_square(bounds, is_adding):
    norm = LlamaRMSNorm(SIZE, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    hidden, added = drawn(ROWS, SIZE), drawn(ROWS, SIZE, seed=1)
    sums, normed = hidden.clone(), torch.empty(ROWS, SIZE)
    llama_kernels.add_and_normalise(
        bounds,
        sums.numpy(),
        added.numpy() if is_adding else np.empty((0, 0), np.float32),
        norm.weight.detach().numpy(),
        np.float32(1e-3),
        normed.numpy(),
    )
    expected = hidden + added if is_adding else hidden
    assert torch.equal(sums, expected)
    torch.testing.assert_close(normed, norm(expected).detach())


@pytest.mark.parametrize("bounds", BOUNDS)
def test_queries_and_keys_are_turned_and_values_stay(bounds):
    heads, kv_heads, size = 4, 2, 6
    mixed = drawn(ROWS, (heads + 2 * kv_heads) * size)
    angles = drawn(ROWS, size // 2).repeat(1, 2)
    cosines, sines = angles.cos(), angles.sin()
    query, key, value = torch.split(
        mixed.clone().view(1, ROWS, -1, size).transpose(1, 2), [heads, kv_heads, kv_heads], dim=1
    )
    query, key = apply_rotary_pos_emb(query, key, cosines[None], sines[None])
    expected = torch.cat((query, key, value), dim=1).transpose(1, 2).reshape(ROWS, -1)
    llama_kernels.rotate(bounds, mixed.numpy(), cosines.numpy(), sines.numpy(), heads + kv_heads)
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_gates_open_as_silu_does_even_far_out(bounds):
    both = drawn(ROWS, 2 * SIZE)
    both[0, :4] = torch.tensor([-200.0, 200.0, 0.0, -1e-30])
    gated = torch.empty(ROWS, SIZE)
    llama_kernels.gate(bounds, both.numpy(), gated.numpy())
    gates, values = both.chunk(2, dim=1)
    expected = torch.nn.functional.silu(gates) * values
    torch.testing.assert_close(gated, expected, atol=1e-6, rtol=1e-5)


def test_what_is_no_number_stays_none():
    both, gated = torch.full((1, 2), torch.nan), torch.zeros(1, 1)
    llama_kernels.gate([0, 1], both.numpy(), gated.numpy())
    assert gated.isnan().all()
