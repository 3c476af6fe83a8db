"""What our transport changes of Kombu's, against a real Valkey."""

import pytest
from kombu import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from core.transport import kombu_redis


@pytest.fixture
def queue(valkey):
    kombu_redis.install()
    options = {"global_keyprefix": valkey.key_prefix}
    with (
        Connection(valkey.url, transport_options=options) as connection,
        connection.SimpleQueue("hints") as queue,
    ):
        queue.consumer.qos(prefetch_count=1)
        yield queue


def test_an_acknowledgement_that_fails_takes_no_place(queue, monkeypatch):
    for number in range(2):
        queue.put(number)
    message = queue.get(timeout=5)
    qos = queue.channel.qos
    assert not qos.can_consume(), "one message is all that it may hold"

    class Unreachable:
        def execute(self):
            raise RedisConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(qos, "_remove_from_indices", lambda _tag: Unreachable())
        with pytest.raises(RedisConnectionError):
            message.ack()
    assert qos.can_consume()
    assert queue.get(timeout=5).payload == 1
