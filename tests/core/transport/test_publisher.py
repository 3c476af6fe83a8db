import threading
import time

import pytest
from sqlalchemy.orm import Session

from core.db.desk import Desk
from core.db.tables import Job
from core.embedded import free_port
from core.jobs.ledger import NewJob, submit
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport import kombu_redis
from core.transport import publisher as publisher_module
from core.transport.courier import make_publishing_celery
from core.transport.publisher import Publisher


def make_app(tmp_path, url, prefix="p"):
    environment = {"REDIS_URL": url, "PERROQUET_REDIS__KEY_PREFIX": prefix}
    return make_publishing_celery(load_settings(environment, tmp_path / "none"))


@pytest.fixture
def desk(engine):
    desk = Desk(engine)
    desk.start()
    yield desk
    desk.close()


@pytest.fixture
def publishing(desk):
    """Starts publishers and ends them."""
    started = []

    def start(app):
        publisher = Publisher(app, desk)
        publisher.start()
        started.append(publisher)
        return publisher

    yield start
    for publisher in started:
        publisher.close()


def submit_job(engine) -> str:
    with Session(engine) as session, session.begin():
        return submit(session, NewJob(JobKind.GENERATE, 1, {}))


def dispatched_at(engine, job_id):
    with Session(engine) as session:
        return session.get(Job, job_id).dispatched_at


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_hint_reaches_the_queue_and_is_stamped(tmp_path, engine, valkey, publishing):
    import redis

    publisher = publishing(make_app(tmp_path, valkey.url, valkey.key_prefix))
    job_id, sent = submit_job(engine), threading.Event()
    publisher.publish(Hint(job_id, JobKind.GENERATE, 0), then=sent.set)
    assert sent.wait(5)
    client = redis.Redis.from_url(valkey.url)
    assert [k for k in client.keys(f"{valkey.key_prefix}:*") if client.type(k) == b"list"]
    client.close()
    wait_for(lambda: dispatched_at(engine, job_id) is not None)
    assert publisher.health.is_reachable


def test_while_the_broker_is_away_nobody_waits_for_it(tmp_path, engine, publishing):
    publisher = publishing(make_app(tmp_path, f"redis://127.0.0.1:{free_port()}/0"))
    wait_for(lambda: not publisher.health.is_reachable)
    job_id, called = submit_job(engine), []
    publisher.publish(Hint(job_id, JobKind.GENERATE, 0), then=lambda: called.append(1))
    assert called == [1]
    wait_for(lambda: publisher.health.waiting == 0)
    assert dispatched_at(engine, job_id) is None
    assert called == [1]


def test_the_courier_s_channels_keep_one_client(tmp_path, valkey):
    app = make_app(tmp_path, valkey.url, valkey.key_prefix)
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        assert isinstance(channel, kombu_redis.Channel)
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert first.ping()
        with channel.conn_or_acquire("lent") as lent:
            assert lent == "lent"


def test_a_defect_with_one_hint_does_not_end_the_sending_of_others(
    tmp_path, engine, valkey, publishing, monkeypatch
):
    app = make_app(tmp_path, valkey.url, valkey.key_prefix)
    send, called = publisher_module.send_hint, []

    def stumble(app, hint):
        if hint.kind is None:
            raise AttributeError("a defect")
        send(app, hint)

    monkeypatch.setattr(publisher_module, "send_hint", stumble)
    publisher = publishing(app)
    publisher.publish(Hint("odd", None, 0), then=lambda: called.append("odd"))
    job_id = submit_job(engine)
    publisher.publish(Hint(job_id, JobKind.GENERATE, 0), then=lambda: called.append("good"))
    wait_for(lambda: dispatched_at(engine, job_id) is not None)
    assert called == ["odd", "good"]


def test_what_was_never_started_can_be_closed(tmp_path, engine, valkey):
    Publisher(make_app(tmp_path, valkey.url), Desk(engine)).close()
    Desk(engine).close()
