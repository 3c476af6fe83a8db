import threading

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.catalog.choices import Reach, choose
from core.catalog.registry import StoredVersion, register_version
from core.catalog.retiring import retire_version
from core.conversations.answers import (
    ForgottenError,
    NothingPublishedError,
    load_question,
    write_answer,
)
from core.conversations.forgetting import (
    forget_channel,
    forget_member,
    forget_message,
    purge_expired,
)
from core.conversations.intake import IncomingMessage, ReplyOptions, receive
from core.conversations.places import (
    Place,
    guild_locales,
    join_guild,
    leave_guild,
    listening_channels,
    set_listening,
    set_locale,
)
from core.conversations.replies import (
    find_reply,
    finished_replies,
    mark_delivered,
    owed_replies,
    record_parts,
)
from core.db.clock import epoch_now
from core.db.tables import Assignment, Job, Message, Reply
from core.jobs.ledger import NewJob, claim, request_cancel, submit
from core.jobs.states import JobKind
from tests.workers.ledger_helpers import read_job, set_job

OPTIONS = ReplyOptions("parrot", "bot-0", {"temperature": 0.0})
STORED = StoredVersion("models/parrot/1", "0" * 64, 10, {})


def run(engine, function, *arguments, **named):
    with Session(engine) as session, session.begin():
        return function(session, *arguments, **named)


def hear(engine, text="hello", *, message_id=100, channel=10, guild=20, author=5, name="Alice"):
    place = Place(channel, guild, "Guild", "fr")
    return run(engine, receive, IncomingMessage(place, message_id, author, name, text), OPTIONS)


def load(engine, taken, max_messages=5):
    return run(
        engine, load_question, taken, max_messages=max_messages, default_model=OPTIONS.default_model
    )


def publish(engine, **named):
    values = {"model": "parrot", "guild_id": None, "source": "test", "stored": STORED, **named}
    return run(engine, register_version, **values)


def take(engine, job_id):
    return run(engine, claim, job_id, "w", 30)


def answer(engine, job_id, text="hi"):
    run(engine, write_answer, take(engine, job_id), text, bot_name="Perroquet", facts={})


def count(engine, table):
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_message_makes_a_row_a_job_and_a_reply_at_once(any_engine):
    job_id = hear(any_engine)
    owed = run(any_engine, find_reply, job_id)
    assert (owed.channel_id, owed.guild_id, owed.trigger_id, owed.locale) == (10, 20, 100, "fr")
    assert (owed.state, owed.text, owed.part_ids) == ("queued", None, ())


def test_a_message_heard_twice_is_answered_once(any_engine):
    assert hear(any_engine) is not None
    assert hear(any_engine) is None
    assert count(any_engine, Job) == 1


