import pytest
import torch
from torch import nn

from workers.generation.processor.joined import JoinedLinears
from workers.generation.processor.linears import NeededRows, WeightKind, pack, supported_kinds

pytestmark = pytest.mark.skipif(not supported_kinds(), reason="no packed layers here")


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return [nn.Linear(12, size) for size in (8, 4, 6)]


@pytest.fixture
def joined(layers):
    weight = torch.cat([layer.weight for layer in layers]).detach()
    bias = torch.cat([layer.bias for layer in layers]).detach()
    return JoinedLinears(pack(WeightKind.FLOAT32, weight, bias), [8, 4, 6])


@pytest.fixture
def x():
    return torch.randn(5, 12)


@torch.inference_mode()
def test_one_product_is_what_all_layers_give(joined, layers, x):
    torch.testing.assert_close(joined(x), torch.cat([layer(x) for layer in layers], dim=1))


@torch.inference_mode()
def test_a_part_alone_is_its_own_layer(joined, layers, x):
    for part, layer in zip(joined.parts, layers, strict=True):
        torch.testing.assert_close(part(x), layer(x))
        assert (part.in_features, part.out_features) == (12, layer.out_features)


@torch.inference_mode()
def test_what_is_added_to_a_part_is_in_the_product(joined, x):
    before = joined(x)
    joined.parts[1].register_forward_hook(
        lambda _part, inputs, output: output.add_(inputs[0].sum())
    )
    changed = joined(x) - before
    assert torch.equal(changed.ne(0).any(dim=0).nonzero().flatten(), torch.arange(8, 12))


@torch.inference_mode()
def test_rows_that_nobody_needs_are_left_out(joined, x):
    rows = joined.product.rows = NeededRows()
    rows.begin(torch.tensor([3]), 5)
    seen = joined(x)
    assert seen[3].ne(0).all()
    assert seen[[0, 1, 2, 4]].eq(0).all()
