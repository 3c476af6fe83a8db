"""What a channel shows of a fine-tune: which message, and everything that it is drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Board, Corpus, Job, Version
from core.jobs.states import JobState, JobWish

# The message of a board that somebody deleted; one that was never posted has none.
DELETED = 0


@dataclass(frozen=True)
class BoardView:
    """A fine-tune as its board shows it.

    Attributes:
        job_id, state, requester_id, guild_id: of the job.
        channel_id, message_id, locale: where and how it is shown; the message is None before its
            first post, and ``DELETED`` where somebody deleted it.
        payload: what was asked for.
        result: progress while it runs, metrics once it succeeded, why it failed.
        error_code: why it failed.
        wish: what somebody wished of it: pause, or stop and keep the best.
        cancel_requested: somebody cancelled it while a worker had it.
        has_run: whether a worker ever had it.
        report: of the corpus, once it is read.
    """

    job_id: str
    state: JobState
    requester_id: int
    guild_id: int | None
    channel_id: int
    message_id: int | None
    locale: str
    payload: dict[str, Any]
    result: dict[str, Any]
    error_code: str | None
    wish: JobWish | None
    has_run: bool
    report: dict[str, Any] | None
    cancel_requested: bool = False

    @property
    def is_read(self) -> bool:
        """Whether the corpus is read, so that the fine-tune may start."""
        return "corpus_path" in self.payload

    @property
    def progress(self) -> dict[str, Any]:
        """The trainer's newest step; empty before the first."""
        found: dict[str, Any] = self.result.get("progress", {})
        return found


def open_boards(session: Session, names: Sequence[str]) -> list[BoardView]:
    """The boards that are still to be drawn under these names, oldest first."""
    query = _query().where(Board.process_name.in_(names), Board.closed_at.is_(None))
    return [_view(session, row) for row in session.execute(query.order_by(Board.job_id))]


def record_message(session: Session, job_id: str, message_id: int) -> None:
    """Note which message is the board; ``DELETED`` where it is gone."""
    session.execute(update(Board).where(Board.job_id == job_id).values(message_id=message_id))


def close_board(session: Session, job_id: str) -> bool:
    """Note that the board needs no drawing any more; False where that was noted before."""
    closed = (
        update(Board)
        .where(Board.job_id == job_id, Board.closed_at.is_(None))
        .values(closed_at=epoch_now())
    )
    return count_changed(session, closed) == 1


def reopen_board(session: Session, job_id: str) -> None:
    """Have a closed board drawn once more: what it shows has changed."""
    session.execute(update(Board).where(Board.job_id == job_id).values(closed_at=None))


def version_of(session: Session, view: BoardView) -> tuple[str, int] | None:
    """Id and number of the version that a fine-tune made, while it lives."""
    version_id = view.result.get("version_id")
    if version_id is None:
        return None
    row = session.execute(
        select(Version.id, Version.number).where(
            Version.id == version_id, Version.retired_at.is_(None)
        )
    ).one_or_none()
    return None if row is None else (row.id, row.number)


def _query() -> Select[Any]:
    return select(
        Job.id,
        Job.state,
        Job.requester_id,
        Job.guild_id,
        Job.payload,
        Job.result,
        Job.error_code,
        Job.wish,
        Job.cancel_requested,
        Job.started_at,
        Board.channel_id,
        Board.message_id,
        Board.locale,
    ).join(Board, Board.job_id == Job.id)


def _view(session: Session, row: Any) -> BoardView:
    report = None
    if "corpus_path" in row.payload:
        report = session.scalar(
            select(Corpus.report).where(Corpus.id == row.payload.get("corpus_id"))
        )
    return BoardView(
        job_id=row.id,
        state=JobState(row.state),
        requester_id=row.requester_id,
        guild_id=row.guild_id,
        channel_id=row.channel_id,
        message_id=row.message_id,
        locale=row.locale,
        payload=row.payload,
        result=row.result or {},
        error_code=row.error_code,
        wish=None if row.wish is None else JobWish(row.wish),
        has_run=row.started_at is not None,
        report=report,
        cancel_requested=row.cancel_requested,
    )
