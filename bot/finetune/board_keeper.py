"""Keeps the boards of this process as SQL has them: one loop that looks, draws and edits."""

import asyncio
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import discord
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue
from bot.chat.poster import DiscordUnavailableError, MessageGoneError, UndeliverableError
from bot.finetune.actions import Action
from bot.finetune.board_poster import PICTURE
from bot.finetune.curve_picture import draw_curve
from bot.finetune.drawing import BoardFacts, Draft, draw_board
from bot.finetune.run_progress import curve_labels
from bot.finetune.trials_picture import draw_trials
from core.corpora.boards import (
    DELETED,
    BoardView,
    close_board,
    open_boards,
    record_message,
    version_of,
)
from core.corpora.curves import Curve, read_curve
from core.corpora.searches import SEARCH, Trial, read_trials
from core.corpora.speed import measured_speed, rough_speed
from core.corpora.submissions import cancel_finetune
from core.db.desk import Desk
from core.errors import ServiceUnavailableError
from core.jobs.states import JobState

log = structlog.get_logger(__name__)


class Poster(Protocol):
    """Posts and edits; see :class:`bot.finetune.board_poster.BoardPoster`."""

    async def post(
        self,
        channel_id: int,
        embed: discord.Embed,
        view: discord.ui.View,
        picture: bytes | None,
        *,
        nonce: str,
    ) -> int:
        """Post a board once for a nonce."""
        ...

    async def edit(
        self,
        channel_id: int,
        message_id: int,
        embed: discord.Embed,
        view: discord.ui.View,
        picture: bytes | None,
        *,
        keeps_picture: bool,
    ) -> None:
        """Change what a board shows."""
        ...


class MakeView(Protocol):
    """Makes the buttons of a board."""

    def __call__(self, actions: tuple[Action, ...], job_id: str, locale: str) -> discord.ui.View:
        """The view with these buttons, in order."""
        ...


@dataclass
class _Shown:
    """What a board shows now, as far as this life of the process knows."""

    content: object = None
    phase: object = None
    curve: Curve | tuple[Trial, ...] | None = None
    at: float = float("-inf")


