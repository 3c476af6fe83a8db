import asyncio
import threading

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.db.engines import make_engine
from core.db.tables import Worker
from core.errors import ServiceUnavailableError


@pytest.fixture
def desk(engine):
    desk = Desk(engine)
    desk.start()
    yield desk
    desk.close()


def add(worker_id: str):
    def work(session: Session) -> str:
        session.add(Worker(id=worker_id, kind="x", info={}))
        session.flush()
        return worker_id

    return work


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Worker))


async def test_many_writes_at_once_all_get_their_own_result(desk):
    ids = [f"w{n}" for n in range(150)]
    assert await asyncio.gather(*(desk.write(add(i)) for i in ids)) == ids
    assert await desk.read(count) == 150


async def test_an_error_reaches_only_who_caused_it(desk):
    blocker = threading.Event()
    first = desk.hand_in(lambda session: blocker.wait(5))
    good, bad, other = (desk.hand_in(add(i)) for i in ("a", "a", "b"))
    blocker.set()
    assert first.result(5)
    assert good.result(5) == "a"
    with pytest.raises(IntegrityError):
        bad.result(5)
    assert other.result(5) == "b"
    assert await desk.read(count) == 2


def test_closing_does_what_waits(engine):
    desk = Desk(engine)
    futures = [desk.hand_in(add(f"w{n}")) for n in range(5)]
    desk.start()
    desk.close()
    assert all(f.done() for f in futures)
    with pytest.raises(ServiceUnavailableError):
        desk.hand_in(count)


def test_what_its_asker_gave_up_is_not_written(engine):
    desk = Desk(engine)
    given_up = desk.hand_in(add("a"))
    kept = desk.hand_in(add("b"))
    given_up.cancel()
    desk.start()
    assert kept.result(5) == "b"
    desk.close()
    with Session(engine) as session:
        assert session.scalars(select(Worker.id)).all() == ["b"]


def test_a_database_out_of_reach_is_tried_once_for_all_who_wait(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}")
    attempts = []
    event.listen(engine, "do_connect", lambda *_: attempts.append(1))
    desk = Desk(engine)
    futures = [desk.hand_in(count) for _ in range(20)]
    desk.start()
    for future in futures:
        with pytest.raises(OperationalError):
            future.result(5)
    desk.close()
    assert len(attempts) == 1
