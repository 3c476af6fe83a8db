"""The wire between processes and servers breaks as it is told to, and else loses nothing."""

import asyncio
import contextlib

import pytest

from benchmarks.chaos.proxy import Wire


@pytest.fixture
async def wire():
    """A wire to a server that says everything again."""

    async def echo(reader, writer):
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(lambda: asyncio.open_connection("127.0.0.1", port))
    await wire.start()
    yield wire
    for writer in _opened:
        writer.transport.abort()
    _opened.clear()
    await wire.close()
    server.close()
    await asyncio.sleep(0.05)


_opened: list[asyncio.StreamWriter] = []


async def connect(wire):
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    _opened.append(writer)
    return reader, writer


async def say(ends, text):
    reader, writer = ends
    writer.write(text)
    return await asyncio.wait_for(reader.read(1000), 2)


async def test_it_passes_on_both_ways(wire):
    ends = await connect(wire)
    assert await say(ends, b"coco") == b"coco"


async def test_what_is_dropped_is_cut_and_new_connections_are_fine(wire):
    ends = await connect(wire)
    await say(ends, b"coco")
    wire.drop()
    reader, _ = ends
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1000), 2) == b""
    assert await say(await connect(wire), b"jaco") == b"jaco"


async def test_frozen_it_carries_nothing_and_thawed_everything(wire):
    reader, writer = await connect(wire)
    await say((reader, writer), b"coco")
    freezing = asyncio.create_task(wire.freeze(0.3))
    await asyncio.sleep(0.05)
    writer.write(b"jaco")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1000), 0.1)
    await freezing
    assert await asyncio.wait_for(reader.read(1000), 2) == b"jaco"


async def test_a_swallowed_connection_stays_silent_and_a_new_one_speaks(wire):
    reader, writer = await connect(wire)
    await say((reader, writer), b"coco")
    wire.swallow()
    writer.write(b"jaco")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1000), 0.2)
    assert await say(await connect(wire), b"jaco") == b"jaco"
