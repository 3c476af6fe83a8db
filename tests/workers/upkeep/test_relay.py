import pytest
import redis

from core.db.clock import epoch_now
from core.settings import LedgerSettings, RedisSettings, Settings
from core.transport.courier import make_publishing_celery
from tests.workers.ledger_helpers import read_job, set_job, submit_job
from workers.upkeep.relay import Relay

LEDGER = LedgerSettings(relay_interval_seconds=0.001, redispatch_after_seconds=30)


@pytest.fixture
def client(valkey):
    client = redis.Redis.from_url(valkey.url)
    yield client
    client.close()


@pytest.fixture
def relay(engine, valkey, client):
    settings = Settings(redis=RedisSettings(url=valkey.url, key_prefix=valkey.key_prefix))
    app = make_publishing_celery(settings)
    yield Relay(engine, app, client, valkey.key_prefix, LEDGER)
    app.close()


def _queue_length(client, valkey) -> int:
    return client.llen(f"{valkey.key_prefix}:generate")


def test_a_job_whose_hint_was_never_sent_is_sent_once(engine, relay, client, valkey):
    job_id = submit_job(engine)
    set_job(engine, job_id, created_at=epoch_now() - 5)
    assert relay.run_once() == 1
    assert read_job(engine, job_id).dispatched_at is not None
    assert relay.run_once() == 0
    assert _queue_length(client, valkey) == 1


def test_a_fresh_job_is_left_to_the_process_that_wrote_it(engine, valkey, client):
    settings = Settings(redis=RedisSettings(url=valkey.url, key_prefix=valkey.key_prefix))
    app = make_publishing_celery(settings)
    patient = Relay(
        engine, app, client, valkey.key_prefix, LedgerSettings(relay_interval_seconds=60)
    )
    submit_job(engine)
    assert patient.run_once() == 0
    app.close()


def test_hints_that_the_broker_lost_are_sent_again(engine, relay, client, valkey):
    job_id = submit_job(engine)
    set_job(engine, job_id, created_at=epoch_now() - 5)
    relay.run_once()
    client.delete(f"{valkey.key_prefix}:generate")
    assert relay.run_once() == 0, "not before its time"
    set_job(engine, job_id, dispatched_at=epoch_now() - 60)
    assert relay.run_once() == 1


def test_a_hint_that_merely_waits_its_turn_is_not_doubled(engine, relay, client, valkey):
    job_id = submit_job(engine)
    set_job(engine, job_id, created_at=epoch_now() - 5)
    relay.run_once()
    set_job(engine, job_id, dispatched_at=epoch_now() - 60)
    assert relay.run_once() == 0
    assert _queue_length(client, valkey) == 1


def test_without_a_broker_the_job_stays_owed(engine):
    settings = Settings(redis=RedisSettings(url="redis://127.0.0.1:1/0"))
    app = make_publishing_celery(settings)
    client = redis.Redis.from_url(settings.redis.url)
    relay = Relay(engine, app, client, "x", LEDGER)
    job_id = submit_job(engine)
    set_job(engine, job_id, created_at=epoch_now() - 5)
    assert relay.run_once() == 0
    assert read_job(engine, job_id).dispatched_at is None
    app.close()
    client.close()


def test_a_hint_that_was_lost_among_others_is_sent_again_in_the_end(engine, relay, client, valkey):
    lost = submit_job(engine)
    client.lpush(f"{valkey.key_prefix}:generate", "a hint that waits its turn")
    set_job(engine, lost, dispatched_at=epoch_now() - 60)
    assert relay.run_once() == 0, "it may wait its turn"
    set_job(engine, lost, dispatched_at=epoch_now() - 600)
    assert relay.run_once() == 1
    assert relay.run_once() == 0
