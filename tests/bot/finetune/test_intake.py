"""What becomes of an upload when nobody knows whether its rows were written."""

import asyncio
import sqlite3
import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bot.finetune.downloading import Attached
from bot.finetune.intake import FinetuneIntake, FinetuneRequest
from core.conversations.places import Place
from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.db.tables import Corpus, Job
from core.sharding import Share
from tests.core.corpora.helpers import ADMIN, CHANNEL, GUILD, add_version

REQUEST = FinetuneRequest(
    Place(CHANNEL, GUILD, "guild"), ADMIN, "coco", None, {}, (Attached("a.txt", "", 4),)
)


class Downloader:
    """Has the bytes already."""

    async def download(self, attached, open_writer, max_bytes):
        writer = open_writer()
        writer.write(b"coco")
        return writer


class NoPublisher:
    """Nothing is published: the hint is owed."""

    def publish(self, hint):
        raise AssertionError(hint)


@pytest.fixture
def at_first_write(sqlite_engine):
    """Has a function do the first commit of a write; it gets the driver's and the connection."""
    dialect = sqlite_engine.dialect
    real = dialect.do_commit

    def replace(function):
        def do_commit(connection):
            if threading.current_thread().name != "desk-writes":
                return real(connection)
            dialect.do_commit = real
            return function(real, connection)

        dialect.do_commit = do_commit

    yield replace
    dialect.do_commit = real


@pytest.fixture
def intake(sqlite_engine, tmp_path):
    add_version(sqlite_engine, "base")
    desk = Desk(sqlite_engine)
    desk.start()
    yield FinetuneIntake(
        desk,
        NoPublisher(),
        Uploads(f"file://{tmp_path}"),
        Downloader(),
        max_bytes=100,
        default_base="base",
        share=Share("bot-0"),
    )
    desk.close()


def kept(engine, tmp_path) -> list[bytes]:
    """What lies in the store for the corpora that rows name."""
    with Session(engine) as session:
        assert len(session.scalars(select(Job.id)).all()) == 2, "the fine-tune stands"
        paths = session.scalars(select(Corpus.store_path)).all()
    return [(tmp_path / path / "0").read_bytes() for path in paths]


async def test_it_stays_where_the_connection_was_lost_after_the_commit(
    intake, at_first_write, sqlite_engine, tmp_path
):
    def commit_and_lose(commit, connection):
        commit(connection)
        raise sqlite3.OperationalError("the connection was lost")

    at_first_write(commit_and_lose)
    with pytest.raises(OperationalError, match="lost"):
        await intake.take(REQUEST)
    assert kept(sqlite_engine, tmp_path) == [b"coco"]


async def test_it_stays_where_the_command_was_cancelled_while_its_rows_were_written(
    intake, at_first_write, sqlite_engine, tmp_path
):
    is_writing, may_write = threading.Event(), threading.Event()

    def commit_slowly(commit, connection):
        is_writing.set()
        assert may_write.wait(10)
        commit(connection)

    at_first_write(commit_slowly)
    taking = asyncio.create_task(intake.take(REQUEST))
    assert await asyncio.to_thread(is_writing.wait, 10)
    taking.cancel()
    asyncio.get_running_loop().call_later(0.2, may_write.set)
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert kept(sqlite_engine, tmp_path) == [b"coco"]


async def test_it_goes_where_the_rows_were_not_written(intake, at_first_write, tmp_path):
    def fail(_commit, _connection):
        raise sqlite3.OperationalError("the disk is full")

    at_first_write(fail)
    with pytest.raises(OperationalError, match="full"):
        await intake.take(REQUEST)
    assert list((tmp_path / "uploads").iterdir()) == []
