import math

import pytest
import torch

pytest.importorskip("numba")

from workers.generation.processor.int8_terms import join, terms_of

FINE = 254.0


def written_out(terms, steps):
    coarse, fine = (terms.float() - 128).chunk(2)
    return (coarse + fine / FINE) * steps[:, None]


@pytest.mark.parametrize("shape", [(1, 5), (3, 64), (70, 1_000)])
def test_the_terms_of_a_row_add_up_to_it_within_a_fine_step(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    terms, steps = terms_of(rows, FINE)
    assert torch.allclose(steps, rows.abs().amax(1) / 127)
    error = (written_out(terms, steps) - rows).abs()
    assert bool((error <= steps[:, None] / FINE * 0.51).all())


def test_a_row_of_zeros_is_of_zeros_and_one_with_no_number_stays_none():
    rows = torch.zeros(3, 40)
    rows[1, 7] = math.nan
    terms, steps = terms_of(rows, FINE)
    assert bool((terms[[0, 2]] == 128).all())
    assert torch.isnan(steps).tolist() == [False, True, False]


@pytest.mark.parametrize("has_bias", [True, False])
def test_products_of_both_terms_are_joined_as_the_row_would_have_been_multiplied(has_bias):
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(50, 96, generator=generator)
    weight = torch.randn(96, 1_400, generator=generator)
    bias = torch.randn(1_400, generator=generator) if has_bias else None
    terms, steps = terms_of(rows, FINE)
    joined = torch.full((50, 1_400), torch.nan)
    for columns in (slice(0, 1_000), slice(1_000, 1_400)):
        products = (terms.float() - 128) @ weight[:, columns]
        join(products, None, steps, bias, FINE, joined, columns.start)
    expected = rows @ weight if bias is None else rows @ weight + bias
    assert torch.allclose(joined, expected, atol=2e-2)
