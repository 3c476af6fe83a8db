import pytest
import torch
from torch import nn

from workers.generation.processor import threads
from workers.generation.processor.activations import CompiledGELU


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_pytorchs_whatever_the_threads(monkeypatch, count):
    monkeypatch.setattr(threads, "thread_count", lambda: count)
    monkeypatch.setattr(threads, "_NUMBERS_PER_THREAD", 100)
    x = torch.randn(1, 7, 90, generator=torch.Generator().manual_seed(0))
    expected = nn.GELU(approximate="tanh")(x)
    torch.testing.assert_close(CompiledGELU()(x.clone()), expected, atol=1e-6, rtol=1e-5)


def test_what_is_no_whole_piece_of_memory_is_not_written_beside():
    whole = torch.ones(4, 6)
    CompiledGELU()(whole[:, :3])
    assert whole.eq(1).all()


def test_nothing_of_nothing():
    assert CompiledGELU()(torch.empty(0, 8)).shape == (0, 8)
