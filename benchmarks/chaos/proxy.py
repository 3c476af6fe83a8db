"""A wire that can break: stands between the processes and a server, byte for byte."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_CHUNK_BYTES = 65_536

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class _Link:
    """One connection: both its ends, and whether it still carries anything."""

    ends: tuple[Ends, Ends]
    is_silent: bool = False
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    def abort(self) -> None:
        for _, writer in self.ends:
            writer.transport.abort()


class Wire:
    """Listens on loopback and passes on to a server, until told otherwise.

    Args:
        connect: opens a connection to the server.
    """

    def __init__(self, connect: Callable[[], Awaitable[Ends]]) -> None:
        self._connect = connect
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """Cut every connection; new ones are fine."""
        for link in list(self._links):
            link.abort()

    async def freeze(self, seconds: float) -> None:
        """Carry nothing for a while, neither on old connections nor on new ones; lose no byte."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    def swallow(self) -> None:
        """Have every connection fall silent for ever, as behind a router that forgot it."""
        for link in self._links:
            link.is_silent = True

    async def close(self) -> None:
        """Listen no more and cut what is left."""
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.drop()
        pumps = [pump for link in self._links for pump in link.pumps]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(((reader, writer), (server_reader, server_writer)))
        self._links.add(link)
        link.pumps = [
            asyncio.create_task(self._pump(link, reader, server_writer)),
            asyncio.create_task(self._pump(link, server_reader, writer)),
        ]
        # By callbacks, for this task belongs to the server, which speaks of its end as of a defect.
        for pump in link.pumps:
            pump.add_done_callback(lambda _: self._forget(link))

    def _forget(self, link: _Link) -> None:
        """One end is closed, so the other is, too."""
        link.abort()
        for pump in link.pumps:
            pump.cancel()
        self._links.discard(link)

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK_BYTES):
                await self._flowing.wait()
                if not link.is_silent:
                    target.write(chunk)
                    await target.drain()