def test_a_message_heard_by_two_processes_at_once_is_answered_once(any_engine):
    made: list[str | None] = []
    barrier = threading.Barrier(4)

    def listen() -> None:
        barrier.wait()
        made.append(hear(any_engine))

    threads = [threading.Thread(target=listen) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(job is not None for job in made) == 1
    assert count(any_engine, Message) == 1


def test_the_question_is_the_history_up_to_its_message(any_engine):
    publish(any_engine)
    answer(any_engine, hear(any_engine, "one"), "uno")
    second = hear(any_engine, "two", message_id=101)
    hear(any_engine, "three", message_id=102)
    question = load(any_engine, take(any_engine, second), max_messages=10)
    assert [(u.role, u.text) for u in question.utterances] == [
        ("user", "one"),
        ("assistant", "uno"),
        ("user", "two"),
    ]
    assert question.weights.store_path == "models/parrot/1"
    assert question.sampling == {"temperature": 0.0}


def test_the_history_is_bounded_from_its_old_end(any_engine):
    publish(any_engine)
    jobs = [hear(any_engine, str(n), message_id=100 + n) for n in range(5)]
    question = load(any_engine, take(any_engine, jobs[-1]), max_messages=2)
    assert [u.text for u in question.utterances] == ["3", "4"]


def test_without_a_published_model_the_question_says_so(any_engine):
    job_id = hear(any_engine)
    with pytest.raises(NothingPublishedError):
        load(any_engine, take(any_engine, job_id), max_messages=5)


def test_a_model_that_was_published_meanwhile_answers(any_engine):
    """So a retry of a question that found no model succeeds once there is one."""
    job_id = hear(any_engine)
    publish(any_engine)
    assert load(any_engine, take(any_engine, job_id)).weights.store_path == "models/parrot/1"


def test_where_a_version_was_retired_meanwhile_the_next_one_answers(any_engine):
    default = publish(any_engine)
    hear(any_engine, message_id=99)
    stored = StoredVersion("models/coco/1", "0" * 64, 10, {})
    own = publish(any_engine, model="coco", guild_id=20, stored=stored)
    run(any_engine, choose, Reach(20), own, 1)
    job_id = hear(any_engine)
    run(any_engine, retire_version, 20, own)
    question = load(any_engine, take(any_engine, job_id))
    assert (question.version_id, question.weights.store_path) == (default, "models/parrot/1")


def test_an_answer_is_owed_until_it_is_delivered(any_engine):
    publish(any_engine)
    job_id = hear(any_engine)
    assert run(any_engine, finished_replies, ("bot-0",)) == []
    assert [o.job_id for o in run(any_engine, owed_replies, ("bot-0",))] == [job_id]
    answer(any_engine, job_id)
    run(any_engine, record_parts, job_id, [7, 8])
    (owed,) = run(any_engine, finished_replies, ("bot-0",))
    assert (owed.text, owed.part_ids) == ("hi", (7, 8))
    assert run(any_engine, finished_replies, ("bot-1",)) == []
    assert run(any_engine, mark_delivered, job_id, [7, 8])
    assert not run(any_engine, mark_delivered, job_id, [7, 8])
    assert run(any_engine, find_reply, job_id).is_delivered


def test_what_is_recorded_late_changes_nothing_of_a_delivered_answer(any_engine):
    publish(any_engine)
    job_id = hear(any_engine)
    answer(any_engine, job_id)
    run(any_engine, mark_delivered, job_id, [8])
    run(any_engine, record_parts, job_id, [7])
    assert run(any_engine, find_reply, job_id).part_ids == (8,)


def test_a_channel_s_choice_goes_before_its_guild_s_and_a_retired_one_is_passed_over(any_engine):
    default = publish(any_engine)
    job_id = hear(any_engine)
    own = publish(
        any_engine,
        model="ours",
        guild_id=20,
        stored=StoredVersion("models/ours/1", "1" * 64, 1, {}),
    )

    def choose(session, **scope):
        session.add(Assignment(version_id=own, chosen_by=1, **scope))

    assert read_job(any_engine, job_id).payload["version_id"] == default
    run(any_engine, choose, guild_id=20)
    assert read_job(any_engine, hear(any_engine, message_id=2)).payload["version_id"] == own
    other_guild = hear(any_engine, message_id=3, channel=11, guild=21)
    assert read_job(any_engine, other_guild).payload["version_id"] == default
    run(any_engine, lambda s: s.add(Assignment(channel_id=10, chosen_by=1)))
    assert read_job(any_engine, hear(any_engine, message_id=4)).payload["version_id"] == own


def test_another_guild_s_model_never_answers(any_engine):
    default = publish(any_engine)
    hear(any_engine)
    hear(any_engine, message_id=1, channel=11, guild=21)
    foreign = publish(
        any_engine,
        model="theirs",
        guild_id=21,
        stored=StoredVersion("models/theirs/1", "1" * 64, 1, {}),
    )
    run(
        any_engine,
        lambda s: s.add(Assignment(guild_id=20, version_id=foreign, chosen_by=1)),
    )
    assert read_job(any_engine, hear(any_engine, message_id=2)).payload["version_id"] == default


def test_a_thread_follows_its_channel_until_it_has_a_choice_of_its_own(any_engine):
    publish(any_engine)
    hear(any_engine)
    stored = StoredVersion("models/ours/1", "1" * 64, 10, {})
    taught = publish(any_engine, model="ours", guild_id=20, stored=stored)

    def hear_in_thread(message_id):
        place = Place(11, 20, "Guild", "fr", parent_id=10)
        message = IncomingMessage(place, message_id, 5, "Alice", "hello")
        return read_job(any_engine, run(any_engine, receive, message, OPTIONS))

    default = hear_in_thread(1).payload["version_id"]
    run(any_engine, choose, Reach(20, 10), taught, 5)
    assert hear_in_thread(2).payload["version_id"] == taught
    run(any_engine, choose, Reach(20, 11), default, 5)
    assert hear_in_thread(3).payload["version_id"] == default


def test_forgetting_a_member_deletes_their_words_and_the_answers_to_them(any_engine):
    publish(any_engine)
    mine = hear(any_engine, "mine")
    answer(any_engine, mine)
    run(any_engine, mark_delivered, mine, [900])
    answer(any_engine, hear(any_engine, "theirs", message_id=101, author=6))
    elsewhere = hear(any_engine, "elsewhere", message_id=102, channel=30, guild=40)
    assert run(any_engine, forget_member, 5, 20).messages == 2
    with Session(any_engine) as session:
        left = session.scalars(select(Message.content).order_by(Message.id)).all()
    assert left == ["theirs", "hi", "elsewhere"]
    assert read_job(any_engine, elsewhere).state == "queued"
    assert count(any_engine, Job) == 2
    assert count(any_engine, Reply) == 2


def test_forgetting_a_member_finds_words_whose_jobs_are_long_gone(any_engine):
    publish(any_engine)
    hear(any_engine, "mine")
    hear(any_engine, "directly", message_id=101, channel=11, guild=None)
    run(any_engine, lambda s: s.query(Job).delete())
    assert run(any_engine, forget_member, 5, 20).messages == 1
    with Session(any_engine) as session:
        assert session.scalars(select(Message.content)).all() == ["directly"]
    assert run(any_engine, forget_member, 5, None).messages == 1


def test_an_answer_forgotten_before_it_was_shown_is_taken_away_without_a_word_of_it(any_engine):
    publish(any_engine)
    job_id = hear(any_engine)
    answer(any_engine, job_id)
    run(any_engine, forget_member, 5, 20)
    (owed,) = run(any_engine, finished_replies, ("bot-0",))
    assert owed.is_withdrawn
    assert read_job(any_engine, job_id).result == {}
    assert count(any_engine, Message) == 0


def test_forgetting_a_channel_stops_what_is_under_way_there(any_engine):
    publish(any_engine)
    running = hear(any_engine, "running")
    taken = take(any_engine, running)
    waiting = hear(any_engine, "waiting", message_id=101)
    assert run(any_engine, forget_channel, 10).messages == 2
    assert count(any_engine, Message) == 0
    assert read_job(any_engine, running).cancel_requested
    assert read_job(any_engine, waiting).state == "cancelled"
    assert [r.job_id for r in run(any_engine, finished_replies, ("bot-0",))] == [waiting]
    with pytest.raises(ForgottenError):
        load(any_engine, taken, max_messages=5)


def test_deleting_a_message_forgets_it_and_stops_its_answer(any_engine):
    job_id = hear(any_engine)
    assert run(any_engine, forget_message, 100)
    assert not run(any_engine, forget_message, 100)
    assert read_job(any_engine, job_id).state == "cancelled"


def test_what_is_past_its_retention_goes(any_engine):
    publish(any_engine)
    old, new = hear(any_engine, "old"), hear(any_engine, "new", message_id=101)
    answer(any_engine, old)
    answer(any_engine, new)
    long_ago = epoch_now() - 40 * 86_400
    set_job(any_engine, old, finished_at=long_ago)
    run(
        any_engine,
        lambda s: (
            s.query(Message)
            .filter(Message.content == "old")
            .update({"created_at": long_ago}, synchronize_session=False)
        ),
    )
    run(any_engine, purge_expired, messages_days=30, jobs_days=30)
    with Session(any_engine) as session:
        assert session.scalars(select(Job.id)).all() == [new]
        assert session.scalars(select(Message.content)).all() == ["new", "hi"]


def test_other_jobs_have_a_retention_of_their_own(any_engine):
    publish(any_engine)
    answered = hear(any_engine)
    answer(any_engine, answered)
    finetune = run(any_engine, submit, NewJob(JobKind.FINETUNE, 5, {}))
    run(any_engine, request_cancel, finetune)
    for job_id in (answered, finetune):
        set_job(any_engine, job_id, finished_at=epoch_now() - 10 * 86_400)
    run(any_engine, purge_expired, messages_days=30, jobs_days=7)
    with Session(any_engine) as session:
        assert session.scalars(select(Job.id)).all() == [answered]
        assert session.scalars(select(Message.content)).all() == ["hello", "hi"]


def test_a_channel_is_switched_on_and_off_once(any_engine):
    place = Place(10, 20, "Guild")
    assert run(any_engine, set_listening, place, is_listening=True)
    assert not run(any_engine, set_listening, place, is_listening=True)
    assert run(any_engine, listening_channels) == {10}
    assert run(any_engine, set_listening, place, is_listening=False)
    assert run(any_engine, listening_channels) == set()


def test_leaving_a_guild_cancels_what_was_to_do_there_and_coming_back_keeps_its_language(
    any_engine,
):
    run(any_engine, set_locale, Place(10, 20, "Guild"), "fr")
    job_id = hear(any_engine)
    assert run(any_engine, leave_guild, 20) == [job_id]
    assert read_job(any_engine, job_id).state == "cancelled"
    assert run(any_engine, owed_replies, ("bot-0",)) == [], "nobody is there to read it"
    run(any_engine, join_guild, 20, "Guild", "en")
    assert run(any_engine, guild_locales) == {20: "fr"}
