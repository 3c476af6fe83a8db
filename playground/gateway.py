"""The gateway: HELLO, IDENTIFY, RESUME with replay, heartbeats, zlib-stream; a session a shard."""

import asyncio
import json
import secrets
import zlib
from collections import deque
from typing import Any

from aiohttp import WSMsgType, web

from core.playground_token import PLAYGROUND_TOKEN
from playground import cast
from playground.world import DIRECT, Event, World

_DISPATCH, _HEARTBEAT, _IDENTIFY, _RESUME, _RECONNECT = 0, 1, 2, 6, 7
_REQUEST_MEMBERS, _INVALID_SESSION, _HELLO, _HEARTBEAT_ACK = 8, 9, 10, 11
_HEARTBEAT_MILLISECONDS = 41_250
_ROUND_TRIP_SECONDS = 0.05
_REPLAYED = 5_000
_AUTHENTICATION_FAILED, _INVALID_SHARD = 4004, 4010
_MESSAGE_CONTENT_INTENT = 1 << 15
_MESSAGE_EVENTS = {"MESSAGE_CREATE", "MESSAGE_UPDATE"}


class Session:
    """What a shard is told, numbered and kept for a while, so that a lost connection loses none."""

    def __init__(self, shard: tuple[int, int], intents: int) -> None:
        self.id = secrets.token_hex(16)
        self.shard = shard
        self.intents = intents
        self.sequence = 0
        self.sent: deque[tuple[int, str]] = deque(maxlen=_REPLAYED)
        self.outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self.is_connected = True

    def dispatch(self, name: str, data: Any) -> None:
        """Number an event, keep it, and send it if somebody listens."""
        self.sequence += 1
        payload = json.dumps({"op": _DISPATCH, "t": name, "s": self.sequence, "d": data})
        self.sent.append((self.sequence, payload))
        if self.is_connected:
            self.outbox.put_nowait(payload)


