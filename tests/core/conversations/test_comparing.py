import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.catalog.retiring import retire_model
from core.conversations.answers import NothingPublishedError, load_question, write_answer
from core.conversations.comparing import Comparison, ask_versions, give_up, read_answers
from core.conversations.forgetting import forget_member, purge_expired
from core.conversations.places import Place, find_conversation
from core.db.clock import epoch_now
from core.db.tables import Conversation, Message
from core.ids import new_id
from core.jobs.ledger import claim
from core.jobs.states import JobState
from tests.core.corpora.helpers import ADMIN, CHANNEL, GUILD, add_version, run

PLACE = Place(CHANNEL, GUILD, "guild")


def ask(engine) -> list[str]:
    versions = (add_version(engine, "one"), add_version(engine, "two"))
    asked = Comparison(PLACE, ADMIN, "Camille", "Who are you?", versions, 7)
    return run(engine, ask_versions, asked)


def answer(engine, job_id: str, text: str) -> list[str]:
    def work(session):
        held = claim(session, job_id, "w", 30)
        question = load_question(session, held, max_messages=9, default_model="one")
        write_answer(session, held, text, bot_name="Perroquet", facts={})
        return [utterance.text for utterance in question.utterances]

    return run(engine, work)


def test_both_are_asked_the_same_and_neither_hears_the_other(any_engine):
    jobs = ask(any_engine)
    assert [a.state for a in run(any_engine, read_answers, jobs)] == [JobState.QUEUED] * 2
    heard = [answer(any_engine, job_id, f"I am {n}.") for n, job_id in enumerate(jobs)]
    assert heard == [["Who are you?"], ["Who are you?"]]
    assert [a.text for a in run(any_engine, read_answers, jobs)] == ["I am 0.", "I am 1."]
    assert run(any_engine, find_conversation, CHANNEL) is None, "nothing goes on from it"


def test_no_other_version_answers_for_one_that_is_gone(any_engine):
    first, _ = ask(any_engine)
    run(any_engine, retire_model, "one", None)
    add_version(any_engine, "one")
    with pytest.raises(NothingPublishedError):
        answer(any_engine, first, "I am another.")


def test_what_was_compared_is_forgotten_with_its_asker(any_engine):
    jobs = ask(any_engine)
    answer(any_engine, jobs[0], "I am one.")
    run(any_engine, forget_member, ADMIN, GUILD)
    assert run(any_engine, lambda session: session.scalars(select(Message)).all()) == []
    assert [a.state for a in run(any_engine, read_answers, jobs)] == [JobState.CANCELLED] * 2


def test_nothing_is_left_of_a_comparison_after_its_time(any_engine):
    ask(any_engine)
    with Session(any_engine) as session, session.begin():
        session.add(Conversation(id=new_id(), channel_id=CHANNEL))
    for days, left in ((10, 2), (31, 1)):
        long_ago = epoch_now() - days * 86_400
        with Session(any_engine) as session, session.begin():
            session.execute(update(Message).values(created_at=long_ago))
            ended = Conversation.ended_at.is_not(None)
            session.execute(update(Conversation).where(ended).values(ended_at=long_ago))
        run(any_engine, purge_expired, messages_days=30, jobs_days=30)
        with Session(any_engine) as session:
            assert session.scalar(select(func.count()).select_from(Conversation)) == left
    assert run(any_engine, find_conversation, CHANNEL), "what a channel holds open goes on"


def test_what_is_given_up_is_cancelled_and_an_answer_stays(any_engine):
    first, second = ask(any_engine)
    answer(any_engine, first, "I am one.")
    run(any_engine, give_up, [first, second, "0" * 20])
    states = [a.state for a in run(any_engine, read_answers, [first, second])]
    assert states == [JobState.SUCCEEDED, JobState.CANCELLED]
