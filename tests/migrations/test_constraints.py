"""What a constraint can hold, one holds: each is shown to bite, on both databases, by its name."""

import pytest
from sqlalchemy import CheckConstraint, UniqueConstraint, insert, text
from sqlalchemy.exc import IntegrityError

from core.db.tables import Base
from core.ids import new_id

TABLES = Base.metadata.tables
ENDED = {"finished_at": 1.0}
HELD = {"state": "running", "lease_until": 1.0, "worker_id": "w", "token": 1}
# By constraint of jobs: a row that it alone refuses.
JOBS = {
    "kind": {"kind": "dance"},
    "state": {"state": "asleep"},
    "wish": {"wish": "dance"},
    "lease_means_running": {"lease_until": 1.0},
    "finished_means_ended": {"finished_at": 1.0},
    "failed_says_why": {"state": "failed", **ENDED},
    "succeeded_has_result": {"state": "succeeded", "token": 1, **ENDED},
    "succeeded_was_claimed": {"state": "succeeded", "result": {}, **ENDED},
    "running_is_held": {**HELD, "worker_id": None},
    "waiting_is_free": {"worker_id": "w"},
    "cancelled_was_asked": {"state": "cancelled", **ENDED},
    "asked_is_cancelled": {"cancel_requested": True},
    "counts": {"crashes": 1},
}
MESSAGE = {"role": "user", "author_id": 1, "author_name": "x", "content": "x"}
MESSAGES = {
    "role": {**MESSAGE, "role": "parrot"},
    "answer_has_job": {**MESSAGE, "role": "assistant"},
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_contradicts_itself_is_refused(any_engine, name):
    with any_engine.begin() as connection, pytest.raises(IntegrityError, match=f"ck_jobs_{name}"):
        add_job(connection, **JOBS[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_contradicts_itself_is_refused(any_engine, name):
    with any_engine.begin() as connection:
        conversation_id = add_conversation(connection)
        with pytest.raises(IntegrityError, match=f"ck_messages_{name}"):
            add(connection, "messages", conversation_id=conversation_id, **MESSAGES[name])


def test_a_question_names_no_job(any_engine):
    with any_engine.begin() as connection:
        conversation_id, job_id = add_conversation(connection), add_job(connection)
        with pytest.raises(IntegrityError, match="ck_messages_answer_has_job"):
            add(connection, "messages", conversation_id=conversation_id, job_id=job_id, **MESSAGE)


def test_a_reply_that_is_given_up_is_owed_no_more(any_engine):
    with any_engine.begin() as connection, pytest.raises(IntegrityError, match="replies_given_up"):
        add_reply(connection, add_job(connection), undeliverable="gone")


def test_what_was_heard_once_stands_once(any_engine):
    with any_engine.begin() as connection:
        row = {**MESSAGE, "conversation_id": add_conversation(connection), "discord_id": 7}
        add(connection, "messages", **row)
        with pytest.raises(IntegrityError, match=r"messages[._]discord_id"):
            add(connection, "messages", **row)


def test_a_job_says_one_thing(any_engine):
    with any_engine.begin() as connection:
        row = {**MESSAGE, "role": "assistant", "job_id": add_job(connection)}
        row["conversation_id"] = add_conversation(connection)
        add(connection, "messages", **row)
        with pytest.raises(IntegrityError, match=r"messages[._]job_id"):
            add(connection, "messages", **row)


def test_a_job_owes_one_reply(any_engine):
    with any_engine.begin() as connection:
        job_id = add_job(connection)
        add_reply(connection, job_id)
        with pytest.raises(IntegrityError, match=r"pk_replies|replies\.job_id"):
            add_reply(connection, job_id)


def test_a_channel_has_one_open_conversation(any_engine):
    with any_engine.begin() as connection:
        add_conversation(connection)
        row = {"id": new_id(), "channel_id": 5, "started_at": 1.0}
        add(connection, "conversations", **{**row, "ended_at": 2.0})
        with pytest.raises(IntegrityError, match=r"uq_conversations_open|conversations\.channel"):
            add(connection, "conversations", **{**row, "id": new_id()})


def test_each_check_of_the_message_path_is_shown_to_bite():
    for table, shown in (("jobs", JOBS), ("messages", MESSAGES), ("replies", ["given_up"])):
        checks = {
            c.name.removeprefix(f"ck_{table}_")
            for c in TABLES[table].constraints
            if isinstance(c, CheckConstraint)
        }
        assert checks == set(shown)


def test_every_constraint_bears_a_name_that_a_migration_can_drop():
    unnamed = [
        constraint
        for table in TABLES.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint) and not constraint.name
    ]
    assert unnamed == []


def add(connection, table, **values):
    connection.execute(insert(TABLES[table]).values(values))


def add_job(connection, **values):
    row = {"id": new_id(), "kind": "generate", "requester_id": 1, "payload": {}}
    add(connection, "jobs", **row | values)
    return row["id"]


def add_conversation(connection):
    connection.execute(
        text("INSERT INTO channels (id, is_listening, created_at) VALUES (5, false, 1.0)")
    )
    conversation_id = new_id()
    add(connection, "conversations", id=conversation_id, channel_id=5, started_at=1.0)
    return conversation_id


def add_reply(connection, job_id, **values):
    row = {"process_name": "bot-0", "channel_id": 5, "trigger_id": 1, "locale": "en"}
    add(connection, "replies", job_id=job_id, **row, **values)
