"""Writers of one SQLite file wait in small steps, and not for ever."""

import sqlite3
import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from core.db import write_queue
from core.db.engines import make_engine, reading


@pytest.fixture
def engine(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path}/rows.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE rows (writer INTEGER)"))
    yield engine
    engine.dispose()


@pytest.fixture
def holder(tmp_path, engine):
    """Another process's connection, as far as SQLite can tell."""
    connection = sqlite3.connect(
        tmp_path / "rows.db", isolation_level=None, check_same_thread=False
    )
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_a_writer_begins_as_soon_as_the_lock_is_free(engine, holder):
    release = threading.Timer(0.2, holder.rollback)
    release.start()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO rows VALUES (1)"))
    release.join()
    with reading(engine).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM rows")).scalar_one() == 1


def test_a_lock_that_is_never_free_is_an_error_of_the_usual_kind(engine, holder, monkeypatch):
    monkeypatch.setattr(write_queue, "BUSY_MILLISECONDS", 50)
    with pytest.raises(OperationalError, match="database is locked"), engine.begin():
        pass
    holder.rollback()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO rows VALUES (1)"))


def test_who_waits_behind_others_waits_no_longer_than_they(engine, holder, monkeypatch):
    monkeypatch.setattr(write_queue, "BUSY_MILLISECONDS", 200)
    waited = []

    def write():
        began = time.monotonic()
        with pytest.raises(OperationalError, match="database is locked"), engine.begin():
            pass
        waited.append(time.monotonic() - began)

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(waited) == 8
    assert max(waited) < 8 * 0.2


def test_a_reader_waits_for_no_writer(engine, holder):
    began = time.monotonic()
    with reading(engine).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM rows")).scalar_one() == 0
    assert time.monotonic() - began < 1


def test_what_comes_after_the_begin_waits_as_long_as_ever(engine):
    with engine.begin() as connection:
        kept = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    assert kept == write_queue.BUSY_MILLISECONDS


def test_threads_of_a_process_all_come_to_write(engine):
    def write(number):
        for _ in range(20):
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO rows VALUES (:n)"), {"n": number})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with reading(engine).connect() as connection:
        counts = connection.execute(text("SELECT count(*) FROM rows GROUP BY writer"))
        assert counts.scalars().all() == [20] * 8
