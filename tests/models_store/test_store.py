import json
import os
import threading

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ServiceUnavailableError
from models_store.errors import (
    SourceUnavailableError,
    UnsafeFileError,
    VersionCorruptError,
    VersionExistsError,
    VersionMissingError,
)
from models_store.manifest import MANIFEST_NAME
from models_store.sources.hub import download
from models_store.store import ModelStore


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({"w": torch.arange(1000.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "README.md").write_text("# hi")
    return folder


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    url = f"file://{tmp_path / 'store'}" if request.param == "file" else f"memory://{tmp_path}"
    return ModelStore(url, tmp_path / "cache", 10**9)


def stored_file(store, path, name):
    return f"{store._root.rstrip('/')}/{path}/{name}"


def test_what_was_published_is_fetched_byte_for_byte(store, folder):
    publication = store.publish(folder, "models/a/1", {"model": "a"})
    fetched = store.fetch("models/a/1")
    for name in ("model.safetensors", "config.json", "sub/README.md"):
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert store.list_versions() == ["models/a/1"]
    assert store.verify("models/a/1").metadata == {"model": "a"}
    assert publication.total_bytes == sum(
        f.stat().st_size for f in folder.rglob("*") if f.is_file()
    )


def test_a_version_never_changes(store, folder):
    store.publish(folder, "models/a/1", {})
    with pytest.raises(VersionExistsError):
        store.publish(folder, "models/a/1", {})


def test_what_is_not_there_is_said_to_be_missing(store):
    with pytest.raises(VersionMissingError):
        store.fetch("models/none/1")


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damage_is_found_before_anybody_reads_it(store, folder, damage):
    store.publish(folder, "models/a/1", {})
    target = stored_file(store, "models/a/1", "model.safetensors")
    content = store._fs.cat_file(target)
    if damage == "delete":
        store._fs.rm_file(target)
    else:
        changed = content[:-1] + bytes([content[-1] ^ 1]) if damage == "flip" else content[:-5]
        store._fs.pipe_file(target, changed)
    for read in (store.verify, store.fetch):
        with pytest.raises(VersionCorruptError, match=r"model\.safetensors"):
            read("models/a/1")


def test_a_manifest_that_is_no_manifest_is_damage(store, folder):
    store.publish(folder, "models/a/1", {})
    store._fs.pipe_file(stored_file(store, "models/a/1", MANIFEST_NAME), b"[]")
    with pytest.raises(VersionCorruptError):
        store.fetch("models/a/1")


def test_an_interrupted_publication_is_invisible_and_can_be_swept_up(store, folder, monkeypatch):
    def crash(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_commit", crash)
    with pytest.raises(KeyboardInterrupt):
        store.publish(folder, "models/a/1", {})
    assert store.list_versions() == []
    with pytest.raises(VersionMissingError):
        store.fetch("models/a/1")
    assert store.collect_garbage(older_than_seconds=3600) == []
    assert len(store.collect_garbage(older_than_seconds=-1)) == 3


def test_a_retired_version_is_gone_here_and_there(store, folder):
    store.publish(folder, "models/a/1", {})
    store.fetch("models/a/1")
    store.retire("models/a/1")
    store.retire("models/a/1")
    assert store.list_versions() == []
    with pytest.raises(VersionMissingError):
        store.fetch("models/a/1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", b"x"),
        ("code.py", b"print()"),
        ("weights.safetensors", b"\x80\x04pickle"),
        ("weights.safetensors", b"not a header at all"),
        ("config.json", b"PK\x03\x04zip"),
    ],
)
def test_what_could_run_code_or_lies_about_itself_is_refused(store, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(UnsafeFileError):
        store.publish(folder, "models/a/1", {})
    assert store.list_versions() == []


@pytest.mark.parametrize("path", ["../outside", "/absolute", "a/../../b", ""])
def test_a_path_that_leaves_the_store_is_refused(store, folder, path):
    with pytest.raises(UnsafeFileError):
        store.publish(folder, path, {})


def test_a_manifest_cannot_write_outside_the_cache(store, folder, tmp_path):
    store.publish(folder, "models/a/1", {})
    target = stored_file(store, "models/a/1", MANIFEST_NAME)
    manifest = json.loads(store._fs.cat_file(target))
    manifest["files"]["../../evil.json"] = manifest["files"]["config.json"]
    store._fs.pipe_file(target, json.dumps(manifest).encode())
    with pytest.raises(UnsafeFileError):
        store.fetch("models/a/1")
    assert not list(tmp_path.rglob("evil.json"))


def test_two_who_fetch_at_once_both_get_it(store, folder):
    store.publish(folder, "models/a/1", {})
    fetched = []
    threads = [
        threading.Thread(target=lambda: fetched.append(store.fetch("models/a/1"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(fetched)) == 1
    assert len(fetched) == 4


def test_the_cache_stays_within_its_bound_least_recently_used_out_first(folder, tmp_path):
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    store = ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", size * 2 + 2000)
    for number in range(3):
        store.publish(folder, f"models/a/{number}", {})
    old, used = store.fetch("models/a/0"), store.fetch("models/a/1")
    for place, age in ((old, 9000), (used, 5000)):
        os.utime(place, (place.stat().st_atime, place.stat().st_mtime - age))
    newest = store.fetch("models/a/2")
    assert not old.exists()
    assert used.exists()
    assert newest.exists()


def test_a_store_that_cannot_be_written_is_a_service_that_is_away(folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = ModelStore(f"file://{tmp_path / 'file'}/store", tmp_path / "cache", 10**9)
    with pytest.raises(ServiceUnavailableError, match="store"):
        store.publish(folder, "models/a/1", {})


def test_a_url_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(ServiceUnavailableError, match="STORE_URL"):
        ModelStore("gopher://x", tmp_path, 1)


def test_a_hub_out_of_reach_is_said_in_a_plain_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnavailableError, match="online"):
        download("nobody/nothing", tmp_path / "model")
