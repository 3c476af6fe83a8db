"""One end of a conversation: asks through the ledger, and reads the stream and SQL."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import redis.asyncio
from redis.exceptions import RedisError
from sqlalchemy import select

from cli.chat.running import Running
from core.conversations.forgetting import forget_channel
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.db.desk import Desk
from core.db.tables import Job
from core.errors import PerroquetError, ServiceUnavailableError
from core.jobs.ledger import request_cancel
from core.jobs.outbox import Hint
from core.jobs.standing import Standing, find_standing
from core.jobs.states import JobKind, JobState
from core.settings import Settings
from core.transport.courier import make_publishing_celery
from core.transport.names import stream_key
from core.transport.publisher import Publisher
from core.transport.stream_reader import StreamReader, make_reading_client
from core.transport.streams import StreamedText, StreamEntry

# Discord's ids are above 2**22; the terminal has places of its own below.
CONVERSATION_CHANNEL = 1
ONCE_CHANNEL = 2
_TERMINAL_USER = 1
_POLL_SECONDS = 0.5


class AnswerFailedError(PerroquetError):
    """The job ended without an answer; the message is the worker's."""

    code = "answer-failed"


class Terminal:
    """Asks in a channel of its own, one question at a time."""

    def __init__(
        self, running: Running, desk: Desk, publisher: Publisher, name: str, channel_id: int
    ) -> None:
        self._running = running
        self._desk = desk
        self._publisher = publisher
        self._name = name
        self._channel_id = channel_id
        self._entries: asyncio.Queue[StreamEntry] = asyncio.Queue()

    async def pump(self, reader: StreamReader) -> None:
        """Take in what the stream brings, until cancelled."""
        async for entry in reader.entries():
            self._entries.put_nowait(entry)

    async def forget(self) -> None:
        """Begin a new conversation and delete the one before."""
        await self._desk.write(lambda session: forget_channel(session, self._channel_id))

    async def ask(
        self, text: str, show: Callable[[str], None], note_delay: Callable[[Standing | None], None]
    ) -> str:
        """Ask, and return the whole answer. Cancelled, it cancels the job too.

        Args:
            text: the question.
            show: called with the text so far whenever there is more of it.
            note_delay: called once where no word of the answer comes for a while, with where its
                job stands then.

        Raises:
            AnswerFailedError: the job ended without an answer.
            ServiceUnavailableError: what this command had started to answer has ended.
        """
        job_id = await self._submit(text)
        try:
            return await self._follow(job_id, show, note_delay)
        except asyncio.CancelledError:
            await self._desk.write(lambda session: request_cancel(session, job_id))
            raise

    async def _submit(self, text: str) -> str:
        incoming = IncomingMessage(Place(self._channel_id), None, _TERMINAL_USER, "You", text)
        options = ReplyOptions(self._running.settings.generation.model, self._name, {})
        job_id = await self._desk.write(lambda session: receive(session, incoming, options))
        assert job_id is not None  # noqa: S101 - only Discord's messages can be known already
        self._publisher.publish(Hint(job_id, JobKind.GENERATE, 0))
        return job_id

    async def _follow(
        self,
        job_id: str,
        show: Callable[[str], None],
        note_delay: Callable[[Standing | None], None],
    ) -> str:
        streamed = StreamedText()
        delayed_at = time.monotonic() + self._running.settings.chat.delayed_after_seconds
        while True:
            entry = await self._next_entry()
            if entry is not None and entry.job_id != job_id:
                continue
            if entry is not None and streamed.add(entry):
                show(streamed.text)
            if entry is None or entry.is_end:
                answer = await self._read_answer(job_id)
                if answer is not None:
                    return answer
                self._check_alive()
            if not streamed.text and time.monotonic() > delayed_at:
                note_delay(await self._desk.read(lambda session: find_standing(session, job_id)))
                delayed_at = float("inf")

    async def _next_entry(self) -> StreamEntry | None:
        """The next piece, or None where none comes for a while."""
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                return await self._entries.get()
        except TimeoutError:
            return None

    def _check_alive(self) -> None:
        failure = self._running.find_failure()
        if failure is not None:
            raise ServiceUnavailableError(failure, service="generate")

    async def _read_answer(self, job_id: str) -> str | None:
        """The answer from SQL, or None while there is none yet."""
        row = await self._desk.read(
            lambda session: session.execute(
                select(Job.state, Job.result, Job.error).where(Job.id == job_id)
            ).one()
        )
        if row.state == JobState.SUCCEEDED:
            return str(row.result["text"])
        if JobState(row.state).is_final:
            raise AnswerFailedError(row.error or "The answer was cancelled.")
        return None


@asynccontextmanager
async def open_terminal(running: Running, channel_id: int) -> AsyncIterator[Terminal]:
    """A terminal on a channel, with its threads and connections, for as long as it lasts."""
    settings = running.settings
    name = f"cli-{os.getpid()}"
    desk = Desk(running.engine)
    publisher = Publisher(make_publishing_celery(settings), desk)
    client = make_reading_client(settings.redis.url)
    terminal = Terminal(running, desk, publisher, name, channel_id)
    desk.start()
    publisher.start()
    reader = StreamReader(client, settings.redis.key_prefix, (name,))
    pumping = asyncio.create_task(terminal.pump(reader))
    try:
        yield terminal
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        publisher.close()
        desk.close()
        await _delete_stream(client, settings, name)
        await client.aclose()


async def _delete_stream(client: redis.asyncio.Redis, settings: Settings, name: str) -> None:
    """The next terminal has another name, so nobody would ever read or trim this one."""
    with contextlib.suppress(RedisError, OSError):
        await client.delete(stream_key(settings.redis.key_prefix, name))
