import os
import time
from pathlib import Path

import pytest
import structlog
from sqlalchemy import update

from core.catalog.retiring import retire_version
from core.corpora.uploads import Uploads
from core.db.tables import Corpus
from core.errors import ServiceUnavailableError
from core.ids import new_id
from models_store.store import ModelStore
from tests.core.corpora.helpers import GUILD, add_version, run, submit
from workers.upkeep.loop import collect_once

_DAY = 86_400


@pytest.fixture
def store(tmp_path):
    return ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**9)


def publish(store, tmp_path, path):
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    store.publish(folder, path, {})


def age(root: Path) -> None:
    """Let everything be two days old."""
    then = time.time() - 2 * _DAY
    for file in root.rglob("*"):
        os.utime(file, (then, then))


def test_what_no_row_needs_goes_once_it_is_surely_dead(engine, store, tmp_path):
    for name in ("living", "retired", "orphan"):
        publish(store, tmp_path, f"models/{name}/1")
    publish(store, tmp_path, "corpora/cancelled")
    add_version(engine, "living", store_path="models/living/1")
    retired = add_version(engine, "retired", GUILD, store_path="models/retired/1")
    run(engine, retire_version, GUILD, retired)
    uploads = Uploads(f"file://{tmp_path / 'store'}")
    abandoned = new_id()
    writer = uploads.open(abandoned, 0)
    writer.write(b"x")
    writer.finish("x.txt")

    collect_once(engine, store)
    assert len(store.list_versions()) == 4, "it may all still be on its way to a row"

    age(tmp_path / "store")
    collect_once(engine, store)
    assert store.list_versions() == ["models/living/1"]
    assert not (tmp_path / "store" / Uploads.path_of(abandoned)).exists()


def test_the_corpus_of_a_fine_tune_is_kept(engine, store, tmp_path):
    base = add_version(engine, store_path="models/base/1")
    publish(store, tmp_path, "models/base/1")
    corpus_id = new_id()
    submit(engine, base, corpus_id=corpus_id)
    # Once it is read, the row of the corpus names the prepared one.
    publish(store, tmp_path, f"corpora/{corpus_id}-1")
    path = f"corpora/{corpus_id}-1"
    run(engine, lambda session: session.execute(update(Corpus).values(store_path=path)))
    age(tmp_path / "store")
    collect_once(engine, store)
    assert store.list_versions() == [f"corpora/{corpus_id}-1", "models/base/1"]


def test_a_store_that_is_away_is_only_noted(engine, store, monkeypatch):
    def be_away(*_):
        raise ServiceUnavailableError("The store cannot be used.", service="store")

    monkeypatch.setattr(store, "collect_garbage", be_away)
    with structlog.testing.capture_logs() as logs:
        collect_once(engine, store)
    assert [entry["event"] for entry in logs] == ["garbage_not_collected"]
