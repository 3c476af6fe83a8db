"""A message comes in: its row, and the job that will answer it, in one transaction."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.catalog.resolution import resolve_version
from core.conversations.places import (
    Place,
    find_conversation,
    open_conversation,
    open_place,
)
from core.db.statements import insert_missing, run
from core.db.tables import Message, Reply
from core.jobs.ledger import NewJob, submit
from core.jobs.states import JobKind

_INSERT_REPLY = insert(Reply.__table__)  # type: ignore[arg-type]


@dataclass(frozen=True)
class IncomingMessage:
    """What a member said. ``message_id`` is Discord's, and None for a terminal.

    ``priority`` is that of its job, 0 the highest.
    """

    place: Place
    message_id: int | None
    author_id: int
    author_name: str
    text: str
    priority: int = 0


@dataclass(frozen=True)
class ReplyOptions:
    """How the answer is made and where its text streams to.

    ``sampling`` overrides single fields of the worker's defaults; ``stream`` is the name of the
    process that reads the token stream.
    """

    default_model: str
    stream: str
    sampling: dict[str, Any]


def receive(session: Session, incoming: IncomingMessage, options: ReplyOptions) -> str | None:
    """Remember a message and owe it an answer.

    Args:
        session: an open transaction; commit it, then publish the hint of the job.
        incoming: the message.
        options: how to answer.

    Returns:
        The id of the job that answers, or None where this message was already taken in.
    """
    place = incoming.place
    conversation_id = find_conversation(session, place.channel_id)
    if conversation_id is None:
        open_place(session, place)
        conversation_id = open_conversation(session, place.channel_id)
    message_id = insert_missing(
        session,
        Message.id,
        conversation_id=conversation_id,
        discord_id=incoming.message_id,
        role="user",
        author_id=incoming.author_id,
        author_name=incoming.author_name,
        content=incoming.text,
    )
    if message_id is None:
        return None
    job_id = submit(session, _job_for(session, incoming, options, conversation_id, message_id))
    if incoming.message_id is not None:
        run(
            session,
            _INSERT_REPLY,
            job_id=job_id,
            process_name=options.stream,
            channel_id=place.channel_id,
            guild_id=place.guild_id,
            trigger_id=incoming.message_id,
            locale=place.locale,
        )
    return job_id


def _job_for(
    session: Session,
    incoming: IncomingMessage,
    options: ReplyOptions,
    conversation_id: str,
    message_id: int,
) -> NewJob:
    place = incoming.place
    return NewJob(
        kind=JobKind.GENERATE,
        requester_id=incoming.author_id,
        guild_id=place.guild_id,
        channel_id=place.channel_id,
        priority=incoming.priority,
        payload={
            "conversation_id": conversation_id,
            "message_id": message_id,
            "version_id": resolve_version(
                session, place.guild_id, place.channel_id, options.default_model
            ),
            "sampling": options.sampling,
            "stream": options.stream,
        },
    )
