import threading
import traceback

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.engines import make_engine, reading
from core.db.tables import Channel, Worker
from core.errors import SettingsError


def test_threads_that_read_and_then_write_never_find_the_database_locked(sqlite_engine):
    errors: list[Exception] = []

    def work(number: int) -> None:
        for turn in range(15):
            try:
                with Session(sqlite_engine) as session, session.begin():
                    session.scalar(select(Worker.id))
                    session.add(Worker(id=f"{number}-{turn}", kind="x", info={}))
            except Exception as exc:  # noqa: BLE001 - collected for the assertion
                errors.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_reader_does_not_wait_for_a_writer(engine):
    with Session(engine) as writer, writer.begin():
        writer.add(Worker(id="w", kind="x", info={}))
        writer.flush()
        with Session(reading(engine)) as reader:
            assert reader.scalar(select(Worker.id)) is None


def test_foreign_keys_are_enforced(any_engine):
    with Session(any_engine) as session:
        session.add(Channel(id=1, guild_id=12345))
        with pytest.raises(IntegrityError):
            session.commit()


def test_the_database_clock_advances_within_a_transaction(any_engine):
    with Session(any_engine) as session:
        first = session.scalar(select(epoch_now()))
        if any_engine.dialect.name == "postgresql":
            session.execute(text("SELECT pg_sleep(0.01)"))
        assert session.scalar(select(epoch_now())) >= first > 1.7e9


def test_the_url_of_a_hosting_provider_is_taken():
    engine = make_engine("postgres://u:p@127.0.0.1:1/d")
    assert engine.dialect.name == "postgresql"


@pytest.mark.parametrize("url", ["mysql://h/d", "nonsense", "postgresql://h:port/d"])
def test_a_database_that_is_not_spoken_to_is_refused(url):
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        make_engine(url)


def test_an_error_does_not_quote_what_its_statement_carried(any_engine):
    words = "a member's"
    with Session(any_engine) as session:
        session.add(Worker(id="w", kind=None, info={"said": words}))
        with pytest.raises(IntegrityError) as failed:
            session.flush()
    told = "".join(traceback.format_exception(failed.value))
    assert "INSERT INTO workers" in told
    assert words not in told.replace(f'words = "{words}"', "")
