"""What people do to a job that they found in a list: cancel it, or try it again."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from core.corpora.submissions import cancel_finetune
from core.db.clock import epoch_now
from core.db.tables import Board, Corpus, Job, JobEvent, Reply, Version
from core.errors import InvalidInputError, JobNotFoundError
from core.jobs.events import record
from core.jobs.finding import Scope, within
from core.jobs.ledger import NewJob, request_cancel, submit
from core.jobs.outbox import Hint
from core.jobs.states import JobKind, JobState

RETRIED, RETRY_OF = "retried", "retry_of"
_ENDED_BADLY = (JobState.FAILED, JobState.CANCELLED)


class NotRetryableError(InvalidInputError):
    """Only what failed or was cancelled is retried; ``data["state"]`` is where the job stands."""

    code = "not-retryable"


class NothingToRetryError(InvalidInputError):
    """The job ended badly, but what it was to work with is kept no more."""

    code = "nothing-to-retry"


class AlreadyRetriedError(InvalidInputError):
    """The job was tried again before; ``data["job"]`` is the job that does so."""

    code = "already-retried"


@dataclass(frozen=True)
class Cancellation:
    """What became of a request to cancel.

    Attributes:
        state: CANCELLED, RUNNING (it will stop soon), or the final state that it had before.
        corpus_id: of an upload that nobody needs any more, whose files can go.
    """

    state: JobState
    corpus_id: str | None


def cancel_job(session: Session, scope: Scope, job_id: str) -> Cancellation:
    """Cancel a job of any kind, and the validation that a fine-tune waits for.

    Raises:
        JobNotFoundError: no such job, or it is another guild's.
    """
    guards = within(scope)
    kind = session.scalar(select(Job.kind).where(Job.id == job_id, *guards))
    corpus_id = None
    if kind == JobKind.FINETUNE:
        corpus_id = cancel_finetune(session, job_id, *guards)
    return Cancellation(request_cancel(session, job_id, *guards), corpus_id)


def retry_job(session: Session, scope: Scope, job_id: str, *, asked_by: int) -> Hint:
    """Submit a new job that does what a failed or cancelled one was to do.

    What showed the old job in Discord shows the new one. Publish the hint once the transaction is
    committed.

    Args:
        session: an open transaction.
        scope: whose jobs may be retried.
        job_id: the old job.
        asked_by: the id of the person who asks; 0 is the operator.

    Raises:
        JobNotFoundError: no such job, or it is another guild's.
        NotRetryableError: it did not end badly.
        NothingToRetryError: what it needs is gone.
        AlreadyRetriedError: there is a new job already.
    """
    # Of two who ask at once the second waits here, and then finds the event of the first.
    old = session.scalar(select(Job).where(Job.id == job_id, *within(scope)).with_for_update())
    if old is None:
        raise JobNotFoundError(job_id)
    _check_retryable(session, old)
    kind = JobKind(old.kind)
    new = NewJob(
        kind, old.requester_id, dict(old.payload), old.guild_id, old.channel_id, old.priority
    )
    new_id = submit(session, new)
    record(session, old.id, RETRIED, job=new_id, by=asked_by)
    record(session, new_id, RETRY_OF, job=old.id, by=asked_by)
    _hand_reply_on(session, old, new_id)
    _hand_board_on(session, old, new_id)
    return Hint(new_id, kind, old.priority)


def retryable_among(session: Session, scope: Scope, job_ids: Collection[str]) -> set[str]:
    """Which of these jobs :func:`retry_job` would take."""
    retried = select(JobEvent.id).where(JobEvent.job_id == Job.id, JobEvent.type == RETRIED)
    corpus = select(Corpus.id).where(Corpus.store_path == Job.payload["corpus_path"].as_string())
    base = select(Version.id).where(
        Version.id == Job.payload["base_version_id"].as_string(), Version.retired_at.is_(None)
    )
    needs_nothing = Job.kind == JobKind.GENERATE
    has_all = (Job.kind == JobKind.FINETUNE) & corpus.exists() & base.exists()
    found = session.scalars(
        select(Job.id).where(
            Job.id.in_(job_ids),
            Job.state.in_(_ENDED_BADLY),
            needs_nothing | has_all,
            ~retried.exists(),
            *within(scope),
        )
    )
    return set(found)


def _check_retryable(session: Session, old: Job) -> None:
    if old.state not in _ENDED_BADLY:
        raise NotRetryableError(
            f"Only a job that failed or was cancelled can be retried; this one is {old.state}.",
            state=old.state,
        )
    if old.kind == JobKind.VALIDATE:
        raise NothingToRetryError("An upload is read once; upload it again.")
    if old.kind == JobKind.FINETUNE and not _has_what_it_needs(session, old.payload):
        raise NothingToRetryError("Its corpus or its base model is gone; upload it again.")
    event = session.scalar(
        select(JobEvent.data).where(JobEvent.job_id == old.id, JobEvent.type == RETRIED)
    )
    if event is not None:
        raise AlreadyRetriedError(f"Job {event['job']} tries it again.", job=event["job"])


def _has_what_it_needs(session: Session, payload: dict[str, Any]) -> bool:
    corpus = select(Corpus.id).where(Corpus.store_path == payload.get("corpus_path"))
    base = select(Version.id).where(
        Version.id == payload.get("base_version_id"), Version.retired_at.is_(None)
    )
    return session.scalar(corpus) is not None and session.scalar(base) is not None


def _hand_reply_on(session: Session, old: Job, new_id: str) -> None:
    """Owe the answer where the old job owed it; an error that stands there becomes the answer."""
    reply = session.get(Reply, old.id)
    if reply is None:
        return
    # The messages of a cancelled job are deleted.
    part_ids = reply.part_ids if old.state == JobState.FAILED else []
    session.execute(
        insert(Reply).values(
            job_id=new_id,
            process_name=reply.process_name,
            channel_id=reply.channel_id,
            guild_id=reply.guild_id,
            trigger_id=reply.trigger_id,
            locale=reply.locale,
            part_ids=part_ids,
        )
    )
    session.execute(
        update(Reply)
        .where(Reply.job_id == old.id, Reply.delivered_at.is_(None))
        .values(delivered_at=epoch_now(), undeliverable=RETRIED)
    )


def _hand_board_on(session: Session, old: Job, new_id: str) -> None:
    """Show the new fine-tune on a board of its own, in the same channel."""
    board = session.get(Board, old.id)
    if board is not None:
        session.execute(
            insert(Board).values(
                job_id=new_id,
                process_name=board.process_name,
                channel_id=board.channel_id,
                locale=board.locale,
            )
        )
