import importlib
import sys

import pytest
import torch

from workers.generation.processor import linears as packed
from workers.generation.processor import onednn
from workers.generation.processor.linears import WeightKind, pack, supported_kinds

binding = pytest.importorskip("llvmlite.binding")
int8_row = pytest.importorskip(
    "workers.generation.processor.int8_row", exc_type=ImportError, reason="Numba, or the processor"
)
KINDS = (WeightKind.INT8, WeightKind.INT16)


@pytest.fixture(params=KINDS)
def kind(request):
    if request.param not in supported_kinds():
        pytest.skip("not on this processor")
    return request.param


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    ("out_features", "in_features"), [(64, 64), (100, 70), (65, 32), (2304, 768), (130, 3070)]
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_row_alone_has_the_bits_it_has_among_others(kind, out_features, in_features, has_bias):
    bias = numbers(out_features) if has_bias else None
    layer = pack(kind, numbers(out_features, in_features), bias)
    if layer._single is None:
        pytest.skip("How this processor's weights lie is not known.")
    rows = numbers(5, in_features)
    together = layer._multiply_several(rows)
    for number, row in enumerate(rows):
        assert torch.equal(layer._single.multiply(row[None])[0], together[number])


def test_long_outputs_are_read_piece_by_piece(kind, monkeypatch):
    monkeypatch.setattr(packed, "_BLOCK_FEATURES", 64)
    monkeypatch.setattr(int8_row, "_known_sizes", {})
    layer = pack(kind, numbers(150, 20), numbers(150))
    rows = numbers(3, 20)
    assert torch.equal(layer(rows[:1]), layer._multiply_several(rows)[:1])


def test_weights_that_lie_otherwise_are_left_to_onednn(kind, monkeypatch):
    monkeypatch.setattr(int8_row, "_known_sizes", {})
    monkeypatch.setattr(int8_row, "_ZERO_POINT", 127)
    layer = pack(kind, numbers(96, 40), None)
    assert layer._single is None
    assert torch.equal(layer(numbers(2, 40))[:1], layer(numbers(2, 40)[:1]))


def test_where_addresses_are_not_told_nothing_is_read(kind, monkeypatch):
    monkeypatch.setattr(onednn, "_operations", object())
    assert pack(kind, numbers(64, 16), None)._single is None


def test_on_a_processor_without_dot_products_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(binding, "get_host_cpu_features", dict)
    monkeypatch.delitem(sys.modules, int8_row.__name__)
    with pytest.raises(ImportError, match="VNNI"):
        importlib.import_module(int8_row.__name__)
