import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("numba")

from workers.generation.adapter_bank import AdapterBank
from workers.generation.adapter_rows import Group
from workers.generation.adapters import LoraAdapter
from workers.generation.processor import low_rank
from workers.generation.processor.low_rank import CompiledProducts, fits

SLOTS, SIZE_IN = 5, 50


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrices(rank=16, size_out=80):
    return {"layer": numbers(SLOTS, SIZE_IN, rank)}, {"layer": numbers(SLOTS, rank, size_out)}


def added(groups, x, down, up, size_out):
    """Row by row."""
    sums = torch.zeros(len(x), size_out)
    for group in groups:
        rows = slice(group.row, group.row + group.count)
        sums[rows] = x[rows] @ down["layer"][group.slot] @ up["layer"][group.slot]
    return sums


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("rank", "size_out"), [(16, 80), (32, 64), (16, 16), (48, 208)])
def test_each_row_has_what_its_adapter_makes_of_it(monkeypatch, threads, rank, size_out):
    monkeypatch.setattr(low_rank, "thread_count", lambda: threads)
    groups = [Group(3, 1, 1), Group(0, 2, 4), Group(4, 6, 7), Group(1, 14, 9)]
    down, up = matrices(rank, size_out)
    x, before = numbers(24, SIZE_IN, seed=1), numbers(24, size_out, seed=2)
    output = before.clone()
    CompiledProducts(down, up, groups).add("layer", x[None], output[None])
    expected = before + added(groups, x, down, up, size_out)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(output[[0, 13, 23]], before[[0, 13, 23]]), "rows of nobody"


def test_a_row_has_the_same_bits_whatever_stands_beside_it():
    down, up = matrices()
    x = numbers(8, SIZE_IN)
    together, alone = torch.zeros(8, 80), torch.zeros(8, 80)
    CompiledProducts(down, up, [Group(2, 0, 8)]).add("layer", x, together)
    for row in range(8):
        CompiledProducts(down, up, [Group(2, row, 1)]).add("layer", x, alone)
    assert torch.equal(together, alone)


_REPEATED = """
import torch
from workers.generation.adapter_rows import Group
from workers.generation.processor import low_rank

low_rank.thread_count = lambda: 2
torch.manual_seed(0)
x, down, up = torch.randn(8, 64), torch.randn(8, 64, 64), torch.randn(8, 64, 64)
groups = [Group(slot, slot, 1) for slot in range(8)]
products = low_rank.CompiledProducts({"layer": down}, {"layer": up}, groups)
wanted = torch.einsum("ti,tir,tro->to", x, down, up)
for _ in range(3000):
    seen = torch.zeros(8, 64)
    products.add("layer", x, seen)
    torch.testing.assert_close(seen, wanted, atol=1e-2, rtol=1e-3)
"""


def test_threads_that_share_an_allocator_do_not_share_what_lies_between_the_products():
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    subprocess.run([sys.executable, "-c", _REPEATED], env=environment, check=True, timeout=60)


def test_part_of_a_wider_product_is_added_to_in_its_place():
    down, up = matrices()
    x, whole = numbers(4, SIZE_IN), torch.zeros(4, 200)
    CompiledProducts(down, up, [Group(1, 0, 4)]).add("layer", x, whole.narrow(-1, 60, 80))
    expected = added([Group(1, 0, 4)], x, down, up, 80)
    torch.testing.assert_close(whole[:, 60:140], expected, atol=1e-4, rtol=1e-4)
    assert not whole[:, :60].any()
    assert not whole[:, 140:].any()


def test_layers_that_an_adapter_leaves_alone_stay():
    down, up = matrices()
    output = torch.zeros(1, 80)
    CompiledProducts(down, up, [Group(1, 0, 1)]).add("other", numbers(1, SIZE_IN), output)
    assert not output.any()


@pytest.mark.parametrize(
    ("rank", "size_out", "dtype", "is_fit"),
    [
        (16, 80, torch.float32, True),
        (8, 80, torch.float32, False),
        (16, 72, torch.float32, False),
        (16, 80, torch.bfloat16, False),
    ],
)
def test_only_whole_vectors_fit(rank, size_out, dtype, is_fit):
    down, up = (
        {name: half.to(dtype) for name, half in halves.items()}
        for halves in matrices(rank, size_out)
    )
    assert fits(down, up) is is_fit


@torch.inference_mode()
def test_long_prompts_of_an_adapter_are_left_to_pytorch():
    model = torch.nn.Sequential(torch.nn.Linear(SIZE_IN, 80))
    bank = AdapterBank(model, torch.device("cpu"), 4)
    adapter = LoraAdapter("a", 16, {"0": (numbers(SIZE_IN, 16), numbers(16, 80))})
    bank.enter(adapter)
    for count, is_compiled in ((64, True), (65, False)):
        bank.begin([(adapter, count)])
        assert isinstance(bank._products[0], CompiledProducts) is is_compiled
        x = numbers(1, count, SIZE_IN)
        seen = model(x)
        bank.end()
        wanted = model(x) + x @ adapter.layers["0"][0] @ adapter.layers["0"][1]
        torch.testing.assert_close(seen, wanted, atol=1e-4, rtol=1e-4)