class Gateway:
    """All sessions of the bot."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._url = url
        self._sessions: dict[str, Session] = {}
        self._sockets: dict[str, web.WebSocketResponse] = {}
        world.listen(self._on_event)

    @property
    def is_bot_online(self) -> bool:
        """Whether a shard is connected."""
        return bool(self._sockets)

    @property
    def shards(self) -> list[tuple[int, int]]:
        """The shards that are connected, each with how many there are, ascending."""
        connected = (self._sessions.get(session_id) for session_id in self._sockets)
        return sorted(session.shard for session in connected if session is not None)

    @property
    def connections(self) -> int:
        """How many sessions are connected."""
        return len(self._sockets)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One connection of a shard."""
        socket = web.WebSocketResponse(max_msg_size=2**20, compress=False)
        await socket.prepare(request)
        compressor = zlib.compressobj() if request.query.get("compress") == "zlib-stream" else None
        connection = _Connection(socket, compressor)
        hello = {"op": _HELLO, "d": {"heartbeat_interval": _HEARTBEAT_MILLISECONDS}}
        await connection.send(json.dumps(hello))
        session: Session | None = None
        pump: asyncio.Task[None] | None = None
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    continue
                message = json.loads(frame.data)
                if message["op"] == _HEARTBEAT:
                    # discord.py notes when it sent a heartbeat after it has; an answer that is
                    # there sooner looks to it like a heartbeat's interval of delay.
                    await asyncio.sleep(_ROUND_TRIP_SECONDS)
                    await connection.send(json.dumps({"op": _HEARTBEAT_ACK}))
                elif message["op"] in (_IDENTIFY, _RESUME) and session is None:
                    session = await self._open(connection, message)
                    if session is not None:
                        self._sockets[session.id] = socket
                        pump = asyncio.create_task(connection.pump(session))
                        self._tell_status()
                elif message["op"] == _REQUEST_MEMBERS and session is not None:
                    self._send_members(session, message["d"])
        finally:
            # A session that was resumed meanwhile belongs to another socket by now.
            if session is not None and self._sockets.get(session.id) is socket:
                session.is_connected = False
                del self._sockets[session.id]
                self._tell_status()
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
        return socket

    async def drop_connections(self) -> None:
        """Fault: close every socket; the client resumes."""
        for socket in list(self._sockets.values()):
            await socket.close(code=4000)

    async def invalidate_sessions(self) -> None:
        """Fault: forget every session; the client identifies anew and is told nothing twice."""
        sockets = list(self._sockets.values())
        self._sessions.clear()
        for socket in sockets:
            await socket.close(code=4000)

    async def _open(self, connection: "_Connection", message: dict[str, Any]) -> Session | None:
        data = message["d"]
        if data["token"].removeprefix("Bot ") != PLAYGROUND_TOKEN:
            await connection.socket.close(code=_AUTHENTICATION_FAILED)
            return None
        if message["op"] == _RESUME:
            return await self._resume(connection, data)
        shard_id, shard_count = data.get("shard", (0, 1))
        if not 0 <= shard_id < shard_count:
            await connection.socket.close(code=_INVALID_SHARD)
            return None
        session = Session((shard_id, shard_count), data["intents"])
        self._forget_lost_sessions(session.shard)
        self._sessions[session.id] = session
        guilds = [g for g in self._world.bot_guilds() if self._is_of_shard(g["id"], session)]
        session.dispatch(
            "READY",
            {
                "v": 10,
                "user": self._world.bot,
                "guilds": [{"id": guild["id"], "unavailable": True} for guild in guilds],
                "session_id": session.id,
                "resume_gateway_url": self._url,
                "shard": [shard_id, shard_count],
                "application": {"id": cast.BOT_ID, "flags": 1 << 19},
                "session_type": "normal",
                "private_channels": [],
                "relationships": [],
            },
        )
        for guild in guilds:
            session.dispatch("GUILD_CREATE", self._world.with_channels(guild))
        return session

    def _forget_lost_sessions(self, shard: tuple[int, int]) -> None:
        """Who identifies anew will not resume what it had before."""
        for known in list(self._sessions.values()):
            if known.shard == shard and not known.is_connected:
                del self._sessions[known.id]

    async def _resume(self, connection: "_Connection", data: dict[str, Any]) -> Session | None:
        session = self._sessions.get(data["session_id"])
        if session is None:
            await connection.send(json.dumps({"op": _INVALID_SESSION, "d": False}))
            return None
        session.outbox = asyncio.Queue()
        for sequence, payload in session.sent:
            if sequence > data["seq"]:
                session.outbox.put_nowait(payload)
        session.is_connected = True
        session.dispatch("RESUMED", {})
        return session

    def _on_event(self, event: Event) -> None:
        if event.only_user_id is not None and event.name != "INTERACTION_CREATE":
            return
        if event.name.startswith("PAGE_"):
            return
        guild_id = event.guild_id
        is_ours = guild_id is None or self._world.is_member(guild_id, cast.BOT_ID)
        if not is_ours and event.name != "GUILD_DELETE":
            return
        for session in self._sessions.values():
            if event.guild_id is None and session.shard[0] != 0:
                continue
            if event.guild_id is not None and not self._is_of_shard(event.guild_id, session):
                continue
            session.dispatch(event.name, self._as_seen(session, event))

    def _as_seen(self, session: Session, event: Event) -> dict[str, Any]:
        """A message without its content where the bot lacks the intent and is not meant."""
        data = event.data
        if event.name not in _MESSAGE_EVENTS or session.intents & _MESSAGE_CONTENT_INTENT:
            return data
        channel = self._world.channels[data["channel_id"]]
        is_meant = any(user["id"] == cast.BOT_ID for user in data["mentions"])
        is_own = data["author"]["id"] == cast.BOT_ID
        if channel["type"] == DIRECT or is_meant or is_own:
            return data
        return {**data, "content": "", "embeds": [], "attachments": [], "components": []}

    def _send_members(self, session: Session, data: dict[str, Any]) -> None:
        guild = self._world.guilds.get(str(data["guild_id"]))
        if guild is None:
            return
        session.dispatch(
            "GUILD_MEMBERS_CHUNK",
            {
                "guild_id": guild["id"],
                "members": guild["members"],
                "chunk_index": 0,
                "chunk_count": 1,
                "nonce": data.get("nonce"),
            },
        )

    def _is_of_shard(self, guild_id: str, session: Session) -> bool:
        shard_id, shard_count = session.shard
        return (int(guild_id) >> 22) % shard_count == shard_id

    def _tell_status(self) -> None:
        self._world.emit(Event("PAGE_BOT_STATUS", {"online": self.is_bot_online}))


class _Connection:
    """A socket and its compression, which goes on over all frames."""

    def __init__(self, socket: web.WebSocketResponse, compressor: Any) -> None:
        self.socket = socket
        self._compressor = compressor

    async def send(self, payload: str) -> None:
        if self._compressor is None:
            await self.socket.send_str(payload)
            return
        data = self._compressor.compress(payload.encode())
        await self.socket.send_bytes(data + self._compressor.flush(zlib.Z_SYNC_FLUSH))

    async def pump(self, session: Session) -> None:
        while (payload := await session.outbox.get()) is not None:
            await self.send(payload)
