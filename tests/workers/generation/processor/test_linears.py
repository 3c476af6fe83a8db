import pytest
import torch

from workers.generation.processor import linears
from workers.generation.processor.linears import (
    Float32Linear,
    NeededRows,
    WeightKind,
    fits_float16,
    pack,
    supported_kinds,
)

# The largest error of a product, as a share of the largest value, that rounding explains.
TOLERANCES = {
    WeightKind.FLOAT32: 1e-6,
    WeightKind.FLOAT16: 1e-3,
    WeightKind.BFLOAT16: 1e-2,
    WeightKind.INT16: 1e-3,
    WeightKind.INT8: 2e-2,
}


@pytest.fixture(params=list(WeightKind))
def kind(request):
    if request.param not in supported_kinds():
        pytest.skip("not on this processor")
    return request.param


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def error(layer, weight, bias, x) -> float:
    exact = torch.nn.functional.linear(x, weight, bias)
    return float((layer(x) - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_packed_layer_multiplies_as_the_one_it_replaces(kind, rows, has_bias):
    weight, bias = numbers(48, 32), numbers(48) if has_bias else None
    layer = pack(kind, weight, bias)
    assert error(layer, weight, bias, numbers(1, rows, 32)) < TOLERANCES[kind]
    assert layer(numbers(1, rows, 32)).shape == (1, rows, 48)


@pytest.mark.parametrize("in_features", [64, 2048])
def test_a_row_is_the_same_whatever_stands_beside_it(kind, in_features):
    if kind is WeightKind.BFLOAT16 and torch.cpu._is_amx_tile_supported():
        pytest.skip("oneDNN adds up in tiles, in another order for another number of rows.")
    layer = pack(kind, numbers(48, in_features), numbers(48))
    rows = numbers(40, in_features)
    rows[1:] *= 50
    together = layer(rows)
    for count in (1, 2, 3, 5, 7, 14, 16, 31, 32, 38):
        assert torch.equal(layer(rows[:count]), together[:count])


def test_of_no_rows_there_are_no_products(kind):
    assert pack(kind, numbers(48, 64), numbers(48))(numbers(1, 0, 64)).shape == (1, 0, 48)


def test_rows_of_zeros_stay_numbers(kind):
    layer = pack(kind, torch.zeros(8, 16), numbers(8))
    assert torch.isfinite(layer(torch.zeros(2, 16))).all()


def test_weights_that_lie_the_other_way_round_are_read_right(kind):
    weight = numbers(32, 48).t()
    assert error(pack(kind, weight, None), weight, None, numbers(2, 32)) < TOLERANCES[kind]


def test_an_outlier_of_a_token_costs_its_other_values_nothing(kind):
    weight, x = numbers(64, 64), numbers(4, 64)
    x[:, 0] *= 100
    weight[:, 0] = 0
    assert error(pack(kind, weight, None), weight, None, x) < TOLERANCES[kind]


def test_weights_beyond_the_range_of_fp16_stay_fp32():
    weight = numbers(8, 16)
    assert fits_float16(weight)
    weight[0, 0] = 1e6
    assert not fits_float16(weight)
    assert isinstance(pack(WeightKind.FLOAT16, weight, None), Float32Linear)


@pytest.mark.parametrize("has_bias", [True, False])
def test_weights_of_several_blocks_multiply_as_one(kind, monkeypatch, has_bias):
    monkeypatch.setattr(linears, "_BLOCK_FEATURES", 20)
    weight, bias = numbers(48, 32), numbers(48) if has_bias else None
    assert error(pack(kind, weight, bias), weight, bias, numbers(5, 32)) < TOLERANCES[kind]


@pytest.mark.parametrize("needed", [[], [4], [0, 2]])
def test_rows_that_nobody_needs_are_not_computed(kind, needed):
    layer, x = pack(kind, numbers(48, 32), numbers(48)), numbers(1, 5, 32)
    whole = layer(x)
    layer.rows = NeededRows()
    layer.rows.begin(torch.tensor(needed, dtype=torch.long), 5)
    seen = layer(x)
    assert torch.equal(seen[0, needed], whole[0, needed])
    others = [row for row in range(5) if row not in needed]
    assert seen[0, others].eq(0).all()
    # A layer of other rows is not meant, and the next step needs all.
    assert torch.equal(layer(x[:, :3]), whole[:, :3])
    layer.rows.end()
    assert torch.equal(layer(x), whole)


@pytest.mark.parametrize("narrow", [WeightKind.INT16, WeightKind.INT8])
@pytest.mark.parametrize("features", [20, 64])
def test_without_compiled_loops_int8_multiplies_alike(narrow, features, monkeypatch):
    if narrow not in supported_kinds():
        pytest.skip("not on this processor")
    monkeypatch.setattr(linears, "_BLOCK_FEATURES", features)
    weight, bias, x = numbers(48, 32), numbers(48), numbers(40, 32)
    layer = pack(narrow, weight, bias)
    compiled = layer(x)
    monkeypatch.setattr(linears, "_int8", None)
    assert torch.allclose(layer(x), compiled, rtol=1e-3, atol=1e-3)
    assert error(layer, weight, bias, x) < TOLERANCES[narrow]


def test_a_row_with_no_number_gives_none_and_spoils_no_other(kind):
    layer = pack(kind, numbers(48, 32), None)
    rows = numbers(40, 32)
    rows[3, 5] = float("nan")
    product = layer(rows)
    assert torch.isnan(product).any(dim=1).nonzero().flatten().tolist() == [3]
