import os
import time
from pathlib import Path

import pytest
import structlog
from sqlalchemy import delete, select, update

from core.catalog.retiring import retire_version
from core.conversations.places import leave_guild
from core.corpora.submissions import cancel_finetune
from core.corpora.uploads import Uploads
from core.db.tables import Corpus, Job
from core.errors import ServiceUnavailableError, StoreError
from core.ids import new_id
from core.jobs.ledger import request_cancel
from models_store.store import ModelStore
from tests.core.corpora.helpers import GUILD, OTHER_GUILD, add_version, run, submit
from workers.upkeep.garbage import collect_once

_DAY = 86_400


@pytest.fixture
def store(tmp_path):
    return ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**9)


def publish(store, tmp_path, path):
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    store.publish(folder, path, {})


def age(root: Path, days: float = 2) -> None:
    """Let everything be two days old."""
    then = time.time() - days * _DAY
    for file in root.rglob("*"):
        os.utime(file, (then, then))


def upload(tmp_path, corpus_id) -> Path:
    """Take a file in; returns its folder."""
    writer = Uploads(f"file://{tmp_path / 'store'}").open(corpus_id, 0)
    writer.write(b"x")
    writer.finish("x.txt")
    return tmp_path / "store" / Uploads.path_of(corpus_id)


def test_what_was_retired_goes_once_it_is_surely_dead(engine, store, tmp_path):
    for name in ("living", "retired"):
        publish(store, tmp_path, f"models/{name}/1")
    add_version(engine, "living", store_path="models/living/1")
    retired = add_version(engine, "retired", GUILD, store_path="models/retired/1")
    run(engine, retire_version, GUILD, retired)

    collect_once(engine, store)
    assert len(store.list_versions()) == 2, "a reader may have asked for it just before"

    age(tmp_path / "store")
    collect_once(engine, store)
    assert store.list_versions() == ["models/living/1"]


def test_what_another_database_published_is_left_and_named(engine, store, tmp_path):
    publish(store, tmp_path, "models/precious/1")
    publish(store, tmp_path, f"models/trained/{new_id()}-1")
    publish(store, tmp_path, f"corpora/{new_id()}-1")
    age(tmp_path / "store", days=400)
    with structlog.testing.capture_logs() as logs:
        collect_once(engine, store)
    assert len(store.list_versions()) == 3
    assert [(entry["event"], entry["count"]) for entry in logs] == [("unknown_versions_left", 3)]


def test_an_upload_waits_for_its_validation_over_a_long_weekend(engine, store, tmp_path):
    corpus_id = new_id()
    waiting = upload(tmp_path, corpus_id)
    submitted = submit(engine, add_version(engine), corpus_id=corpus_id)
    age(tmp_path / "store", days=40)
    collect_once(engine, store)
    assert waiting.exists()
    run(engine, cancel_finetune, submitted.job_id)
    collect_once(engine, store)
    assert not waiting.exists()


def test_an_upload_that_no_row_knows_goes_after_a_month(engine, store, tmp_path):
    abandoned = upload(tmp_path, new_id())
    age(tmp_path / "store", days=29)
    collect_once(engine, store)
    assert abandoned.exists(), "another installation may wait for it"
    age(tmp_path / "store", days=31)
    collect_once(engine, store)
    assert not abandoned.exists()


def test_one_version_that_cannot_be_retired_does_not_keep_the_others(
    engine, store, tmp_path, monkeypatch
):
    for name in ("bad", "good"):
        publish(store, tmp_path, f"models/{name}/1")
        version_id = add_version(engine, name, GUILD, store_path=f"models/{name}/1")
        run(engine, retire_version, GUILD, version_id)
    age(tmp_path / "store")
    real = store.retire

    def refuse_bad(path):
        if "bad" in path:
            raise StoreError("It cannot be.", version=path)
        real(path)

    monkeypatch.setattr(store, "retire", refuse_bad)
    collect_once(engine, store)
    assert store.list_versions() == ["models/bad/1"]


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

    monkeypatch.setattr(store, "take_stock", be_away)
    with structlog.testing.capture_logs() as logs:
        collect_once(engine, store)
    assert [entry["event"] for entry in logs] == ["garbage_not_collected"]


def read_corpus(engine, store, tmp_path, guild_id=GUILD):
    """A fine-tune whose corpus is read and that has ended; its id and the corpus' path."""
    corpus_id = new_id()
    submitted = submit(engine, add_version(engine), corpus_id=corpus_id, guild_id=guild_id)
    path = f"corpora/{corpus_id}-1"
    publish(store, tmp_path, path)

    def end(session):
        session.execute(update(Corpus).where(Corpus.id == corpus_id).values(store_path=path))
        for job_id in (submitted.job_id, submitted.validation_id):
            request_cancel(session, job_id)

    run(engine, end)
    return submitted.job_id, path


def corpora_left(engine, store):
    rows = run(engine, lambda session: set(session.scalars(select(Corpus.store_path))))
    files = {path for path in store.list_versions() if path.startswith("corpora/")}
    assert rows == files
    return rows


def test_a_corpus_goes_once_retention_took_the_jobs_that_name_it(engine, store, tmp_path):
    old, _ = read_corpus(engine, store, tmp_path)
    _, kept = read_corpus(engine, store, tmp_path)
    collect_once(engine, store)
    assert len(corpora_left(engine, store)) == 2, "the job may be tried again"
    run(engine, lambda session: session.execute(delete(Job).where(Job.id == old)))
    collect_once(engine, store)
    assert corpora_left(engine, store) == {kept}


def test_the_corpora_of_a_guild_go_when_the_bot_leaves_it(engine, store, tmp_path):
    read_corpus(engine, store, tmp_path)
    _, kept = read_corpus(engine, store, tmp_path, guild_id=OTHER_GUILD)
    run(engine, leave_guild, GUILD)
    collect_once(engine, store)
    assert corpora_left(engine, store) == {kept}
