import threading

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import Place
from core.conversations.replies import mark_delivered, owed_replies, record_parts
from core.corpora.submissions import PreparedCorpus, accept_corpus, start_finetune
from core.db.tables import Board, JobEvent
from core.errors import InvalidInputError, NotFoundError
from core.jobs.finding import ALL_GUILDS
from core.jobs.ledger import claim, fail
from core.jobs.states import JobKind, JobState
from core.steering.actions import (
    AlreadyRetriedError,
    NothingToRetryError,
    NotRetryableError,
    cancel_job,
    retry_job,
    retryable_among,
)
from tests.core.corpora.helpers import add_version, submit
from tests.core.jobs.jobs_of_guilds import (
    ADMIN,
    CHANNEL,
    GUILD,
    OTHER_GUILD,
    add_job,
    bring_to,
    run,
)
from tests.workers.ledger_helpers import read_job, set_job


def retry(engine, job_id, scope=GUILD):
    return run(engine, retry_job, scope, job_id, asked_by=ADMIN)


def ask(engine, message_id=100):
    place = Place(CHANNEL, GUILD, "guild")
    incoming = IncomingMessage(place, message_id, 5, "Alice", "hello")
    return run(engine, receive, incoming, ReplyOptions("parrot", "bot-0", {}))


def read_corpus(engine, submitted):
    with Session(engine) as session, session.begin():
        taken = claim(session, submitted.validation_id, "w", 30)
        prepared = PreparedCorpus(f"corpora/{submitted.job_id}", "d" * 64, "c" * 64, 10, {}, {})
        assert accept_corpus(session, taken, prepared)
        start_finetune(session, submitted.job_id)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_retry_is_a_new_job_with_the_same_payload(any_engine, state):
    old_id = add_job(any_engine, state, version_id="x" * 20)
    hint = retry(any_engine, old_id)
    old, new = read_job(any_engine, old_id), read_job(any_engine, hint.job_id)
    assert (old.state, new.state, new.token) == (state, "queued", 0)
    for column in ("kind", "payload", "guild_id", "channel_id", "requester_id", "priority"):
        assert getattr(new, column) == getattr(old, column)
    with Session(any_engine) as session:
        events = session.scalars(select(JobEvent).where(JobEvent.type.like("retr%"))).all()
        told = {event.job_id: event.data for event in events}
    assert told == {
        old_id: {"job": new.id, "by": ADMIN},
        new.id: {"job": old_id, "by": ADMIN},
    }


