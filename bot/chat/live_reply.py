"""One answer on its way into a channel: placeholder, growing text, final text."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from bot.catalogue import Catalogue
from bot.chat.delay import DelayFinder, Why
from bot.chat.pacing import EditPacer
from bot.chat.poster import DiscordUnavailableError, MessageGoneError, Poster, UndeliverableError
from bot.chat.splitting import split_message
from core.conversations.replies import (
    OwedReply,
    find_reply,
    is_asked_still,
    mark_delivered,
    record_parts,
)
from core.db.desk import Desk
from core.jobs.states import JobState
from core.monitoring.figures.bot import FIRST_TOKEN, REPLIES
from core.monitoring.tracing import step
from core.transport.streams import StreamedText, StreamEntry

log = structlog.get_logger(__name__)

# Words that come sooner are posted themselves, without a placeholder: one message that appears
# instead of one that appears and is edited.
_PLACEHOLDER_AFTER_SECONDS = 0.2
_TYPING_AFTER_SECONDS = 0.5
TYPING_LASTS_SECONDS = 8.0
# The first words gather for so long before they are shown: a reader sees a beginning instead of a
# letter, and a short answer is shown once instead of twice.
_GATHER_SECONDS = 0.1


@dataclass(frozen=True)
class ReplyTools:
    """What all replies of a bot process share."""

    desk: Desk
    poster: Poster
    pacer: EditPacer
    typing_pacer: EditPacer
    catalogue: Catalogue
    delays: DelayFinder
    delayed_after_seconds: float


@dataclass
class LiveReply:
    """Shows one answer. Everything it does in Discord may be done twice without harm.

    ``run`` returns once the final text stands in the channel and SQL says so, or once it cannot;
    where Discord is unavailable it raises, and the sweep begins anew from what SQL remembers.
    """

    tools: ReplyTools
    job_id: str
    channel_id: int
    trigger_id: int
    locale: str
    guild_id: int | None = None
    trace: str | None = None
    part_ids: list[int] = field(default_factory=list)
    is_adopted: bool = False
    _shown: list[str] = field(default_factory=list)
    _text: StreamedText = field(default_factory=StreamedText)
    _told: Why | None = None
    _has_turn: bool = False
    _has_grown: bool = False
    _taken_at: float = field(default_factory=time.perf_counter)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def feed(self, entry: StreamEntry) -> None:
        """Take in a piece of the stream."""
        is_first = not self._text.text and not self.is_adopted
        if entry.is_end:
            self.end()
        elif self._text.add(entry):
            if is_first:
                FIRST_TOKEN.observe(time.perf_counter() - self._taken_at)
            self._wake.set()

    def end(self) -> None:
        """The job has ended in SQL; go and read how."""
        self._ended.set()
        self._wake.set()

    async def run(self) -> None:
        """Show the answer from placeholder to final text.

        Raises:
            DiscordUnavailableError: Discord did not answer properly; begin anew later.
            OperationalError: nor did SQL.
        """
        try:
            if self.is_adopted and await self._is_delivered():
                return
            await self._place()
            owed = await self._await_end()
            await self._finish(owed)
        except UndeliverableError as exc:
            log.warning("reply_undeliverable", job_id=self.job_id, reason=exc.data.get("reason"))
            await self._mark(str(exc.data.get("reason", "refused")))
            REPLIES.labels("undeliverable").inc()

    async def _is_delivered(self) -> bool:
        """Whether a sweep read of this reply just before another task delivered it."""
        found = await self._find()
        return found is not None and found.is_delivered

    async def _find(self) -> OwedReply | None:
        return await self.tools.desk.read(lambda session: find_reply(session, self.job_id))

    async def _place(self) -> None:
        """Post the placeholder, unless words come at once or an earlier life did."""
        if self.is_adopted and not self.part_ids:
            self.part_ids = await self.tools.poster.find_replies(self.channel_id, self.trigger_id)
        if self.part_ids:
            self._shown = [""] * len(self.part_ids)
        elif await _comes(self._wake, _PLACEHOLDER_AFTER_SECONDS):
            return
        else:
            await self._post_part(self._say("chat-placeholder"))
        await self._record()

    async def _await_end(self) -> OwedReply | None:
        """Follow the stream until SQL says that the job has ended; None where it is forgotten."""
        while True:
            await self._follow()
            owed = await self._find()
            if owed is None or owed.state.is_final:
                return owed
            # The stream said more than SQL does; what it says is for the eyes only.
            self._ended.clear()

    async def _follow(self) -> None:
        """Show the text as it grows, at the channel's pace."""
        loop = asyncio.get_running_loop()
        is_late_at = loop.time() + self.tools.delayed_after_seconds
        wait = _TYPING_AFTER_SECONDS
        while not self._ended.is_set():
            if await _comes(self._wake, wait):
                self._wake.clear()
                await self._show_growth()
                continue
            if not self._text.text and loop.time() >= is_late_at:
                await self._tell_delay()
                is_late_at = loop.time() + self.tools.delayed_after_seconds
            elif self._told is not Why.OUTAGE:
                await self._show_typing()
            until_late = is_late_at - loop.time()
            is_soon_late = 0 < until_late < TYPING_LASTS_SECONDS
            wait = until_late if is_soon_late else TYPING_LASTS_SECONDS

    async def _show_growth(self) -> None:
        """Show what there is so far, unless the end comes first: then that is shown instead."""
        if not self._has_grown:
            self._has_grown = True
            await _comes(self._ended, _GATHER_SECONDS)
        if not self._ended.is_set():
            await self._take_turn()
        if not self._ended.is_set():
            await self._show(split_message(self._text.text))

    async def _finish(self, owed: OwedReply | None) -> None:
        if owed is not None and owed.is_delivered:
            # Another task or process was first, and what it left there is the answer. What this one
            # posted is the same message, unless Discord had forgotten the nonce by then.
            await self._withdraw(keeping=owed.part_ids)
            return
        await self._take_turn()
        if owed is None or (owed.is_withdrawn and not await self._was_called_off(owed)):
            await self._withdraw()
        else:
            await self._show(split_message(self._final_text(owed)), is_final=True)
        await self._mark(None)
        REPLIES.labels("forgotten" if owed is None else owed.state.value).inc()

    async def _was_called_off(self, owed: OwedReply) -> bool:
        """Whether an admin cancelled it: who asked did not take the question back, and is told."""
        if owed.state is not JobState.CANCELLED:
            return False
        return await self.tools.desk.read(lambda session: is_asked_still(session, self.trigger_id))

    def _final_text(self, owed: OwedReply) -> str:
        if owed.state is JobState.SUCCEEDED:
            if owed.text and owed.is_cut:
                return f"{owed.text} …"
            return owed.text or self.tools.catalogue.say_error(self.locale, "empty-answer", {})
        if owed.state is JobState.CANCELLED:
            return self._say("chat-cancelled")
        return "🦜 " + self.tools.catalogue.say_error(
            self.locale, owed.error_code or "internal", owed.error_data
        )

    async def _show(self, parts: list[str], *, is_final: bool = False) -> None:
        """Make the channel show ``parts``: edit what differs, post what is missing.

        What ``is_final`` is to be marked as delivered, which also records the last part.
        """
        self._has_turn = False
        for index, part in enumerate(parts):
            if index == len(self.part_ids):
                await self._post_part(part)
                if not is_final or index + 1 < len(parts):
                    await self._record()
            elif self._shown[index] != part:
                await self._edit_part(index, part)
        if is_final:
            for message_id in self.part_ids[len(parts) :]:
                await self.tools.poster.delete(self.channel_id, message_id)

    async def _post_part(self, text: str) -> None:
        index = len(self.part_ids)
        nonce = self.job_id if index == 0 else f"{self.job_id}.{index}"
        reply_to = self.trigger_id if index == 0 else None
        with step("post", part=index, characters=len(text)):
            message_id = await self.tools.poster.post(
                self.channel_id, text, nonce=nonce, reply_to=reply_to
            )
        self.part_ids.append(message_id)
        self._shown.append(text)

    async def _edit_part(self, index: int, text: str) -> None:
        try:
            with step("edit", part=index, characters=len(text)):
                await self.tools.poster.edit(self.channel_id, self.part_ids[index], text)
        except MessageGoneError:
            # A moderator deleted it while it grew; what a person removed stays removed.
            log.info("reply_part_gone", job_id=self.job_id)
        self._shown[index] = text

    async def _withdraw(self, keeping: Collection[int] = ()) -> None:
        for message_id in self.part_ids:
            if message_id not in keeping:
                await self.tools.poster.delete(self.channel_id, message_id)

    async def _tell_delay(self) -> None:
        """Say why there are no words yet, and again once it is for another reason."""
        delay = await self.tools.delays.find(self.job_id)
        if delay is None or delay.why is self._told or self._wake.is_set():
            return
        self._told = delay.why
        await self._show([delay.say(self.tools.catalogue, self.locale)])

    async def _show_typing(self) -> None:
        if not self.tools.typing_pacer.try_turn(self.channel_id):
            return
        try:
            await self.tools.poster.show_typing(self.channel_id)
        except DiscordUnavailableError:
            log.info("typing_not_shown", job_id=self.job_id)

    async def _take_turn(self) -> None:
        """Wait for the channel's next turn, unless one is held that was not used."""
        if self._has_turn:
            return
        self._has_turn = True
        wait = self.tools.pacer.take_turn(self.channel_id)
        if wait > 0:
            await asyncio.sleep(wait)

    async def _record(self) -> None:
        part_ids = list(self.part_ids)
        await self.tools.desk.write(lambda session: record_parts(session, self.job_id, part_ids))

    async def _mark(self, reason: str | None) -> None:
        part_ids = list(self.part_ids)
        await self.tools.desk.write(
            lambda session: mark_delivered(session, self.job_id, part_ids, undeliverable=reason)
        )

    def _say(self, key: str) -> str:
        return self.tools.catalogue.say(self.locale, key)


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; False where it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
