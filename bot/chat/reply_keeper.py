"""All answers on their way: feeds each from the stream, and sweeps up what the stream missed."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from bot.chat.live_reply import LiveReply, ReplyTools
from bot.chat.poster import DiscordUnavailableError
from core.conversations.places import Place
from core.conversations.replies import OwedReply, finished_replies, owed_among, owed_replies
from core.monitoring.tracing import carried, resume
from core.transport.stream_reader import StreamReader

log = structlog.get_logger(__name__)


def _nothing() -> None:
    """Nobody waits for it."""


class ReplyKeeper:
    """Owns one task for each reply that this process owes.

    What SQL owes and no task shows, a sweep adopts: after a restart, after Discord was away, after
    the stream lost an end. A reply is therefore shown at least once, by edits that may repeat.
    """

    def __init__(
        self,
        tools: ReplyTools,
        reader: StreamReader,
        names: Sequence[str],
        sweep_interval_seconds: float,
    ) -> None:
        self._tools = tools
        self._reader = reader
        self._names = names
        self._sweep_interval_seconds = sweep_interval_seconds
        self._live: dict[str, LiveReply] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shown: dict[str, Callable[[], None]] = {}

    def start(self) -> None:
        """Begin to read the stream and to sweep; call within the running loop."""
        self._spawn(self._read_stream())
        self._spawn(self._sweep_for_ever())

    async def close(self) -> None:
        """Stop showing. What is unfinished stays owed in SQL."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def expect(
        self,
        job_id: str,
        place: Place,
        trigger_id: int,
        *,
        shown: Callable[[], None] = _nothing,
    ) -> Callable[[], None]:
        """Keep what the stream says of a job that was just written.

        Args:
            job_id, place, trigger_id: of the reply.
            shown: is called once the answer is shown, or put off because Discord or SQL is away.

        Returns:
            What begins to show it; to be called in the loop, whatever the stream has said by then.
        """
        live = LiveReply(
            self._tools,
            job_id,
            place.channel_id,
            trigger_id,
            place.locale,
            guild_id=place.guild_id,
            trace=carried(),
        )
        self._live[job_id] = live
        self._shown[job_id] = shown
        return lambda: self._show(live)

    @property
    def count(self) -> int:
        """How many replies are on their way."""
        return len(self._live)

    async def sweep(self, *, is_start: bool = False) -> None:
        """Adopt what SQL owes and no task shows; end what has ended without the stream saying so,
        what another process delivered, and what SQL knows no more.

        Raises:
            SQLAlchemyError: the database cannot be reached.
        """

        # A reply comes to be shown only after its row was committed.
        shown = set(self._live)

        def find(session: Session) -> tuple[list[OwedReply], set[str]]:
            owed = (owed_replies if is_start else finished_replies)(session, self._names)
            return owed, shown - owed_among(session, shown)

        found, settled = await self._tools.desk.read(find)
        for job_id in settled & self._live.keys():
            self._live[job_id].end()
        for owed in found:
            live = self._live.get(owed.job_id)
            if live is None:
                live = LiveReply(
                    self._tools,
                    owed.job_id,
                    owed.channel_id,
                    owed.trigger_id,
                    owed.locale,
                    guild_id=owed.guild_id,
                    trace=owed.trace,
                    part_ids=list(owed.part_ids),
                    is_adopted=True,
                )
                self._show(live)
            if owed.state.is_final:
                live.end()

    def _show(self, live: LiveReply) -> None:
        self._live[live.job_id] = live
        self._spawn(self._run(live))

    async def _run(self, live: LiveReply) -> None:
        try:
            with (
                bound_contextvars(job_id=live.job_id, guild_id=live.guild_id),
                resume("reply", live.trace, job_id=live.job_id, guild_id=live.guild_id),
            ):
                await live.run()
        except (DiscordUnavailableError, SQLAlchemyError) as exc:
            log.warning("reply_postponed", job_id=live.job_id, error=type(exc).__name__)
        finally:
            self._live.pop(live.job_id, None)
            self._shown.pop(live.job_id, _nothing)()

    async def _read_stream(self) -> None:
        while True:
            try:
                async for entry in self._reader.entries():
                    live = self._live.get(entry.job_id)
                    if live is not None:
                        live.feed(entry)
            except Exception:
                # A defect must not end the reading of all answers to come.
                log.exception("reading_failed")
                await asyncio.sleep(self._sweep_interval_seconds)

    async def _sweep_for_ever(self) -> None:
        is_start = True
        while True:
            try:
                await self.sweep(is_start=is_start)
                is_start = False
            except SQLAlchemyError as exc:
                log.warning("sweep_failed", error=type(exc).__name__)
            except Exception:
                log.exception("sweep_failed")
            await asyncio.sleep(self._sweep_interval_seconds)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("reply_task_failed", exc_info=exc)
