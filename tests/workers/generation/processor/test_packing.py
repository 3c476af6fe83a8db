import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from workers.generation.direct import direct
from workers.generation.errors import ModelUnreadableError
from workers.generation.loading import load_model
from workers.generation.processor import packing
from workers.generation.processor.joined import LinearPart
from workers.generation.processor.linears import PackedLinear, WeightKind, pack, supported_kinds
from workers.generation.processor.packing import Packed, pack_model

pytestmark = pytest.mark.skipif(not supported_kinds(), reason="no packed layers here")


@pytest.fixture(params=["tiny_gpt2_folder", "tiny_llama_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_no_layer_keeps_its_own_weights(folder):
    loaded = load_model(folder, device="cpu", dtype="float32", is_packing=True)
    layers = list(loaded.model.modules())
    assert not [layer for layer in layers if isinstance(layer, nn.Linear | Conv1D)]
    products = {layer for layer in layers if isinstance(layer, PackedLinear)}
    products |= {layer.joined.product for layer in layers if isinstance(layer, LinearPart)}
    assert loaded.packed.counts == {WeightKind.FLOAT32: len(products)}


def test_layers_that_read_the_same_become_one(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu", is_packing=True).model
    joined = {layer.joined for layer in model.modules() if isinstance(layer, LinearPart)}
    # Queries, keys and values of each layer, and its gates with what they let through.
    assert sorted(len(each.parts) for each in joined) == [2, 2, 3, 3]


def test_where_no_loops_are_compiled_layers_stay_apart(tiny_llama_folder, monkeypatch):
    monkeypatch.setattr(packing, "_are_loops_compiled", lambda: False)
    model = load_model(tiny_llama_folder, device="cpu", is_packing=True).model
    assert not [layer for layer in model.modules() if isinstance(layer, LinearPart)]
    assert direct(model) is None


@pytest.mark.parametrize("dtype", ["auto", "float32", "float16", "bfloat16", "int16", "int8"])
def test_a_packed_model_says_what_the_model_says(folder, dtype):
    if dtype not in ("auto", *supported_kinds()):
        pytest.skip("not on this processor")
    plain = load_model(folder, device="cpu")
    packed = load_model(folder, device="cpu", dtype=dtype, is_packing=True)
    # Only attention of whole steps is registered, so the base's own is asked here.
    for loaded in (plain, packed):
        loaded.model.set_attn_implementation("eager")
    ids = torch.arange(2, 22)[None]
    with torch.inference_mode():
        expected = plain.model(ids).logits.log_softmax(-1)
        seen = packed.model(ids).logits.log_softmax(-1)
    assert (expected.exp() * (expected - seen)).sum(-1).mean() < 1e-2


def test_a_kind_that_the_processor_lacks_is_refused(folder, monkeypatch):
    monkeypatch.setattr(packing, "supported_kinds", lambda: (WeightKind.FLOAT32,))
    with pytest.raises(ModelUnreadableError, match="int8"):
        load_model(folder, device="cpu", dtype="int8", is_packing=True)


def test_without_packed_layers_the_model_stays_as_it_is(folder, monkeypatch):
    monkeypatch.setattr(packing, "supported_kinds", lambda: ())
    loaded = load_model(folder, device="cpu", is_packing=True)
    assert loaded.packed == Packed()
    assert [m for m in loaded.model.modules() if isinstance(m, nn.Linear | Conv1D)]


def test_the_clock_chooses_and_a_near_tie_goes_to_the_more_exact(monkeypatch, tiny_llama_folder):
    kinds = (WeightKind.FLOAT32, WeightKind.FLOAT16, WeightKind.BFLOAT16)
    monkeypatch.setattr(packing, "supported_kinds", lambda: kinds)
    seconds = {"float32": 1.0, "float16": 0.5, "bfloat16": 0.48}
    monkeypatch.setattr(
        packing, "_mean_seconds", lambda layers: [seconds[layer.kind] for layer in layers]
    )

    def packed(kind, weight, bias):
        # Whatever this processor has: the clock alone decides here.
        layer = pack(WeightKind.FLOAT32, weight, bias)
        layer.kind = kind
        return layer

    monkeypatch.setattr(packing, "pack", packed)
    model = load_model(tiny_llama_folder, device="cpu").model
    assert set(pack_model(model, "auto").counts) == {WeightKind.FLOAT16}


def test_vectors_of_tokens_are_halved_with_the_weights_and_stay_exact_with_exact_ones(folder):
    kinds = [kind for kind in supported_kinds() if kind is not WeightKind.FLOAT32]
    if not kinds:
        pytest.skip("not on this processor")
    ids = torch.tensor([[3, 9]])
    plain = load_model(folder, device="cpu").model.get_input_embeddings()(ids)
    for kind in (WeightKind.FLOAT32, kinds[0]):
        model = load_model(folder, device="cpu", dtype=kind, is_packing=True).model
        seen = model.get_input_embeddings()(ids)
        assert seen.dtype == torch.float32
        expected = plain if kind is WeightKind.FLOAT32 else plain.half().float()
        assert torch.equal(seen, expected)


def test_vectors_that_float16_cannot_hold_stay(tiny_gpt2_folder):
    if WeightKind.FLOAT16 not in supported_kinds():
        pytest.skip("not on this processor")
    model = load_model(tiny_gpt2_folder, device="cpu").model
    with torch.no_grad():
        model.transformer.wpe.weight[0, 0] = 1e6
    pack_model(model, WeightKind.FLOAT16)
    assert isinstance(model.transformer.wpe, nn.Embedding)
    assert not isinstance(model.transformer.wte, nn.Embedding)
