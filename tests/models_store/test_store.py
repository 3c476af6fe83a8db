import json
import os

import pytest

from core.errors import ServiceUnavailableError
from models_store.errors import (
    UnsafeFileError,
    VersionCorruptError,
    VersionExistsError,
    VersionMissingError,
)
from models_store.manifest import MANIFEST_NAME
from models_store.store import ModelStore
from tests.models_store.conftest import make_site

NAMES = ("model.safetensors", "config.json", "sub/README.md")
PATH = "models/a/1"


def total_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_what_was_published_is_fetched_byte_for_byte(site, folder):
    publication = site.store.publish(folder, PATH, {"model": "a"})
    fetched = site.store.fetch(PATH)
    for name in NAMES:
        assert (fetched / name).read_bytes() == (folder / name).read_bytes()
    assert site.store.list_versions() == [PATH]
    assert site.store.read_manifest(PATH).metadata == {"model": "a"}
    assert publication.total_bytes == total_bytes(folder)


def test_only_the_version_itself_is_left_in_the_store(site, folder):
    site.store.publish(folder, PATH, {})
    assert site.files() == sorted(f"{PATH}/{name}" for name in (*NAMES, MANIFEST_NAME))


def test_the_manifest_names_every_file_and_its_hash(site, folder):
    site.store.publish(folder, PATH, {})
    manifest = json.loads(site.read(PATH, MANIFEST_NAME))
    assert manifest["format"] == 1
    assert sorted(manifest["files"]) == sorted(NAMES)
    assert all(len(entry["sha256"]) == 64 for entry in manifest["files"].values())


@pytest.mark.parametrize("work", ["publish", "fetch", "verify"])
def test_progress_counts_every_byte(site, folder, work):
    done = []
    site.store.publish(folder, PATH, {}, done.append if work == "publish" else lambda n: None)
    if work == "fetch":
        site.store.fetch(PATH, progress=done.append)
    if work == "verify":
        site.store.verify(PATH, progress=done.append)
    assert sum(done) == total_bytes(folder)


def test_a_version_never_changes(site, folder):
    site.store.publish(folder, PATH, {})
    before = site.read(PATH, "config.json")
    (folder / "config.json").write_text('{"other": 1}')
    with pytest.raises(VersionExistsError):
        site.store.publish(folder, PATH, {})
    assert site.read(PATH, "config.json") == before


@pytest.mark.parametrize("path", ["models/a", "models", "models/a/1/deeper"])
def test_no_version_stands_inside_another(site, folder, path):
    site.store.publish(folder, PATH, {})
    with pytest.raises(VersionExistsError):
        site.store.publish(folder, path, {})
    site.store.verify(PATH)
    assert site.store.list_versions() == [PATH]


def test_a_second_fetch_reads_nothing_from_the_store(site, folder):
    site.store.publish(folder, PATH, {})
    first = site.store.fetch(PATH)
    site.delete(PATH, MANIFEST_NAME)
    assert site.store.fetch(PATH) == first


def test_what_is_not_there_is_said_to_be_missing(site):
    for ask in (site.store.fetch, site.store.verify, site.store.read_manifest):
        with pytest.raises(VersionMissingError, match="models/none/1"):
            ask("models/none/1")
    assert site.store.list_versions() == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "lengthen", "delete"])
def test_damage_is_found_before_anybody_reads_it(site, folder, damage):
    site.store.publish(folder, PATH, {})
    content = site.read(PATH, "model.safetensors")
    changed = {
        "flip": content[:-1] + bytes([content[-1] ^ 1]),
        "truncate": content[:-5],
        "lengthen": content + b"!",
    }
    site.delete(PATH, "model.safetensors")
    if damage in changed:
        site.write(PATH, "model.safetensors", changed[damage])
    for read in (site.store.verify, site.store.fetch):
        with pytest.raises(VersionCorruptError, match=r"model\.safetensors") as caught:
            read(PATH)
        assert caught.value.data == {"file": "model.safetensors", "version": PATH}


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{", b'{"format": 2, "files": {}}', b'{"format": 1, "files": {"a.txt": 3}}'],
)
def test_a_manifest_that_is_no_manifest_is_damage(site, folder, manifest):
    site.store.publish(folder, PATH, {})
    site.delete(PATH, MANIFEST_NAME)
    site.write(PATH, MANIFEST_NAME, manifest)
    with pytest.raises(VersionCorruptError):
        site.store.fetch(PATH)


def test_a_manifest_that_the_catalogue_does_not_know_is_damage(site, folder):
    publication = site.store.publish(folder, PATH, {})
    site.store.verify(PATH, publication.manifest_sha256)
    for read in (site.store.verify, site.store.fetch):
        with pytest.raises(VersionCorruptError, match="manifest"):
            read(PATH, "0" * 64)
    site.store.fetch(PATH, publication.manifest_sha256)
    with pytest.raises(VersionCorruptError, match="manifest"):
        site.store.fetch(PATH, "0" * 64)


def test_a_manifest_cannot_write_outside_the_cache(site, folder, tmp_path):
    site.store.publish(folder, PATH, {})
    manifest = json.loads(site.read(PATH, MANIFEST_NAME))
    manifest["files"]["../../evil.json"] = manifest["files"]["config.json"]
    site.delete(PATH, MANIFEST_NAME)
    site.write(PATH, MANIFEST_NAME, json.dumps(manifest).encode())
    with pytest.raises(UnsafeFileError):
        site.store.fetch(PATH)
    assert not list(tmp_path.rglob("evil.json"))


