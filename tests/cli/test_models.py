"""``perroquet models``, in this process: a process of its own would import torch each time."""

import json
import warnings

import pytest
from sqlalchemy.orm import Session

from core.catalog.finding import find_version
from core.db.engines import make_engine
from core.db.tables import Version
from models_store.store import ModelStore
from tests.cli.running import perroquet as run_command
from tests.core.corpora.helpers import GUILD, add_version
from tests.workers.generation.adapter_folders import save_adapter


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
    assert (damaged.code, "model.safetensors" in damaged.out) == (1, True)
    assert perroquet("models", "remove", "tiny", "--yes").code == 0
    assert "No models yet" in perroquet("models", "list").out


def test_a_damaged_version_does_not_hide_the_others(perroquet, tmp_path, tiny_gpt2_folder):
    for name in ("jaco", "coco"):
        perroquet("models", "add", f"path:{tiny_gpt2_folder}", "--name", name)
    for weights in (tmp_path / "data" / "store" / "models" / "coco").rglob("model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    found = perroquet("models", "verify")
    assert (found.code, "1 of 2 versions" in found.err) == (1, True)
    assert ("✗ coco 1: " in found.out, "✓ jaco 1: " in found.out) == (True, True)


def test_what_to_do_next_is_said_of_a_model_that_is_not_the_default_yet(
    perroquet, monkeypatch, tiny_gpt2_folder
):
    arguments = ("models", "add", f"path:{tiny_gpt2_folder}", "--name", "tiny")
    assert "Set generation.model" in perroquet(*arguments).err
    monkeypatch.setenv("PERROQUET_GENERATION__MODEL", "tiny")
    again = perroquet(*arguments).err
    assert ("It is the default" in again, "Set generation" in again) == (True, False)


def test_the_operator_sees_and_removes_the_models_of_every_server(
    perroquet, tmp_path, tiny_gpt2_folder
):
    assert perroquet("models", "add", f"path:{tiny_gpt2_folder}", "--name", "coco").code == 0
    store = ModelStore(f"file://{tmp_path / 'data' / 'store'}", tmp_path / "cache", 10**9)
    publication = store.publish(tiny_gpt2_folder, "models/coco/own", {})
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'perroquet.db'}")
    facts = {"store_path": publication.path, "manifest_sha256": publication.manifest_sha256}
    add_version(engine, "coco", GUILD, **facts)
    engine.dispose()

    listed = json.loads(perroquet("models", "list", "--json").out)
    assert [(entry["model"], entry["guild_id"]) for entry in listed] == [
        ("coco", None),
        ("coco", GUILD),
    ]
    assert str(GUILD) in perroquet("models", "list").out
    assert perroquet("models", "verify", "coco").out.count("whole") == 2
    assert perroquet("models", "remove", "coco", "--guild", "7", "--yes").code == 1
    assert perroquet("models", "remove", "coco", "--guild", str(GUILD), "--yes").code == 0
    (left,) = json.loads(perroquet("models", "list", "--json").out)
    assert left["guild_id"] is None
    assert store.list_versions() == [left["store_path"]]


@pytest.mark.parametrize(
    ("source", "code", "word"),
    [
        ("ftp:x", 2, "names no source"),
        ("path:/nowhere", 2, "There is no folder /nowhere"),
        ("path:/etc", 2, "no model folder"),
        ("gguf:/nowhere", 2, "no file"),
        ("hf:nobody/nothing", 1, "hub: it does not answer. Is this machine online"),
        ("hf:a/b/c", 1, "no name on the hub"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_sentence(perroquet, monkeypatch, source, code, word):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = perroquet("models", "add", source)
    assert result.code == code
    assert word in result.err
    assert "Traceback" not in result.err


@pytest.fixture
def lora(perroquet, tmp_path, tiny_gpt2_folder):
    assert perroquet("models", "add", f"path:{tiny_gpt2_folder}", "--name", "tiny").code == 0
    with warnings.catch_warnings():
        # PEFT's own.
        warnings.simplefilter("ignore", FutureWarning)
        return save_adapter(tiny_gpt2_folder, tmp_path / "lora")


def test_a_lora_is_added_over_the_model_that_it_was_trained_over(perroquet, tmp_path, lora):
    added = perroquet("models", "add", f"path:{lora}", "--name", "coco", "--base", "tiny")
    assert added.code == 0, added.err
    engine = make_engine(f"sqlite:///{tmp_path / 'data' / 'perroquet.db'}")
    with Session(engine) as session:
        base = find_version(session, None, "tiny")
        coco = find_version(session, None, "coco")
        assert session.get_one(Version, coco.version_id).base_id == base.version_id
    engine.dispose()
    again = perroquet("models", "add", f"path:{lora}", "--name", "jaco", "--base", "coco")
    assert (again.code, "is a LoRA itself" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 2, "name with --base"),
        (("--base", "owl"), 1, "no model “owl”"),
    ],
)
def test_a_lora_without_its_base_is_refused(perroquet, lora, options, code, said):
    refused = perroquet("models", "add", f"path:{lora}", "--name", "coco", *options)
    assert (refused.code, said in refused.err) == (code, True), refused.err


def test_a_lora_that_is_damaged_or_none_at_all_is_refused(perroquet, lora, tiny_gpt2_folder):
    whole = perroquet("models", "add", f"path:{tiny_gpt2_folder}", "--base", "tiny")
    assert (whole.code, "no LoRA folder" in whole.err) == (2, True)
    (lora / "adapter_model.safetensors").write_bytes(b"{}")
    damaged = perroquet("models", "add", f"path:{lora}", "--name", "coco", "--base", "tiny")
    assert (damaged.code, "cannot be read" in damaged.err) == (1, True)
    assert "coco" not in perroquet("models", "list").out


def test_a_folder_that_is_no_model_is_refused_and_nothing_is_published(perroquet, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    result = perroquet("models", "add", f"path:{folder}")
    assert (result.code, "cannot be loaded" in result.err) == (1, True)
    assert not list((tmp_path / "data").rglob("manifest.json"))
