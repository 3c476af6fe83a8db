"""``perroquet models``, in this process: a process of its own would import torch each time."""

import pytest

from tests.cli.running import perroquet as run_command


@pytest.fixture
def perroquet(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PERROQUET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_command(monkeypatch, capsys, *arguments)


def test_models_are_added_listed_verified_and_removed(perroquet, tmp_path, tiny_gpt2_folder):
    added = perroquet("models", "add", f"path:{tiny_gpt2_folder}", "--name", "tiny")
    assert added.code == 0, added.err
    assert "tiny" in perroquet("models", "list").out
    assert "whole" in perroquet("models", "verify").out
    (weights,) = (tmp_path / "data" / "store").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    damaged = perroquet("models", "verify")
    assert (damaged.code, "model.safetensors" in damaged.err) == (1, True)
    assert perroquet("models", "remove", "tiny", "--yes").code == 0
    assert "No models yet" in perroquet("models", "list").out


@pytest.mark.parametrize(
    ("source", "code", "word"),
    [
        ("ftp:x", 2, "names no source"),
        ("path:/nowhere", 2, "no model folder"),
        ("gguf:/nowhere", 2, "no file"),
        ("hf:nobody/nothing", 1, "online"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_sentence(perroquet, monkeypatch, source, code, word):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = perroquet("models", "add", source)
    assert result.code == code
    assert word in result.err
    assert "Traceback" not in result.err


def test_a_folder_that_is_no_model_is_refused_and_nothing_is_published(perroquet, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    result = perroquet("models", "add", f"path:{folder}")
    assert (result.code, "cannot be loaded" in result.err) == (1, True)
    assert not list((tmp_path / "data").rglob("manifest.json"))
