import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, MistralConfig

from workers.generation.attention import plain_window
from workers.generation.errors import ModelUnreadableError
from workers.generation.loading import choose_device, choose_dtype, load_model


@pytest.fixture
def copy(tiny_gpt2_folder, tmp_path):
    return shutil.copytree(tiny_gpt2_folder, tmp_path / "copy")


def test_a_folder_is_loaded_with_what_belongs_to_it(tiny_llama_folder):
    loaded = load_model(tiny_llama_folder, device="cpu", torch_threads=1)
    assert loaded.context_window == 256
    assert (loaded.device.type, loaded.dtype) == ("cpu", torch.float32)
    assert loaded.end_ids == {0, 1}
    assert not loaded.model.training
    assert loaded.tokenizer.pad_token_id is not None


@pytest.mark.parametrize(
    ("change", "window"),
    [
        ({"sliding_window": 40}, 40),
        ({"sliding_window": 4000}, 256),
        ({"sliding_window": 40, "use_sliding_window": False}, 256),
        ({"sliding_window": 40, "layer_types": ["full_attention"] * 2}, 256),
        ({"sliding_window": 40, "layer_types": ["full_attention", "sliding_attention"]}, 40),
    ],
)
def test_no_more_is_seen_than_every_layer_sees(tiny_llama_folder, change, window):
    config = AutoConfig.from_pretrained(tiny_llama_folder)
    for name, value in change.items():
        setattr(config, name, value)
    assert plain_window(config, 256) == window


@pytest.mark.parametrize(
    "change", [{"attn_logit_softcapping": 50.0}, {"layer_types": ["chunked_attention"]}]
)
def test_attention_that_would_be_left_out_is_refused(tiny_llama_folder, change):
    config = AutoConfig.from_pretrained(tiny_llama_folder)
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(ModelUnreadableError):
        plain_window(config, 256)


def test_a_model_with_a_window_is_served_within_it(tiny_llama_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_folder)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
        sliding_window=48,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path, device="cpu", torch_threads=1).context_window == 48


def test_weights_are_loaded_in_the_dtype_asked_for(tiny_llama_folder):
    loaded = load_model(tiny_llama_folder, device="cpu", dtype="bfloat16")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"


def test_dtypes_follow_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_dtype("auto", torch.device("cuda")) is torch.float16
    assert choose_dtype("auto", torch.device("cpu")) is torch.float32


@pytest.mark.parametrize("wish", ["nonsense", "rocm"])
def test_a_device_that_is_not_there_is_refused(wish):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelUnreadableError, match=wish):
        choose_device(wish)


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelUnreadableError, match=tmp_path.name):
        load_model(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("config.json", b"{}", "config.json"),
        ("tokenizer.json", b"{", "tokenizer"),
        ("model.safetensors", b"", "safetensors"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(copy, file, content, part):
    (copy / file).write_bytes(content)
    with pytest.raises(ModelUnreadableError, match=f"its {part} cannot be used") as caught:
        load_model(copy, device="cpu")
    assert "models verify" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_damaged_weights_are_refused(copy, content):
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelUnreadableError):
        load_model(copy, device="cpu")


def test_pickled_weights_are_never_read(copy):
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ModelUnreadableError):
        load_model(copy, device="cpu")


@pytest.mark.parametrize(
    "config", [b"{", b"[]", b'{"model_type": "no-such-model"}', b'{"model_type": "t5"}']
)
def test_a_configuration_of_something_else_is_refused(copy, config):
    (copy / "config.json").write_bytes(config)
    with pytest.raises(ModelUnreadableError):
        load_model(copy, device="cpu")


def test_code_in_the_folder_is_never_run(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelUnreadableError):
        load_model(copy, device="cpu")
    assert not (tmp_path / "ran").exists()
