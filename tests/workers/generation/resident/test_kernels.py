"""Triton's kernels against plain PyTorch: on a GPU, or anywhere with TRITON_INTERPRET=1."""

import os

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from workers.generation.resident.adapters import PLAIN_HALVES
from workers.generation.resident.paths import make_places, plain_mixed

pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for GPUs")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU, and TRITON_INTERPRET is not set", allow_module_level=True)

from workers.generation.resident.gpt2 import ADAPTED, difference_of_ways
from workers.generation.resident.triton_decode import triton_decode
from workers.generation.resident.triton_lora import add_up, multiply_down
from workers.generation.resident.triton_norms import layer_norm, rms_norm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("heads", "groups", "size"), [(4, 4, 64), (9, 3, 64), (8, 2, 80)])
def test_decoding(heads, groups, size):
    keys, values = (torch.randn(500, groups, size, device=DEVICE) for _ in range(2))
    keys[450:] = float("nan")
    query = torch.randn(3, heads, size, device=DEVICE)
    key, value = (torch.randn(3, groups, size, device=DEVICE) for _ in range(2))
    places = make_places((1, 1, 1), (333, 1, 70), (10, 449, 360), DEVICE)
    outcomes = []
    for path in (plain_mixed, triton_decode):
        held = keys.clone(), values.clone()
        outcomes.append((path(*held, query, key, value, places, size**-0.5), *held))
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("size_in", "size_out", "rank"), [(96, 48, 5), (768, 2304, 16)])
def test_adapters_by_row(size_in, size_out, rank):
    x, before = (torch.randn(4, size, device=DEVICE) for size in (size_in, size_out))
    down = torch.randn(3, size_in, rank, device=DEVICE) / size_in**0.5
    up = torch.randn(3, rank, size_out, device=DEVICE)
    codes = torch.tensor([7, -1, 9, 6], device=DEVICE)
    outputs = []
    for multiply, add in (
        (PLAIN_HALVES.down, PLAIN_HALVES.up),
        (multiply_down, add_up),
    ):
        inner, output = x.new_zeros(4, rank), before.clone()
        multiply(x, inner, down, codes, 6)
        add(inner, output, up, codes, 6)
        outputs.append(output)
    torch.testing.assert_close(*outputs, atol=1e-3, rtol=1e-3)


def test_norms():
    x = torch.randn(5, 576, device=DEVICE) * 2 + 1
    layer, rms = nn.LayerNorm(576).to(DEVICE), LlamaRMSNorm(576).to(DEVICE)
    for parameter in (*layer.parameters(), *rms.parameters()):
        nn.init.normal_(parameter)
    with torch.inference_mode():
        ours = layer_norm(x, layer.weight, layer.bias, layer.eps)
        torch.testing.assert_close(ours, layer(x), atol=1e-5, rtol=1e-5)
        ours = rms_norm(x, rms.weight, rms.variance_epsilon)
        torch.testing.assert_close(ours, rms(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("adapted", "rank"), [(ADAPTED, 5), (ADAPTED[::2], 16), (ADAPTED[1:3], 1), (ADAPTED[3:], 8)]
)
def test_a_gpt2_with_adapters_in_few_kernels(adapted, rank):
    assert difference_of_ways(DEVICE, torch.float32, adapted, rank) < 1e-5
