import pytest
import torch

pytest.importorskip("numba")

from workers.generation.processor import bfloat16_row, onednn
from workers.generation.processor.bfloat16_row import bfloat16_row as of
from workers.generation.processor.linears import WeightKind, supported_kinds


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def packed(out_features: int, in_features: int) -> torch.Tensor:
    return onednn.reorder(numbers(out_features, in_features).bfloat16())


@pytest.fixture
def _known():
    if WeightKind.BFLOAT16 not in supported_kinds() or of(packed(64, 32), 64, 32) is None:
        pytest.skip("How this processor's weights lie is not known.")


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(64, 32), (100, 70), (65, 31), (768, 3072)]
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_row_is_multiplied_as_onednn_does_it(out_features, in_features, has_bias):
    bias = numbers(out_features).bfloat16() if has_bias else None
    weights, row = packed(out_features, in_features), numbers(1, in_features)
    seen = of(weights, out_features, in_features).multiply(row, bias)
    expected = onednn.multiply(row.bfloat16(), weights, bias).float()
    # A sum that lies between two bf16 may go to either.
    torch.testing.assert_close(seen, expected, rtol=2**-7, atol=2**-7)
    assert torch.equal(seen, seen.bfloat16().float())


@pytest.mark.usefixtures("_known")
def test_what_is_no_number_stays_none():
    row = numbers(1, 32)
    row[0, 3] = torch.nan
    assert of(packed(64, 32), 64, 32).multiply(row, None).isnan().all()


@pytest.mark.usefixtures("_known")
def test_weights_that_lie_otherwise_are_left_to_onednn(monkeypatch):
    monkeypatch.setattr(bfloat16_row, "_known_sizes", {})
    other = packed(96, 64)
    monkeypatch.setattr(onednn, "multiply", lambda rows, _weights, _bias: torch.ones(len(rows), 96))
    assert of(other, 96, 64) is None


@pytest.mark.usefixtures("_known")
def test_where_no_tiles_are_onednn_keeps_the_order_of_its_sums(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert of(packed(64, 32), 64, 32) is None


def test_weights_that_take_another_space_than_expected_are_not_read():
    assert of(packed(64, 32), 64, 512) is None
