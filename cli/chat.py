"""``perroquet chat``: a conversation in the terminal, through the same jobs and workers."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import select

from cli.models import ensure_default_model
from cli.up.lock import data_lock, is_locked
from cli.up.plan import make_plan
from cli.up.supervisor import Supervisor
from cli.wiring import open_database, read_settings
from core.conversations.forgetting import forget_channel
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.db.desk import Desk
from core.db.tables import Job
from core.errors import PerroquetError
from core.jobs.ledger import request_cancel
from core.jobs.outbox import Hint
from core.jobs.states import JobKind, JobState
from core.settings import RedisSettings, Settings
from core.transport.courier import make_publishing_celery
from core.transport.publisher import Publisher
from core.transport.stream_reader import StreamReader, make_reading_client
from core.transport.streams import StreamedText

# Discord's ids are above 2**22; the terminal has a place of its own below.
_TERMINAL_CHANNEL = 1
_TERMINAL_USER = 1
_POLL_SECONDS = 0.5


class AnswerFailedError(PerroquetError):
    """The job ended without an answer; the message is the worker's."""

    code = "answer-failed"


def chat(
    once: Annotated[
        str | None, typer.Option("--once", metavar="TEXT", help="Print one answer and end.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Forget the conversation so far.")] = False,
) -> None:
    """Talk with the model in the terminal; starts and stops what it needs."""
    settings = read_settings()
    console = Console(stderr=True, quiet=once is not None)
    with _running(settings, console) as connected:
        asyncio.run(_converse(connected, once, console, is_new=new or once is not None))


async def _converse(
    settings: Settings, once: str | None, console: Console, *, is_new: bool
) -> None:
    async with _terminal(settings) as terminal:
        if is_new:
            await terminal.forget()
        if once is not None:
            sys.stdout.write(await terminal.ask(once, show=False) + "\n")
            return
        console.print("[dim]Say something; an empty line or Ctrl-D ends.[/dim]")
        while text := (await asyncio.to_thread(_read_line)).strip():
            try:
                await terminal.ask(text, show=True)
            except AnswerFailedError as exc:
                console.print(f"[red]{exc}[/red]")


def _read_line() -> str:
    try:
        return input("you › ")
    except EOFError:
        return ""


class _Terminal:
    """Asks through the ledger as a channel of its own, and shows the stream."""

    def __init__(
        self, settings: Settings, desk: Desk, publisher: Publisher, reader: StreamReader, name: str
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._publisher = publisher
        self._entries = reader.entries()
        self._name = name

    async def forget(self) -> None:
        await self._desk.write(lambda session: forget_channel(session, _TERMINAL_CHANNEL))

    async def ask(self, text: str, *, show: bool) -> str:
        """Ask, and return the whole answer; with ``show`` it is written as it comes."""
        incoming = IncomingMessage(Place(_TERMINAL_CHANNEL), None, _TERMINAL_USER, "You", text)
        options = ReplyOptions(self._settings.generation.model, self._name, {})
        job_id = await self._desk.write(lambda session: receive(session, incoming, options))
        assert job_id is not None  # noqa: S101 - only Discord's messages can be known already
        self._publisher.publish(Hint(job_id, JobKind.GENERATE, 0))
        try:
            return await self._follow(job_id, show=show)
        except asyncio.CancelledError:
            await self._desk.write(lambda session: request_cancel(session, job_id))
            raise

    async def _follow(self, job_id: str, *, show: bool) -> str:
        streamed, shown = StreamedText(), 0
        following = asyncio.ensure_future(anext(self._entries))
        while True:
            done, _ = await asyncio.wait({following}, timeout=_POLL_SECONDS)
            if done:
                entry = following.result()
                following = asyncio.ensure_future(anext(self._entries))
                if entry.job_id == job_id and streamed.add(entry) and show:
                    sys.stdout.write(streamed.text[shown:])
                    sys.stdout.flush()
                    shown = len(streamed.text)
                if not (entry.job_id == job_id and entry.is_end):
                    continue
            answer = await self._read_answer(job_id)
            if answer is not None:
                following.cancel()
                if show:
                    sys.stdout.write(answer[shown:] + "\n")
                return answer

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
async def _terminal(settings: Settings) -> AsyncIterator[_Terminal]:
    with open_database(settings) as engine:
        desk = Desk(engine)
        publisher = Publisher(make_publishing_celery(settings), engine)
        client = make_reading_client(settings.redis.url)
        name = f"cli-{os.getpid()}"
        desk.start()
        publisher.start()
        try:
            reader = StreamReader(client, settings.redis.key_prefix, name)
            yield _Terminal(settings, desk, publisher, reader, name)
        finally:
            publisher.close()
            desk.close()
            await client.aclose()


@contextmanager
def _running(settings: Settings, console: Console) -> Iterator[Settings]:
    """Settings that name a Redis with a generation worker behind it."""
    if settings.redis.url or is_locked(settings.data_dir):
        yield _with_redis(settings, settings.redis.url or _address_of_up(settings))
        return
    with data_lock(settings.data_dir), open_database(settings) as engine:
        ensure_default_model(settings, console.print)
        plan = make_plan(settings, ("generate",))
        supervisor = Supervisor(settings, plan, engine, lambda _line: None)
        try:
            with console.status("Waking the parrot …"):
                supervisor.start()
            yield _with_redis(settings, plan.redis_url)
        finally:
            supervisor.stop()


def _address_of_up(settings: Settings) -> str:
    try:
        text = (settings.data_dir / "addresses.json").read_text(encoding="utf-8")
        return str(json.loads(text)["redis_url"])
    except (OSError, ValueError, KeyError) as exc:
        raise PerroquetError(
            "Perroquet is just starting on this data folder; try again in a moment."
        ) from exc


def _with_redis(settings: Settings, url: str) -> Settings:
    redis = RedisSettings(**{**settings.redis.model_dump(), "url": url})
    return settings.model_copy(update={"redis": redis})
