import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from workers.generation.adapter_bank import AdapterBank
from workers.generation.attention import ATTENTION_NAME
from workers.generation.device import DeviceRunner, Span
from workers.generation.direct import direct
from workers.generation.processor.joined import joined_names
from workers.generation.processor.linears import supported_kinds
from workers.generation.processor.llama import DirectLlama
from workers.generation.processor.packing import pack_model
from workers.generation.protocol import Sampling
from workers.generation.sampling import SamplingState

pytestmark = pytest.mark.skipif(not supported_kinds(), reason="no packed layers here")

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ROPE = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
STATE = SamplingState(Sampling(), (), 0)
MODELS = {
    "usual": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "biases": (LlamaForCausalLM, LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "long heads": (LlamaForCausalLM, LlamaConfig(**SIZES, head_dim=16)),
    "stretched": (LlamaForCausalLM, LlamaConfig(**SIZES, rope_parameters=ROPE)),
    "tied": (LlamaForCausalLM, LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "Mistral": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=None)),
    "Qwen": (Qwen2ForCausalLM, Qwen2Config(**SIZES)),
}


def made(name):
    torch.manual_seed(3)
    kind, config = MODELS[name]
    model = kind(config).eval()
    # Biases and norms that do nothing would hide that they are left out.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


class Loaded:
    """As much of a loaded model as the runner asks for."""

    device, dtype, context_window, has_narrow_weights = (
        torch.device("cpu"),
        torch.float32,
        64,
        False,
    )

    def __init__(self, model):
        model.set_attn_implementation(ATTENTION_NAME)
        self.packed = pack_model(model, "float32")
        self.model = model


def steps(runner, texts, first=5):
    """Logits after two steps of several texts: a prompt's beginning, and the rest of it."""
    caches = [runner.new_cache(64) for _ in texts]
    for cache in caches:
        cache.reserve(64)
    kept = []
    for start, end in ((0, first), (first, None)):
        spans = [
            Span(cache, text[start:end], start, True, STATE, 0, seat)
            for seat, (cache, text) in enumerate(zip(caches, texts, strict=True))
        ]
        kept.append(runner.run(spans))
    return kept


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_it_gives_what_transformers_gives(name):
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 97, (n,), generator=generator).tolist() for n in (6, 9, 30)]
    expected = [made(name)(torch.tensor([text])).logits[0] for text in texts]
    loaded = Loaded(made(name))
    runner = DeviceRunner(loaded, AdapterBank(loaded.model, loaded.device, 4))
    assert isinstance(runner._direct, DirectLlama)
    first, second = steps(runner, texts)
    torch.testing.assert_close(first, torch.stack([e[4] for e in expected]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second, torch.stack([e[-1] for e in expected]), atol=1e-4, rtol=1e-4)


def test_other_activations_and_kinds_go_their_own_way():
    model = LlamaForCausalLM(LlamaConfig(**SIZES, hidden_act="gelu"))
    pack_model(model, "float32")
    assert direct(model) is None


def test_heads_that_turn_in_part_are_left_to_transformers():
    rope = {**ROPE, "partial_rotary_factor": 0.5}
    model = LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=rope))
    assert (joined_names(made("usual")) != (), joined_names(model)) == (True, ())