class BoardKeeper:
    """Owns the boards of one bot process.

    What stands in SQL is what is shown: after a restart the same messages are edited on. A board is
    edited when its phase changes, and else at most once in ``edit_seconds``. A message that was
    deleted is posted anew with the next phase, for it carries the buttons.
    """

    def __init__(
        self,
        desk: Desk,
        poster: Poster,
        make_view: MakeView,
        catalogue: Catalogue,
        *,
        names: Sequence[str],
        poll_seconds: float,
        edit_seconds: float,
    ) -> None:
        self._desk = desk
        self._poster = poster
        self._make_view = make_view
        self._catalogue = catalogue
        self._names = names
        self._poll_seconds = poll_seconds
        self._edit_seconds = edit_seconds
        self._shown: dict[str, _Shown] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep; call within the running loop."""
        self._task = asyncio.create_task(self._keep_for_ever())

    async def close(self) -> None:
        """Stop. What the boards show stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Something changed in this process; look now."""
        self._wake.set()

    async def keep_once(self) -> None:
        """Bring every open board up to date.

        Raises:
            SQLAlchemyError: the database cannot be reached.
        """
        boards = await self._desk.read(self._find)
        self._shown = {facts.view.job_id: self._recall(facts.view.job_id) for facts in boards}
        for facts in boards:
            job_id = facts.view.job_id
            try:
                await self._show(facts)
            except DiscordUnavailableError as exc:
                log.warning("board_postponed", job_id=job_id, error=str(exc))
            except SQLAlchemyError:
                raise
            except Exception:
                # One board that cannot be drawn must not leave the others undrawn for ever.
                log.exception("board_defect", job_id=job_id)

    def _find(self, session: Session) -> list[BoardFacts]:
        return [_facts(session, view) for view in open_boards(session, self._names)]

    def _recall(self, job_id: str) -> _Shown:
        return self._shown.get(job_id) or _Shown()

    async def _show(self, facts: BoardFacts) -> None:
        view, shown = facts.view, self._shown[facts.view.job_id]
        draft = draw_board(self._catalogue, facts)
        content = (draft.embed.to_dict(), draft.actions, draft.curve)
        is_due = time.monotonic() - shown.at >= self._edit_seconds
        if draft.phase != shown.phase or (content != shown.content and is_due):
            try:
                await self._put(view, draft, is_new_phase=draft.phase != shown.phase)
            except UndeliverableError as exc:
                await self._give_up(view, str(exc.data.get("reason")))
                return
            shown.content, shown.phase, shown.at = content, draft.phase, time.monotonic()
            shown.curve = draft.curve
        if view.state.is_final:
            await self._desk.write(lambda session: close_board(session, view.job_id))

    async def _put(self, view: BoardView, draft: Draft, *, is_new_phase: bool) -> None:
        """Edit the board, or post it where there is none."""
        buttons = self._make_view(draft.actions, view.job_id, view.locale)
        picture = await self._draw_picture(view, draft)
        if draft.curve is not None:
            draft.embed.set_image(url=f"attachment://{PICTURE}")
        if view.message_id:
            try:
                await self._poster.edit(
                    view.channel_id,
                    view.message_id,
                    draft.embed,
                    buttons,
                    picture,
                    keeps_picture=draft.curve is not None and picture is None,
                )
            except MessageGoneError:
                log.info("board_gone", job_id=view.job_id)
                await self._record(view.job_id, DELETED)
            else:
                return
        if is_new_phase:
            message_id = await self._poster.post(
                view.channel_id, draft.embed, buttons, picture, nonce=_nonce(view, draft)
            )
            await self._record(view.job_id, message_id)

    async def _draw_picture(self, view: BoardView, draft: Draft) -> bytes | None:
        """The picture, where the board does not show it yet."""
        curve = draft.curve
        if curve is None or (curve == self._shown[view.job_id].curve and view.message_id):
            return None
        labels = curve_labels(self._catalogue, view.locale)
        if isinstance(curve, Curve):
            return await asyncio.to_thread(draw_curve, curve, labels, draft.steps)
        return await asyncio.to_thread(draw_trials, curve, labels, draft.steps)

    async def _record(self, job_id: str, message_id: int) -> None:
        await self._desk.write(lambda session: record_message(session, job_id, message_id))

    async def _give_up(self, view: BoardView, reason: str) -> None:
        """Nobody can see the board, so nobody could start what waits for its admin's word."""
        log.warning("board_undeliverable", job_id=view.job_id, reason=reason)

        def close(session: Session) -> None:
            if view.state is JobState.VALIDATING:
                cancel_finetune(session, view.job_id)
            close_board(session, view.job_id)

        await self._desk.write(close)

    async def _keep_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.keep_once()
            except (SQLAlchemyError, ServiceUnavailableError) as exc:
                log.warning("boards_not_kept", error=type(exc).__name__)
            # In Python 3.11 wait_for swallows a cancellation that comes together with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()


def _facts(session: Session, view: BoardView) -> BoardFacts:
    speed, is_rough = None, False
    if view.state is JobState.VALIDATING and view.is_read:
        method = view.payload["options"].get("method", "lora")
        speed = measured_speed(session, view.guild_id, view.payload["base_version_id"], method)
        if speed is None:
            speed, is_rough = rough_speed(session, view.payload["plan"], method), True
    curve = read_curve(session, view.job_id) if view.has_run else Curve()
    version = version_of(session, view)
    trials = tuple(read_trials(session, view.job_id)) if SEARCH in view.payload else ()
    number = None if version is None else version[1]
    return BoardFacts(view, speed, curve, number, trials, is_rough)


def _nonce(view: BoardView, draft: Draft) -> str:
    """At most 24 characters of Discord's 25: a board that is posted anew is another message.

    The first post has the job's own, so that a bot that was killed before it could note the message
    finds it again, whatever the board shows by now.
    """
    if view.message_id is None:
        return view.job_id
    return f"{view.job_id}.{zlib.crc32(repr(draft.phase).encode()) % 1000:03}"
