import pytest
import torch

pytest.importorskip("numba")

from workers.generation.processor import onednn, single_row
from workers.generation.processor.single_row import single_row as of


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def _known():
    weights = onednn.reorder(numbers(64, 16))
    if of(weights, 64, 16) is None:
        pytest.skip("How this processor's weights lie is not known.")


@pytest.mark.usefixtures("_known")
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(64, 16), (100, 80), (65, 32), (2304, 768), (130, 3072)]
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_row_alone_has_the_bits_it_has_among_others(out_features, in_features, has_bias):
    weights = onednn.reorder(numbers(out_features, in_features))
    bias = numbers(out_features) if has_bias else None
    rows = numbers(5, in_features)
    together = onednn.multiply(rows, weights, bias)
    single = of(weights, out_features, in_features)
    for number, row in enumerate(rows):
        assert torch.equal(single.multiply(row[None], bias)[0], together[number])


@pytest.mark.usefixtures("_known")
def test_what_is_no_number_stays_none():
    weights, row = onednn.reorder(numbers(64, 16)), numbers(1, 16)
    row[0, 3] = torch.nan
    assert of(weights, 64, 16).multiply(row, None).isnan().all()


@pytest.mark.usefixtures("_known")
def test_weights_that_are_summed_up_in_an_unknown_way_are_left_to_onednn(monkeypatch):
    monkeypatch.setattr(single_row, "_PIECES", (48,))
    monkeypatch.setattr(single_row, "_pieces", {})
    assert of(onednn.reorder(numbers(96, 4000)), 96, 4000) is None


@pytest.mark.parametrize("in_features", [15, 512])
def test_weights_that_take_another_space_than_expected_are_not_read(in_features):
    assert of(onednn.reorder(numbers(64, 15)), 64, in_features) is None


def test_where_addresses_are_not_told_nothing_is_read(monkeypatch):
    weights = onednn.reorder(numbers(64, 16))
    monkeypatch.setattr(onednn, "_operations", object())
    assert of(weights, 64, 16) is None
