"""What Discord shows of an answer: which messages, and whether the final text stands there."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Job, Reply
from core.jobs.states import FINAL_STATES, JobState


@dataclass(frozen=True)
class OwedReply:
    """An answer that its channel does not show yet, with how its job stands.

    ``text`` is the final text of a job that succeeded; ``error_code`` and ``error_data`` say why
    one failed.
    """

    job_id: str
    state: JobState
    channel_id: int
    guild_id: int | None
    trigger_id: int
    locale: str
    part_ids: tuple[int, ...]
    age_seconds: float
    text: str | None
    error_code: str | None
    error_data: dict[str, Any]


def owed_reply(session: Session, job_id: str) -> OwedReply | None:
    """One reply, or None where it is delivered or forgotten."""
    row = session.execute(_select_owed().where(Reply.job_id == job_id)).one_or_none()
    return None if row is None else _owed(*row)


def owed_replies(session: Session, process_name: str, *, limit: int = 500) -> list[OwedReply]:
    """All replies that a bot process still owes, oldest first, finished or not."""
    query = _select_owed().where(Reply.process_name == process_name)
    return [_owed(*row) for row in session.execute(query.order_by(Reply.job_id).limit(limit))]


def finished_replies(session: Session, process_name: str, *, limit: int = 500) -> list[OwedReply]:
    """The replies a bot process owes whose jobs have ended: what can be delivered now."""
    query = _select_owed().where(Reply.process_name == process_name, Job.state.in_(FINAL_STATES))
    return [_owed(*row) for row in session.execute(query.order_by(Reply.job_id).limit(limit))]


def record_parts(session: Session, job_id: str, part_ids: list[int]) -> None:
    """Note which Discord messages show the answer, in order."""
    session.execute(update(Reply).where(Reply.job_id == job_id).values(part_ids=part_ids))


def mark_delivered(session: Session, job_id: str, *, undeliverable: str | None = None) -> bool:
    """Note that the channel shows the final text, or why it never will.

    Returns:
        False where another process had noted that already.
    """
    changed = count_changed(
        session,
        update(Reply)
        .where(Reply.job_id == job_id, Reply.delivered_at.is_(None))
        .values(delivered_at=epoch_now(), undeliverable=undeliverable),
    )
    return changed > 0


def _select_owed() -> Any:
    return (
        select(Reply, Job, epoch_now() - Reply.created_at)
        .join(Job, Job.id == Reply.job_id)
        .where(Reply.delivered_at.is_(None))
    )


def _owed(reply: Reply, job: Job, age_seconds: float) -> OwedReply:
    result = job.result or {}
    return OwedReply(
        job_id=job.id,
        state=JobState(job.state),
        channel_id=reply.channel_id,
        guild_id=reply.guild_id,
        trigger_id=reply.trigger_id,
        locale=reply.locale,
        part_ids=tuple(reply.part_ids),
        age_seconds=age_seconds,
        text=result.get("text"),
        error_code=job.error_code,
        error_data=result.get("error_data", {}),
    )