def test_a_job_is_retried_once_however_many_ask_at_once(any_engine):
    old_id = add_job(any_engine, JobState.FAILED)
    outcomes = []
    barrier = threading.Barrier(3)

    def try_it():
        barrier.wait()
        try:
            outcomes.append(retry(any_engine, old_id).job_id)
        except AlreadyRetriedError as exc:
            outcomes.append(exc.data["job"])

    threads = [threading.Thread(target=try_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 3
    assert len(set(outcomes)) == 1


@pytest.mark.parametrize(
    "state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.VALIDATING]
)
def test_what_did_not_end_badly_is_not_retried(any_engine, state):
    with pytest.raises(NotRetryableError, match=f"this one is {state}"):
        retry(any_engine, add_job(any_engine, state))


def test_another_guild_s_job_is_neither_retried_nor_cancelled(any_engine):
    failed = add_job(any_engine, JobState.FAILED)
    waiting = add_job(any_engine)
    tune = add_job(any_engine, kind=JobKind.FINETUNE)
    for scope in (OTHER_GUILD, 1):
        with pytest.raises(NotFoundError):
            retry(any_engine, failed, scope)
        for job_id in (waiting, tune, failed):
            with pytest.raises(NotFoundError):
                run(any_engine, cancel_job, scope, job_id)
    assert read_job(any_engine, waiting).state == "queued"
    assert run(any_engine, cancel_job, ALL_GUILDS, waiting).state is JobState.CANCELLED
    assert run(any_engine, cancel_job, GUILD, tune).state is JobState.CANCELLED
    assert run(any_engine, cancel_job, GUILD, failed).state is JobState.FAILED


def test_the_error_that_a_channel_shows_becomes_the_answer_of_the_retry(any_engine):
    old_id = ask(any_engine)
    run(any_engine, record_parts, old_id, [77])
    run(any_engine, bring_to, old_id, JobState.FAILED)
    run(any_engine, mark_delivered, old_id, [77])
    hint = retry(any_engine, old_id)
    (owed,) = run(any_engine, owed_replies, ("bot-0",))
    assert (owed.job_id, owed.trigger_id, owed.part_ids) == (hint.job_id, 100, (77,))


def test_a_cancelled_answer_is_shown_in_a_message_of_its_own_when_retried(any_engine):
    old_id = ask(any_engine)
    run(any_engine, record_parts, old_id, [77])
    run(any_engine, cancel_job, GUILD, old_id)
    hint = retry(any_engine, old_id)
    (owed,) = run(any_engine, owed_replies, ("bot-0",))
    assert (owed.job_id, owed.part_ids) == (hint.job_id, ())


def test_a_fine_tune_is_retried_with_its_corpus_on_a_board_of_its_own(any_engine):
    submitted = submit(any_engine, add_version(any_engine))
    read_corpus(any_engine, submitted)
    with Session(any_engine) as session, session.begin():
        fail(session, claim(session, submitted.job_id, "w", 30), InvalidInputError("Too odd."))
    hint = retry(any_engine, submitted.job_id)
    new = read_job(any_engine, hint.job_id)
    assert (new.kind, new.state) == ("finetune", "queued")
    assert new.payload["corpus_path"] == f"corpora/{submitted.job_id}"
    with Session(any_engine) as session:
        board = session.get(Board, new.id)
        assert (board.channel_id, board.message_id, board.closed_at) == (CHANNEL, None, None)


def test_a_fine_tune_whose_corpus_is_gone_is_not_retried(any_engine):
    submitted = submit(any_engine, add_version(any_engine))
    cancelled = run(any_engine, cancel_job, GUILD, submitted.job_id)
    assert cancelled.state is JobState.CANCELLED
    assert cancelled.corpus_id is not None
    assert read_job(any_engine, submitted.validation_id).state == "cancelled"
    with pytest.raises(NothingToRetryError, match="gone"):
        retry(any_engine, submitted.job_id)
    with pytest.raises(NothingToRetryError, match="upload"):
        retry(any_engine, submitted.validation_id)


def test_what_is_said_to_be_retryable_is_exactly_what_a_retry_takes(any_engine):
    base = add_version(any_engine)
    ids = [add_job(any_engine, state, kind) for state in JobState for kind in JobKind]
    ids.append(add_job(any_engine, JobState.FAILED, guild_id=OTHER_GUILD))
    unread, cancelled, failed, baseless = (submit(any_engine, base) for _ in range(4))
    run(any_engine, cancel_job, GUILD, unread.job_id)
    for submitted in (cancelled, failed, baseless):
        read_corpus(any_engine, submitted)
    run(any_engine, cancel_job, GUILD, cancelled.job_id)
    for submitted in (failed, baseless):
        run(any_engine, bring_to, submitted.job_id, JobState.FAILED)
    gone = {"base_version_id": "gone"}
    set_job(
        any_engine, baseless.job_id, payload=read_job(any_engine, baseless.job_id).payload | gone
    )
    ids += [s.job_id for s in (unread, cancelled, failed, baseless)]
    retried = add_job(any_engine, JobState.FAILED)
    retry(any_engine, retried)
    offered = run(any_engine, retryable_among, GUILD, [*ids, retried])
    assert {cancelled.job_id, failed.job_id} < offered
    taken = set()
    for job_id in [*ids, retried]:
        try:
            retry(any_engine, job_id)
        except (NotFoundError, InvalidInputError):
            continue
        taken.add(job_id)
    assert offered == taken
