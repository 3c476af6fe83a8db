import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from workers.generation.attention import ATTENTION_NAME, KeyValueCache, PackedBatch, PackedSpan
from workers.generation.direct import direct

SIZES = {"vocab_size": 97, "n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 64}


def gpt2(**settings):
    torch.manual_seed(3)
    config = GPT2Config(**SIZES, **settings)
    config._attn_implementation = ATTENTION_NAME
    model = GPT2LMHeadModel(config).eval()
    # Biases and norms that do nothing would hide that they are left out.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize(
    "settings",
    [{}, {"scale_attn_by_inverse_layer_idx": True}, {"activation_function": "relu", "n_inner": 48}],
    ids=["usual", "scaled by layer", "another activation"],
)
@torch.inference_mode()
def test_it_gives_bit_by_bit_what_the_model_gives(settings):
    model = gpt2(**settings)
    ids = torch.randint(0, 97, (1, 9), generator=torch.Generator().manual_seed(0))
    positions, keep = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]]), torch.tensor([4, 8])

    def spans():
        caches = (KeyValueCache(8), KeyValueCache(8))
        return PackedBatch([PackedSpan(caches[0], 0, 5, 0), PackedSpan(caches[1], 5, 9, 0)])

    wanted = model(
        input_ids=ids,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=keep,
        packed_batch=spans(),
    ).logits[0]
    assert torch.equal(direct(model)(ids, positions, spans(), keep), wanted)


def test_models_that_compute_something_else_go_their_own_way():
    llama = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4,
    )  # fmt: skip
    assert direct(LlamaForCausalLM(llama)) is None
    assert direct(gpt2(reorder_and_upcast_attn=True)) is None
    assert direct(gpt2(add_cross_attention=True)) is None
