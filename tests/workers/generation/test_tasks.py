"""The generation worker as a whole: a real process, SQL, Valkey, and a real tiny model."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.catalog.registry import StoredVersion, register_version
from core.conversations.answers import find_weights
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.db.tables import Job, Worker
from core.embedded import free_port
from core.errors import SettingsError
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport.courier import make_publishing_celery, send_hint
from models_store.errors import VersionMissingError
from models_store.store import ModelStore
from tests.core.corpora.helpers import GUILD, add_version, run, submit
from tests.core.monitoring.scraping import get
from workers.generation.serving import engine_of
from workers.generation.tasks import _measure, _store_loader, run_generation_worker

SECONDS = 180


@pytest.fixture
def settings_of(database_url, valkey, tmp_path):
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url,
        "PERROQUET_REDIS__KEY_PREFIX": valkey.key_prefix,
        "PERROQUET_DATA_DIR": str(tmp_path / "data"),
        "PERROQUET_GENERATION__MODEL": "tiny",
        "PERROQUET_GENERATION__MAX_NEW_TOKENS": "8",
        "PERROQUET_GENERATION__TORCH_THREADS": "1",
        "PERROQUET_LOG__LEVEL": "info",
    }
    return environment, load_settings(environment, tmp_path / "none")


def publish(engine, settings, folder) -> None:
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)
    stored = store.publish(folder, "models/tiny/1", {})
    with Session(engine) as session, session.begin():
        register_version(
            session,
            model="tiny",
            guild_id=None,
            source="test",
            stored=StoredVersion(stored.path, stored.manifest_sha256, stored.total_bytes, {}),
        )


def wait_for(condition, log):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found


def test_a_server_answers_for_its_own_model_and_for_no_namesake(any_engine, tmp_path):
    base = add_version(any_engine, "base")
    finetune = submit(any_engine, base).job_id
    versions = {
        "base": base,
        "adapter": add_version(any_engine, "coco", GUILD, base_id=base),
        "a guild's": add_version(any_engine, "base", GUILD),
        "made by a job": add_version(any_engine, "base", job_id=finetune),
    }
    versions["over a guild's"] = add_version(
        any_engine, "coco", GUILD, base_id=versions["a guild's"]
    )
    toml = tmp_path / "perroquet.toml"
    toml.write_text('[generation.remotes.base]\nurl = "http://127.0.0.1:9/v1"\n')
    settings = load_settings({"PERROQUET_DATA_DIR": str(tmp_path)}, toml)
    store = ModelStore(settings.store_url, settings.cache_dir, settings.store.cache_max_bytes)
    load, measure = _store_loader(settings, store), _measure(settings, store)
    for name, version in versions.items():
        weights = engine_of(run(any_engine, find_weights, version))
        if name in {"base", "adapter"}:
            assert measure(weights) == 0
            responder = load(weights)
            assert responder.describe()["dtype"] == "remote"
            responder.close()
            continue
        for use in (measure, load):
            # It is looked for in the store, where none of these is.
            with pytest.raises(VersionMissingError):
                use(weights)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DEVICE", "abacus", "no device “abacus”"),
        ("REMOTES", '{"coco": {"url": "http://127.0.0.1:9/v1"}}', r"perroquet\[remote\]"),
    ],
)
def test_settings_that_cannot_be_kept_end_a_worker_at_once(monkeypatch, variable, value, said):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=said):
        run_generation_worker(load_settings({f"PERROQUET_GENERATION__{variable}": value}))


def test_a_worker_loads_its_model_early_answers_and_drains(
    engine, settings_of, tiny_gpt2_folder, tmp_path
):
    environment, settings = settings_of
    environment["PERROQUET_MONITORING__PORT"] = str(free_port())
    publish(engine, settings, tiny_gpt2_folder)
    log = tmp_path / "worker.log"
    with log.open("w") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "workers.main", "generate"],
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
        )
    try:
        wait_for(lambda: "model_loaded" in log.read_text(), log)
        with Session(engine) as session, session.begin():
            message = IncomingMessage(Place(5, 7, "Guild"), None, 1, "Alice", "hello")
            job_id = receive(session, message, ReplyOptions("tiny", "bot-0", {}))
        send_hint(make_publishing_celery(settings), Hint(job_id, JobKind.GENERATE, 0))

        def ended():
            with Session(engine) as session:
                job = session.get(Job, job_id)
                return job if job.finished_at is not None else None

        job = wait_for(ended, log)
        # A model of random weights may also have nothing to say.
        assert job.state == "succeeded" or job.error_code == "empty-answer", job.error
        with Session(engine) as session:
            (info,) = session.scalars(select(Worker.info))
        assert info["device"] == "cpu"
        _, figures = get(int(environment["PERROQUET_MONITORING__PORT"]), "/metrics")
        assert 'perroquet_jobs_total{kind="generate"' in figures
        assert 'perroquet_batch_size{model="models/tiny/1"} 0.0' in figures
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, log.read_text()
        with Session(engine) as session:
            assert session.scalars(select(Worker.info)).all() == []
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()
