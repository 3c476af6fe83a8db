import asyncio
import contextlib
import time

import pytest
import redis

from core.embedded import free_port
from core.transport import stream_writer
from core.transport.names import stream_key
from core.transport.stream_reader import StreamReader, make_reading_client
from core.transport.stream_writer import StreamWriter, make_writing_client
from core.transport.streams import MalformedEntryError, StreamedText, StreamEntry
from tests.bot.wire import eventually


def piece(text, offset, token=1):
    return StreamEntry("job", token, offset, text)


@pytest.fixture
def client(valkey):
    client = redis.Redis.from_url(valkey.url)
    yield client
    client.close()


@pytest.fixture
def writer(client, valkey):
    writer = StreamWriter(client, valkey.key_prefix, 1000)
    writer.start()
    yield writer
    writer.close()


@contextlib.asynccontextmanager
async def reading(valkey, *names):
    """What a reader hears, as a queue, from now on."""
    heard: asyncio.Queue[StreamEntry] = asyncio.Queue()
    client = make_reading_client(valkey.url)
    reader = StreamReader(client, valkey.key_prefix, names)

    async def pump():
        async for entry in reader.entries():
            heard.put_nowait(entry)

    task = asyncio.create_task(pump())
    await eventually(lambda: bool(reader._positions))
    yield heard, reader
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()


async def test_what_is_written_is_read_in_order(writer, valkey):
    async with reading(valkey, "bot-0") as (heard, _):
        entries = [piece(str(n), n) for n in range(50)]
        for entry in entries:
            writer.write("bot-0", entry)
        assert [await asyncio.wait_for(heard.get(), 5) for _ in entries] == entries


async def test_a_process_hears_the_streams_of_all_its_shards_and_no_other(writer, valkey):
    async with reading(valkey, "shard-0-of-3", "shard-1-of-3") as (heard, _):
        for number in (0, 2, 1, 0):
            writer.write(f"shard-{number}-of-3", piece(str(number), 0))
        texts = [(await asyncio.wait_for(heard.get(), 5)).text for _ in range(3)]
        assert sorted(texts) == ["0", "0", "1"]
        assert heard.empty()


async def test_an_entry_that_is_none_is_passed_over(writer, client, valkey):
    async with reading(valkey, "bot-0") as (heard, _):
        client.xadd(stream_key(valkey.key_prefix, "bot-0"), {"job": "x"})
        writer.write("bot-0", piece("a", 0))
        assert (await asyncio.wait_for(heard.get(), 5)).text == "a"


async def test_a_reader_that_is_cut_off_goes_on_with_what_is_new(writer, client, valkey):
    async with reading(valkey, "bot-0") as (heard, reader):
        for connection in client.client_list():
            if connection["cmd"] == "xread":
                client.client_kill_filter(_id=connection["id"])
        await eventually(lambda: not reader.is_reachable)
        while not reader.is_reachable:
            writer.write("bot-0", piece("a", 0))
            await asyncio.sleep(0.1)
        assert (await asyncio.wait_for(heard.get(), 5)).text == "a"


def test_a_writer_without_redis_drops_and_goes_on(valkey):
    away = make_writing_client(f"redis://127.0.0.1:{free_port()}/0")
    writer = StreamWriter(away, valkey.key_prefix, 10)
    writer.start()
    writer.write("bot-0", piece("a", 0))
    writer.close()
    assert not writer._thread.is_alive()
    assert not writer._is_reachable


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"job": b"j", b"token": b"one", b"offset": b"0", b"text": b"", b"end": b"0"},
        {b"job": b"j", b"token": b"1", b"offset": b"0", b"text": b"\xff", b"end": b"0"},
    ],
)
def test_fields_out_of_form_are_refused(fields):
    with pytest.raises(MalformedEntryError):
        StreamEntry.from_fields(fields)


def test_pieces_come_together_and_never_go_back():
    text = StreamedText()
    assert text.add(piece("Hel", 0))
    assert not text.add(piece("Hel", 0)), "a repetition"
    assert not text.add(piece("!", 9)), "a gap"
    assert text.add(piece("lo", 3))
    assert text.text == "Hello"
    assert text.add(piece("Bye", 0, token=2)), "another attempt begins anew"
    assert not text.add(piece("lo", 3, token=1)), "the older attempt is over"
    assert text.text == "Bye"


def test_words_that_were_shown_leave_redis(client, valkey, monkeypatch):
    monkeypatch.setattr(stream_writer, "KEPT_SECONDS", 1)
    writer = StreamWriter(client, valkey.key_prefix, 1000)
    key = stream_key(valkey.key_prefix, "bot-0")
    writer._append([("bot-0", piece("old", 0))])
    assert client.ttl(key) == 1
    time.sleep(0.6)
    writer._append([("bot-0", piece("newer", 0))])
    time.sleep(0.6)
    writer._append([("bot-0", piece("newest", 0))])
    writer._append([("bot-0", piece("and last", 0))])
    assert [f[b"text"] for _, f in client.xrange(key)] == [b"newer", b"newest", b"and last"]
    time.sleep(1.1)
    assert not client.exists(key)


async def test_a_peer_that_falls_silent_is_given_up(valkey):
    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    client = make_reading_client(f"redis://127.0.0.1:{port}/0")
    reader = StreamReader(client, valkey.key_prefix, ("bot-0",), read_seconds=0.1)
    task = asyncio.create_task(anext(aiter(reader.entries())))
    await eventually(lambda: not reader.is_reachable)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
    silent.close()