def test_a_retired_version_is_gone_here_and_there(site, folder):
    site.store.publish(folder, PATH, {})
    site.store.fetch(PATH)
    site.store.retire(PATH)
    site.store.retire(PATH)
    assert site.store.list_versions() == []
    assert site.files() == []
    with pytest.raises(VersionMissingError):
        site.store.fetch(PATH)


def test_a_retired_path_can_be_published_again(site, folder):
    site.store.publish(folder, PATH, {})
    site.store.retire(PATH)
    (folder / "config.json").write_text('{"new": 1}')
    site.store.publish(folder, PATH, {})
    assert json.loads((site.store.fetch(PATH) / "config.json").read_text()) == {"new": 1}


def test_retiring_takes_nothing_but_the_version(site, folder):
    for path in (PATH, "models/a/2", "models/ab/1"):
        site.store.publish(folder, path, {})
    with pytest.raises(VersionExistsError):
        site.store.retire("models/a")
    site.store.retire(PATH)
    assert site.store.list_versions() == ["models/a/2", "models/ab/1"]
    site.store.verify("models/a/2")


@pytest.mark.parametrize(
    "path", ["../outside", "/absolute", "a/../../b", "", ".", "a//b", "a/", ".hidden", "a*", "a\\b"]
)
def test_a_path_that_leaves_the_store_is_refused_everywhere(site, folder, path):
    site.store.publish(folder, "abc", {})
    for work in (site.store.fetch, site.store.verify, site.store.retire, site.store.read_manifest):
        with pytest.raises(UnsafeFileError):
            work(path)
    with pytest.raises(UnsafeFileError):
        site.store.publish(folder, path, {})
    site.store.verify("abc")


@pytest.mark.parametrize(
    ("name", "content"),
    [("pytorch_model.bin", b"x"), ("code.py", b"print()"), ("manifest.json", b"{}")],
)
def test_one_refused_file_refuses_the_whole(site, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(UnsafeFileError):
        site.store.publish(folder, PATH, {})
    assert site.files() == []


def test_what_is_hidden_stays_behind(site, folder):
    for name in (".gitattributes", ".git/config", "sub/.cache/x.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("hidden")
    site.store.publish(folder, PATH, {})
    assert sorted(site.store.read_manifest(PATH).files) == sorted(NAMES)


def test_links_are_published_as_what_they_point_to(site, folder, tmp_path):
    blob = tmp_path / "blob"
    (folder / "config.json").rename(blob)
    (folder / "config.json").symlink_to(blob)
    site.store.publish(folder, PATH, {})
    assert (site.store.fetch(PATH) / "config.json").read_text() == "{}"


def test_a_folder_on_the_same_disk_is_linked_and_costs_nothing_twice(local_site, folder):
    local_site.store.publish(folder, PATH, {})
    fetched = local_site.store.fetch(PATH)
    stored = local_site.at(PATH, "model.safetensors")
    assert (fetched / "model.safetensors").samefile(stored)
    local_site.store._shelf.remove(PATH)
    assert (fetched / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()


def test_a_folder_on_another_disk_is_copied(local_site, folder, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    local_site.store.publish(folder, PATH, {})
    monkeypatch.setattr(os, "link", refuse)
    fetched = local_site.store.fetch(PATH)
    assert not (fetched / "config.json").samefile(local_site.at(PATH, "config.json"))
    assert (fetched / "config.json").read_text() == "{}"


def test_a_version_retired_in_the_middle_of_a_fetch_is_missing_not_damaged(
    site, folder, monkeypatch
):
    site.store.publish(folder, PATH, {})
    bring = site.store._shelf.bring

    def retire_first(*arguments):
        site.store._shelf.remove(PATH)
        return bring(*arguments)

    monkeypatch.setattr(site.store._shelf, "bring", retire_first)
    with pytest.raises(VersionMissingError):
        site.store.fetch(PATH)


def test_a_store_that_cannot_be_written_is_a_service_that_is_away(folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = ModelStore(f"file://{tmp_path / 'file'}/store", tmp_path / "cache", 10**9)
    with pytest.raises(ServiceUnavailableError, match="store") as caught:
        store.publish(folder, PATH, {})
    assert caught.value.data == {"service": "store"}


def test_a_cache_that_cannot_be_written_is_said(folder, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    site = make_site(f"file://{tmp_path / 'store'}", tmp_path / "cache")
    site.store.publish(folder, PATH, {})
    with pytest.raises(ServiceUnavailableError):
        site.store.fetch(PATH)


def test_what_a_backend_raises_in_its_own_words_is_translated(memory_site, monkeypatch):
    class EndpointConnectionError(Exception):
        pass

    def away(*_, **__):
        raise EndpointConnectionError("no route")

    monkeypatch.setattr(memory_site.filesystem, "cat_file", away)
    monkeypatch.setattr(memory_site.filesystem, "find", away)
    for work in (lambda: memory_site.store.fetch(PATH), memory_site.store.list_versions):
        with pytest.raises(ServiceUnavailableError, match="no route"):
            work()


def test_a_file_that_vanishes_while_it_is_published_is_said(site, folder, monkeypatch):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(folder / "gone.json")
    monkeypatch.setattr("models_store.store.check_content", lambda *_: None)
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: self.suffix != "")
    with pytest.raises(ServiceUnavailableError, match="missing"):
        site.store.publish(folder, PATH, {})


@pytest.mark.parametrize("url", ["gopher://x", "s3"])
def test_a_url_of_no_known_kind_is_refused_or_a_folder(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    if "://" in url:
        with pytest.raises(ServiceUnavailableError, match="STORE_URL"):
            ModelStore(url, tmp_path, 1)
    else:
        assert ModelStore(url, tmp_path / "cache", 1).list_versions() == []
