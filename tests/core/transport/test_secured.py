"""All that is used of Redis, behind TLS, and under the access list of docs/operators.md."""

import asyncio
import re
from functools import partial
from pathlib import Path

import pytest
import redis
from kombu import Consumer, Queue

from bot.identifying import IdentifyTurns
from cli.doctor.broker import check_redis
from cli.doctor.findings import Verdict
from core.ids import new_id
from core.jobs.outbox import Hint
from core.jobs.states import JobKind
from core.settings import load_settings
from core.transport.courier import make_celery, make_publishing_celery, send_hint
from core.transport.names import broker_key
from core.transport.stream_reader import StreamReader, make_reading_client
from core.transport.stream_writer import StreamWriter, make_writing_client
from core.transport.streams import StreamEntry
from tests.core.tls import before

ROOT = Path(__file__).parents[3]


async def use_everything(url: str, prefix: str) -> None:
    """What bot, workers and upkeep do with Redis: hints, streams, turns, a look at a queue."""
    variables = {"REDIS_URL": url, "PERROQUET_REDIS__KEY_PREFIX": prefix}
    settings = load_settings(variables, Path("none"))
    await asyncio.to_thread(carry_a_hint, settings)
    reading, writing = make_reading_client(url), make_writing_client(url)
    writer = StreamWriter(writing, prefix, 100)
    writer.start()
    entries = StreamReader(reading, prefix, ("bot-0",)).entries()
    heard = asyncio.ensure_future(anext(entries))
    while not heard.done():
        writer.write("bot-0", StreamEntry("job", 1, 0, "Seeds"))
        await asyncio.sleep(0.05)
    assert heard.result().text == "Seeds"
    async with asyncio.timeout(5):
        await IdentifyTurns(reading, prefix, period_seconds=60).take(0, 1)
    writer.close()
    await reading.aclose()
    writing.close()


def carry_a_hint(settings) -> None:
    publishing, consuming = make_publishing_celery(settings), make_celery(settings)
    job_id, received = new_id(), []

    def receive(body, message):
        received.append(body[1]["job_id"])
        message.ack()

    send_hint(publishing, Hint(job_id, JobKind.GENERATE, 0))
    with consuming.connection_for_read() as connection, connection.channel() as channel:
        queue = Queue(str(JobKind.GENERATE), channel=channel)
        with Consumer(channel, [queue], callbacks=[receive], accept=["json"]):
            connection.drain_events(timeout=10)
    assert received == [job_id]
    with make_writing_client(settings.redis.url) as client:
        assert client.llen(broker_key(settings.redis.key_prefix, str(JobKind.GENERATE))) == 0
    publishing.close()
    consuming.close()


@pytest.fixture
def limited_url(valkey_server, valkey):
    """The URL of a user with the rights that the page for operators tells to give."""
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^    user perroquet (.*)$", page, re.MULTILINE)
    rules = line.replace("<password>", "hushhush").replace("~perroquet:", f"~{valkey.key_prefix}:")
    with redis.Redis.from_url(valkey.url) as operator:
        operator.execute_command("ACL", "SETUSER", "limited", *rules.split())
        host = valkey_server.connection_url.partition("://")[2].rpartition("@")[2]
        yield f"redis://limited:hushhush@{host}"
        operator.acl_deluser("limited")


async def test_the_access_list_of_the_page_is_enough(limited_url, valkey):
    await use_everything(limited_url, valkey.key_prefix)
    found = await asyncio.to_thread(check_redis, limited_url)
    assert found[0].verdict is Verdict.OK


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "CONFIG GET requirepass", "KEYS *", "GET other:key", "SET other:key 1",
     "ACL LIST", "SHUTDOWN", "MONITOR", "REPLICAOF 127.0.0.1 1", "MODULE LIST"],
)  # fmt: skip
def test_the_access_list_of_the_page_allows_nothing_else(limited_url, command):
    with (
        redis.Redis.from_url(limited_url) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command.split())


@pytest.fixture
async def tls_address(valkey, certificate):
    """Valkey behind TLS; the embedded one is built without it, so a proxy of ours speaks it."""
    access, at, place = valkey.url.partition("://")[2].rpartition("@")
    host, port = place.partition("/")[0].split(":")
    async with before(partial(asyncio.open_connection, host, int(port)), certificate) as port:
        yield f"rediss://{access}{at}127.0.0.1:{port}/0"


async def test_everything_goes_through_tls_with_a_certificate_that_is_trusted(
    tls_address, certificate, valkey
):
    url = f"{tls_address}?ssl_cert_reqs=required&ssl_ca_certs={certificate.file}"
    await use_everything(url, valkey.key_prefix)
    found = await asyncio.to_thread(check_redis, url)
    assert found[0].verdict is Verdict.OK


async def test_a_certificate_that_nobody_trusts_is_refused(tls_address):
    (found,) = await asyncio.to_thread(check_redis, tls_address)
    assert (found.verdict, "cannot be reached" in found.said) == (Verdict.FAILED, True)
