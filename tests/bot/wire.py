"""The real bot against the playground, with the test as its worker."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.app import build_bot
from bot.endpoint import choose_endpoint
from core.catalog.registry import StoredVersion, register_version
from core.conversations.answers import load_question, write_answer
from core.db.engines import make_engine
from core.db.tables import Job
from core.jobs.ledger import claim, fail
from core.settings import Settings, load_settings
from core.transport.stream_writer import StreamWriter
from core.transport.streams import StreamEntry
from playground import cast
from playground.server import PlaygroundServer

# Long, so that only what never comes fails, also where other tests keep the machine busy.
WAIT_SECONDS = 60.0


class Wire:
    """A playground, and a bot that can be started and stopped on the same data."""

    def __init__(self, server: PlaygroundServer, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self.world = server.world
        self.engine = make_engine(settings.database_url)
        self.client = redis.Redis.from_url(settings.redis.url)
        self.streams = StreamWriter(self.client, settings.redis.key_prefix, 1000)
        self.streams.start()

    @asynccontextmanager
    async def bot(self):
        """The bot, from its log-in to its end."""
        token = choose_endpoint(self.settings)
        bot = build_bot(self.settings)
        # discord.py waits so long for one more guild; here all come at once.
        bot._connection.guild_ready_timeout = 0.1
        running = asyncio.create_task(bot.start(token))
        try:
            await eventually(lambda: bot.is_ready() or running.done())
            yield bot
        finally:
            await bot.close()
            await asyncio.gather(running, return_exceptions=True)

    def close(self) -> None:
        self.streams.close()
        self.client.close()
        self.engine.dispose()

    def publish_model(self) -> None:
        stored = StoredVersion("models/parrot/1", "0" * 64, 1, {})
        with Session(self.engine) as session, session.begin():
            register_version(
                session,
                model=self.settings.generation.model,
                guild_id=None,
                source="test",
                stored=stored,
            )

    async def queued(self, count: int = 1) -> list[str]:
        """The ids of queued jobs, once there are so many."""

        def find() -> list[str]:
            with Session(self.engine) as session:
                query = select(Job.id).where(Job.state == "queued").order_by(Job.id)
                return list(session.scalars(query))

        await eventually(lambda: len(find()) >= count)
        return find()

    def answer(self, job_id: str, *pieces: str) -> list[str]:
        """Do a job as a worker would; returns the texts of the history it was given."""
        with Session(self.engine) as session, session.begin():
            taken = claim(session, job_id, "test", 30)
            default = self.settings.generation.model
            question = load_question(session, taken, max_messages=50, default_model=default)
        text = ""
        for piece in pieces:
            entry = StreamEntry(job_id, taken.token, len(text), piece)
            self.streams.write(question.stream, entry)
            text += piece
        with Session(self.engine) as session, session.begin():
            write_answer(session, taken, text, bot_name="Perroquet", facts={})
        self.streams.write(question.stream, StreamEntry(job_id, taken.token, 0, "", is_end=True))
        return [utterance.text for utterance in question.utterances]

    def refuse(self, job_id: str, error) -> None:
        """Fail a job as a worker would."""
        with Session(self.engine) as session, session.begin():
            taken = claim(session, job_id, "test", 30)
            fail(session, taken, error)
        self.streams.write("bot-0", StreamEntry(job_id, taken.token, 0, "", is_end=True))

    def said_by_bot(self, channel: str = cast.GENERAL) -> list[str]:
        """What the bot's messages in a channel say now."""
        return [
            message["content"]
            for message in self.world.messages.get(channel, {}).values()
            if message["author"]["id"] == cast.BOT_ID
        ]


async def eventually(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def open_wire(database_url: str, valkey, tmp_path, **variables: str):
    """A playground with rate limits, and settings that lead to it."""
    base = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url,
        "PERROQUET_REDIS__KEY_PREFIX": valkey.key_prefix,
        "PERROQUET_DATA_DIR": str(tmp_path),
        "PERROQUET_PLAYGROUND__PORT": "0",
        "PERROQUET_CHAT__EDIT_INTERVAL_SECONDS": "0.05",
        "PERROQUET_CHAT__SWEEP_INTERVAL_SECONDS": "0.2",
        **variables,
    }
    server = PlaygroundServer(load_settings(base, tmp_path / "none"), rate_limits=False)
    await server.start()
    base["PERROQUET_DISCORD__API_BASE"] = server.rest_base
    base["PERROQUET_DISCORD__GATEWAY_URL"] = server.gateway_url
    wire = Wire(server, load_settings(base, tmp_path / "none"))
    try:
        yield wire
    finally:
        wire.close()
        await server.stop()
