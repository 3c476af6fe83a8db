"""A store that is away or full makes jobs wait, not fail."""

import time

import pytest
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.errors import CancelledJobError, ServiceUnavailableError
from models_store.store import ModelStore
from tests.core.corpora.helpers import add_version
from tests.workers.ledger_helpers import claim_job, submit_job
from workers import patience
from workers.leases import HeldJob, StopReason
from workers.patience import await_service, retire_unless_known


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    monkeypatch.setattr(patience, "_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(patience, "_POLL_SECONDS", 0.01)


@pytest.fixture
def held(engine):
    return HeldJob(claim_job(engine, submit_job(engine)), time.monotonic() + 60)


class FullStore:
    """Refuses so many times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0

    def publish(self) -> str:
        self.asked += 1
        if self.asked <= self.refusals:
            raise ServiceUnavailableError("No space left on device.", service="store")
        return "published"


def test_it_is_tried_again_until_there_is_room(held):
    store = FullStore(3)
    assert await_service(held, store.publish, 60.0) == "published"
    assert store.asked == 4


def test_patience_ends(held):
    store = FullStore(10**9)
    with pytest.raises(ServiceUnavailableError, match="No space"):
        await_service(held, store.publish, 0.1)
    assert 1 < store.asked < 20


def test_a_job_that_waits_can_be_cancelled(held):
    store = FullStore(10**9)

    def publish() -> str:
        held.stop(StopReason.CANCELLED)
        return store.publish()

    with pytest.raises(CancelledJobError):
        await_service(held, publish, 60.0)
    assert store.asked == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_files_go_only_where_no_row_knows_them(engine, tmp_path, is_known):
    store = ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**6)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("x")
    store.publish(tmp_path / "folder", "models/coco/1", {})
    if is_known:
        add_version(engine, store_path="models/coco/1")
    desk = Desk(engine)
    desk.start()
    retire_unless_known(desk, store, "models/coco/1")
    desk.close()
    assert store.list_versions() == (["models/coco/1"] if is_known else [])


def test_without_an_answer_from_sql_the_files_stay(tmp_path, engine):
    store = ModelStore(f"file://{tmp_path / 'store'}", tmp_path / "cache", 10**6)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("x")
    store.publish(tmp_path / "folder", "models/coco/1", {})
    with Session(engine) as session, session.begin():
        session.connection().exec_driver_sql("ALTER TABLE versions RENAME TO gone")
    desk = Desk(engine)
    desk.start()
    retire_unless_known(desk, store, "models/coco/1")
    desk.close()
    assert store.list_versions() == ["models/coco/1"]
