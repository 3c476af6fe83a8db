"""Members own their words: forgetting deletes rows, and retention bounds what is kept."""

from dataclasses import dataclass

from sqlalchemy import Select, case, delete, exists, func, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Channel, Conversation, Job, Message, Reply
from core.jobs.ledger import request_cancel
from core.jobs.states import FINAL_STATES, JobKind, JobState

_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Forgotten:
    """How many messages, of members and of the bot, are gone."""

    messages: int


def forget_channel(session: Session, channel_id: int) -> Forgotten:
    """Delete what was said in a channel; the next message begins a new conversation."""
    jobs = select(Job.id).where(Job.channel_id == channel_id, Job.kind == JobKind.GENERATE)
    conversations = select(Conversation.id).where(Conversation.channel_id == channel_id)
    count = session.scalar(select(func.count()).where(Message.conversation_id.in_(conversations)))
    _forget_jobs(session, jobs)
    session.execute(delete(Message).where(Message.conversation_id.in_(conversations)))
    session.execute(delete(Conversation).where(Conversation.channel_id == channel_id))
    return Forgotten(count or 0)


def forget_member(session: Session, author_id: int, guild_id: int | None) -> Forgotten:
    """Delete what a member said in a guild (None: in direct messages), and the answers to it."""
    jobs = select(Job.id).where(
        Job.requester_id == author_id,
        Job.kind == JobKind.GENERATE,
        Job.guild_id.is_not_distinct_from(guild_id),
    )
    mine = Message.author_id == author_id
    conversations = (
        select(Conversation.id)
        .join(Channel, Channel.id == Conversation.channel_id)
        .where(Channel.guild_id.is_not_distinct_from(guild_id))
    )
    said = mine & Message.conversation_id.in_(conversations)
    answered = Message.job_id.in_(jobs)
    count = session.scalar(select(func.count()).select_from(Message).where(said | answered))
    session.execute(delete(Message).where(said))
    _forget_jobs(session, jobs)
    return Forgotten(count or 0)


def forget_message(session: Session, discord_id: int) -> bool:
    """Delete one message because its author deleted it in Discord, and stop answering it.

    Returns:
        Whether it was remembered.
    """
    answering = session.scalars(
        select(Reply.job_id)
        .join(Job, Job.id == Reply.job_id)
        .where(Reply.trigger_id == discord_id, Job.state.not_in(FINAL_STATES))
    )
    for job_id in answering.all():
        request_cancel(session, job_id)
    return count_changed(session, delete(Message).where(Message.discord_id == discord_id)) > 0


def purge_expired(session: Session, *, messages_days: float, jobs_days: float) -> int:
    """Delete messages, emptied conversations and ended jobs past their retention.

    A ``generate`` job holds the text of its answer, and the answer goes with it; so it stays and
    goes with messages. ``jobs_days`` is for the others.

    Returns:
        How many rows went.
    """
    now = epoch_now()
    messages = count_changed(
        session,
        delete(Message).where(Message.created_at < now - messages_days * _SECONDS_PER_DAY),
    )
    is_empty = ~exists().where(Message.conversation_id == Conversation.id)
    # One that ended just now may still be answered in.
    is_over = Conversation.ended_at < now - messages_days * _SECONDS_PER_DAY
    conversations = count_changed(session, delete(Conversation).where(is_over, is_empty))
    is_answer = Job.kind == JobKind.GENERATE
    days = case((is_answer, messages_days), else_=jobs_days)
    jobs = count_changed(
        session,
        delete(Job).where(
            Job.state.in_(FINAL_STATES), Job.finished_at < now - days * _SECONDS_PER_DAY
        ),
    )
    return messages + conversations + jobs


def _forget_jobs(session: Session, jobs: Select[str]) -> None:
    """Stop what is under way, and delete all answers and the jobs that made them.

    A job whose reply still stands unfinished in a channel stays, without a word of its answer, so
    that the bot knows what to take away there; retention takes its row.
    """
    unended = session.scalars(select(Job.id).where(Job.id.in_(jobs), ~Job.state.in_(FINAL_STATES)))
    for job_id in unended.all():
        request_cancel(session, job_id)
    session.execute(delete(Message).where(Message.job_id.in_(jobs)))
    is_shown = Job.id.not_in(select(Reply.job_id).where(Reply.delivered_at.is_(None)))
    session.execute(delete(Job).where(Job.id.in_(jobs), Job.state.in_(FINAL_STATES), is_shown))
    succeeded = Job.id.in_(jobs), Job.state == JobState.SUCCEEDED
    session.execute(update(Job).where(*succeeded).values(result={}))
