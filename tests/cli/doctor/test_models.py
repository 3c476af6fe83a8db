"""The doctor looks at the model that answers by default."""

import json

import pytest

from cli.doctor.findings import Verdict
from cli.doctor.models import check_default_model
from cli.model_adding import DEFAULT_MODEL
from models_store.store import ModelStore
from tests.core.corpora.helpers import add_version


@pytest.fixture
def store(tmp_path):
    return ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**9)


def test_a_model_that_nobody_added_fails_with_how_to_add_it(engine, store):
    for there in (None, engine):
        found = check_default_model(there, store, "nope")
        assert (found.verdict, "“nope”" in found.said) == (Verdict.FAILED, True)
        assert "perroquet models add" in found.fix


def test_smollm2_may_still_be_absent_but_not_its_package(monkeypatch, store, tmp_path):
    monkeypatch.setattr("workers.conversion.smollm2._PACKAGE", "there-is-no-such-package")
    found = check_default_model(None, store, DEFAULT_MODEL)
    assert (found.verdict, found.fix) == (Verdict.FAILED, "make install")
    monkeypatch.setattr("workers.conversion.smollm2.find_gguf", lambda: tmp_path)
    assert check_default_model(None, store, DEFAULT_MODEL).verdict is Verdict.SKIPPED
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_there_until_its_manifest_is_damaged(engine, store, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    publication = store.publish(folder, "models/coco/one", {})
    facts = {"store_path": publication.path, "manifest_sha256": publication.manifest_sha256}
    add_version(engine, "coco", **facts)
    found = check_default_model(engine, store, "coco")
    assert (found.verdict, "coco 1" in found.said) == (Verdict.OK, True)
    (manifest,) = (tmp_path / "store").rglob("manifest.json")
    manifest.write_text("{")
    found = check_default_model(engine, store, "coco")
    assert (found.verdict, "damaged" in found.said) == (Verdict.FAILED, True)
    assert found.fix == "perroquet models remove coco, then perroquet models add test"


def test_of_a_model_that_is_elsewhere_the_place_is_doubted_before_it_is_removed(engine, store):
    add_version(engine, "coco")
    found = check_default_model(engine, store, "coco")
    assert (found.verdict, "coco 1 is not in the store" in found.said) == (Verdict.FAILED, True)
    assert found.fix.startswith("STORE_URL may name another place")
    assert found.fix.index("STORE_URL") < found.fix.index("perroquet models remove coco")
