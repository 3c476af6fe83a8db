"""One question put to two versions, beside the conversations that people hold.

The question is a message of its asker's in a conversation that nothing is added to, so it is
forgotten and purged like any other; no channel shows it and no later answer sees it.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.conversations.answers import NO_OTHER
from core.conversations.places import Place, open_place
from core.db.clock import epoch_now
from core.db.tables import Conversation, Job, Message
from core.ids import new_id
from core.jobs.ledger import NewJob, request_cancel, submit
from core.jobs.states import FINAL_STATES, JobKind, JobState


@dataclass(frozen=True)
class Comparison:
    """What is asked, by whom, and of which versions.

    Attributes:
        place: where it was asked.
        asker_id, asker_name: who asked.
        question: the words.
        version_ids: who shall answer, in order; the asker's guild must see them.
        seed: the chance that is the same for all.
    """

    place: Place
    asker_id: int
    asker_name: str
    question: str
    version_ids: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class ComparedAnswer:
    """Where one answer stands: ``text`` once it is there, ``error_code`` where it never comes."""

    state: JobState
    text: str | None
    error_code: str | None


def ask_versions(session: Session, asked: Comparison) -> list[str]:
    """Write the question and a job for each version, in the caller's transaction.

    Returns:
        The ids of the jobs, in the order of the versions; their hints are to be published.
    """
    open_place(session, asked.place)
    conversation_id = new_id()
    session.add(
        Conversation(id=conversation_id, channel_id=asked.place.channel_id, ended_at=epoch_now())
    )
    session.flush()
    message = Message(
        conversation_id=conversation_id,
        role="user",
        author_id=asked.asker_id,
        author_name=asked.asker_name,
        content=asked.question,
    )
    session.add(message)
    session.flush()
    return [
        submit(
            session,
            NewJob(
                kind=JobKind.GENERATE,
                requester_id=asked.asker_id,
                guild_id=asked.place.guild_id,
                channel_id=asked.place.channel_id,
                payload={
                    "conversation_id": conversation_id,
                    "message_id": message.id,
                    "version_id": version_id,
                    NO_OTHER: True,
                    "sampling": {"seed": asked.seed},
                    # Both are shown once they are whole; nobody watches them grow.
                    "stream": "",
                },
            ),
        )
        for version_id in asked.version_ids
    ]


def read_answers(session: Session, job_ids: list[str]) -> list[ComparedAnswer]:
    """Where the answers stand, in the order of the jobs. One that was forgotten is cancelled."""
    rows = session.execute(
        select(Job.id, Job.state, Job.result, Job.error_code).where(Job.id.in_(job_ids))
    )
    found = {
        row.id: ComparedAnswer(JobState(row.state), (row.result or {}).get("text"), row.error_code)
        for row in rows
    }
    gone = ComparedAnswer(JobState.CANCELLED, None, None)
    return [found.get(job_id, gone) for job_id in job_ids]


def give_up(session: Session, job_ids: list[str]) -> None:
    """Cancel what nobody waits for any more; what ended or was forgotten stays so."""
    unended = select(Job.id).where(Job.id.in_(job_ids), Job.state.not_in(FINAL_STATES))
    for job_id in session.scalars(unended).all():
        request_cancel(session, job_id)
