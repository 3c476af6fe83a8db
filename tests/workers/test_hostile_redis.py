"""Who can write to Redis, and to nothing else, tries to run code and to get at others' words.

The consumer is the real one, in a process of its own; it prints each id that it is given to run.
"""

import base64
import json
import os
import pickle
import subprocess
import sys
import time
import uuid

import pytest
import redis

from core.ids import new_id
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport.courier import make_publishing_celery, send_hint
from core.transport.names import TASK_NAME, broker_key

CONSUMER = """
import os
from core.logging import configure_logging
from core.settings import LogSettings
from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport.courier import make_celery
from workers.celery_worker import consume

configure_logging(LogSettings(), process="generate")
consume(
    make_celery(load_settings(os.environ)),
    JobKind.GENERATE,
    threads=2,
    acks_late=True,
    run=lambda job_id: print(job_id, flush=True),
    begin_drain=lambda: None,
)
"""


class Consumer:
    """The worker's side of Redis."""

    def __init__(self, environment, folder) -> None:
        self.out, self.log = folder / "ran.txt", folder / "consumer.log"
        with self.out.open("w") as out, self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CONSUMER],
                env={**os.environ, **environment},
                stdout=out,
                stderr=log,
            )

    def ran(self) -> list[str]:
        return self.out.read_text().split()

    def wait_for(self, job_id: str) -> None:
        deadline = time.monotonic() + 60
        while job_id not in self.ran():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


class Burglar:
    """Writes what it likes into the queue."""

    def __init__(self, settings) -> None:
        self.client = redis.Redis.from_url(settings.redis.url)
        self.key = broker_key(settings.redis.key_prefix, str(JobKind.GENERATE))

    def put(self, body: bytes, *, content_type="application/json", **headers) -> None:
        """A message as kombu lays it into the list, with a body and headers of one's own."""
        tag, task_id = str(uuid.uuid4()), str(uuid.uuid4())
        message = {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "binary" if "python" in content_type else "utf-8",
            "content-type": content_type,
            "headers": {
                "lang": "py",
                "task": TASK_NAME,
                "id": task_id,
                "root_id": task_id,
                "parent_id": None,
                "argsrepr": "()",
                "kwargsrepr": "{}",
                "origin": "burglar",
                **headers,
            },
            "properties": {
                "correlation_id": task_id,
                "reply_to": "burglar",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": str(JobKind.GENERATE)},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": tag,
            },
        }
        self.client.lpush(self.key, json.dumps(message))

    def call(self, kwargs, args=(), embed=None, **headers) -> None:
        """A message in Celery's form."""
        embed = embed or {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        self.put(json.dumps([list(args), kwargs, embed]).encode(), **headers)


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, file) -> None:
        self.file = str(file)

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.fixture
def house(valkey, tmp_path):
    environment = {
        "REDIS_URL": valkey.url,
        "PERROQUET_REDIS__KEY_PREFIX": valkey.key_prefix,
        "PERROQUET_DATA_DIR": str(tmp_path / "data"),
    }
    settings = load_settings(environment, tmp_path / "none")
    consumer = Consumer(environment, tmp_path)
    yield settings, consumer
    consumer.process.terminate()
    assert consumer.process.wait(30) == 0, consumer.log.read_text()


def test_writing_to_redis_runs_no_code_and_names_no_place_to_answer_to(house, tmp_path):
    settings, consumer = house
    app, burglar = make_publishing_celery(settings), Burglar(settings)
    first, last = new_id(), new_id()
    send_hint(app, Hint(first, JobKind.GENERATE, 0))
    consumer.wait_for(first)

    exploded = tmp_path / "exploded"
    bomb = pickle.dumps([(), {"job_id": Bomb(exploded)}, {}])
    burglar.put(bomb, content_type="application/x-python-serialize")
    burglar.put(b"!!python/object/apply:os.system ['true']", content_type="application/x-yaml")
    burglar.put(b"\xff\xfe no JSON")
    for nothing in (b"no message at all", b"{}", b"[]", b"7", b'{"properties": {}}'):
        burglar.client.lpush(burglar.key, nothing)
    burglar.call({"job_id": new_id()}, task="os.system")
    burglar.call({"job_id": new_id()}, task="celery.backend_cleanup")
    # The one task there is, with what it does not take.
    stolen = new_id()
    burglar.call({"job_id": stolen, "stream": "burglar"})
    burglar.call({"job_id": stolen}, args=["burglar"])
    for wrong in ({"a": 1}, [stolen], 7, None, f"{stolen}' OR '1'='1", f"../{stolen}", "*", ""):
        burglar.call({"job_id": wrong})
    app.control.broadcast("shutdown")

    send_hint(app, Hint(last, JobKind.GENERATE, 0))
    consumer.wait_for(last)
    app.close()
    burglar.client.close()
    time.sleep(0.5)
    assert not exploded.exists()
    assert consumer.ran() == [first, last], consumer.log.read_text()
    assert consumer.process.poll() is None
