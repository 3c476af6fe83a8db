import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from core.db.engines import make_engine
from core.db.outage import is_away
from core.embedded import free_port


def raised_by(engine, *statements):
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError as exc:
        return exc
    pytest.fail("nothing was raised")


def test_a_server_that_is_not_there_is_away():
    engine = make_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert is_away(raised_by(engine, "SELECT 1"))


def test_a_primary_that_became_a_standby_is_away(postgresql_url):
    engine = make_engine(postgresql_url)
    writes = "UPDATE jobs SET token = token"
    assert is_away(raised_by(engine, "SET TRANSACTION READ ONLY", writes))
    engine.dispose()


def test_a_pool_with_nothing_free_is_away(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}", pool_size=1, max_overflow=0)
    engine.pool._timeout = 0.01
    with engine.connect(), pytest.raises(Exception, match="QueuePool") as caught:
        engine.connect()
    assert is_away(caught.value)
    engine.dispose()


def test_a_wrong_question_is_not_an_outage(postgresql_url):
    engine = make_engine(postgresql_url)
    wrong = raised_by(engine, "SELECT * FROM no_such_table")
    assert isinstance(wrong, ProgrammingError)
    assert not is_away(wrong)
    assert not is_away(IntegrityError("", None, ValueError("twice")))
    assert not is_away(ValueError("ours"))
    engine.dispose()
