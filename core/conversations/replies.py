"""What Discord shows of an answer: which messages, and whether the final text stands there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed, run
from core.db.tables import Job, Message, Reply
from core.jobs.states import FINAL_STATES, JobState
from core.monitoring.tracing import TRACE

_REPLIES = select(
    Reply.job_id,
    Reply.channel_id,
    Reply.guild_id,
    Reply.trigger_id,
    Reply.locale,
    Reply.part_ids,
    (epoch_now() - Reply.created_at).label("age_seconds"),
    Reply.delivered_at.is_not(None).label("is_delivered"),
    Job.state,
    Job.result,
    Job.error_code,
    Job.payload[TRACE].as_string().label("trace"),
).join(Job, Job.id == Reply.job_id)
_ONE = _REPLIES.where(Reply.job_id == bindparam("reply"))
_ALL_OWED = (
    _REPLIES.where(
        Reply.delivered_at.is_(None), Reply.process_name.in_(bindparam("names", expanding=True))
    )
    .order_by(Reply.job_id)
    .limit(bindparam("most"))
)
_FINISHED = _ALL_OWED.where(Job.state.in_(FINAL_STATES))
_OWED_AMONG = select(Reply.job_id).where(
    Reply.job_id.in_(bindparam("replies", expanding=True)), Reply.delivered_at.is_(None)
)
_QUESTION = select(Message.id).where(Message.discord_id == bindparam("question"))
_RECORD_PARTS = (
    update(Reply)
    .where(Reply.job_id == bindparam("reply"), Reply.delivered_at.is_(None))
    .values(part_ids=bindparam("parts", type_=Reply.part_ids.type))
)
_MARK_DELIVERED = (
    update(Reply)
    .where(Reply.job_id == bindparam("reply"), Reply.delivered_at.is_(None))
    .values(
        delivered_at=epoch_now(),
        undeliverable=bindparam("reason"),
        part_ids=bindparam("parts", type_=Reply.part_ids.type),
    )
)

_GIVE_UP_ON_GUILD = (
    update(Reply)
    .where(Reply.guild_id == bindparam("guild"), Reply.delivered_at.is_(None))
    .values(delivered_at=epoch_now(), undeliverable="left")
)

# The ways in which an answer ends that are not the model's own choice.
_CUT_SHORT = ("length", "deadline")


@dataclass(frozen=True)
class OwedReply:
    """An answer that a channel shows or will show, with how its job stands.

    ``text`` is the final text of a job that succeeded, or None once it is forgotten; ``error_code``
    and ``error_data`` say why one failed. ``trace`` is where the message's trace goes on. An answer
    ``is_cut`` where it reached its longest length or its last moment in mid-sentence.
    """

    job_id: str
    state: JobState
    channel_id: int
    guild_id: int | None
    trigger_id: int
    locale: str
    part_ids: tuple[int, ...]
    age_seconds: float
    is_delivered: bool
    text: str | None
    error_code: str | None
    error_data: dict[str, Any]
    trace: str | None
    is_cut: bool = False

    @property
    def is_withdrawn(self) -> bool:
        """Whether the channel shall show no answer: cancelled, or its answer forgotten."""
        is_forgotten = self.state is JobState.SUCCEEDED and self.text is None
        return is_forgotten or self.state is JobState.CANCELLED


def find_reply(session: Session, job_id: str) -> OwedReply | None:
    """One reply, delivered or not, or None where it is forgotten."""
    row = run(session, _ONE, reply=job_id).one_or_none()
    return None if row is None else _owed(row)


def is_asked_still(session: Session, trigger_id: int) -> bool:
    """Whether a question is remembered: neither deleted by its author, nor forgotten."""
    return run(session, _QUESTION, question=trigger_id).first() is not None


def owed_replies(session: Session, names: Sequence[str], *, limit: int = 500) -> list[OwedReply]:
    """All replies that are still owed under these names, oldest first, finished or not."""
    return [_owed(row) for row in run(session, _ALL_OWED, names=names, most=limit)]


def finished_replies(
    session: Session, names: Sequence[str], *, limit: int = 500
) -> list[OwedReply]:
    """Those of them whose jobs have ended: what can be delivered now."""
    return [_owed(row) for row in run(session, _FINISHED, names=names, most=limit)]


def owed_among(session: Session, job_ids: Collection[str]) -> set[str]:
    """Which of these jobs still have a reply that nobody has delivered."""
    return set(run(session, _OWED_AMONG, replies=list(job_ids)).scalars()) if job_ids else set()


def record_parts(session: Session, job_id: str, part_ids: list[int]) -> None:
    """Note which Discord messages show the answer so far, in order.

    Of a reply that is delivered already nothing changes: its parts are the ones that stay.
    """
    run(session, _RECORD_PARTS, reply=job_id, parts=part_ids)


def mark_delivered(
    session: Session, job_id: str, part_ids: list[int], *, undeliverable: str | None = None
) -> bool:
    """Note that the channel shows the final text in these messages, or why it never will.

    Returns:
        False where another process had noted that already.
    """
    changed = count_changed(
        session, _MARK_DELIVERED, reply=job_id, parts=part_ids, reason=undeliverable
    )
    return changed > 0


def give_up_on_guild(session: Session, guild_id: int) -> None:
    """Note that no reply will be shown any more in a guild that the bot has left."""
    run(session, _GIVE_UP_ON_GUILD, guild=guild_id)


def _owed(row: Any) -> OwedReply:
    result = row.result or {}
    return OwedReply(
        job_id=row.job_id,
        state=JobState(row.state),
        channel_id=row.channel_id,
        guild_id=row.guild_id,
        trigger_id=row.trigger_id,
        locale=row.locale,
        part_ids=tuple(row.part_ids),
        age_seconds=row.age_seconds,
        is_delivered=bool(row.is_delivered),
        text=result.get("text"),
        error_code=row.error_code,
        error_data=result.get("error_data", {}),
        is_cut=result.get("finish") in _CUT_SHORT,
        trace=row.trace,
    )
