"""Each statement of the message path finds its rows by an index, however many rows there are.

The real functions run once; what they sent to the database is then explained with its parameters.
Five thousand jobs and messages by default, a million with ``HOT_QUERIES_PROFILE=long``.
"""

import os
from contextlib import contextmanager

import pytest
from sqlalchemy import event, func, insert, literal, select, text, type_coerce
from sqlalchemy.orm import Session

from core.conversations.answers import _HISTORY
from core.conversations.replies import (
    find_reply,
    finished_replies,
    is_asked_still,
    mark_delivered,
    owed_replies,
    record_parts,
)
from core.db.statements import run
from core.db.tables import Base
from core.jobs.ledger import Claim, claim, is_set_apart, release, renew, report_progress, succeed
from core.jobs.outbox import mark_dispatched, never_sent, reap, sent_long_ago
from core.jobs.states import JobKind

TABLES = Base.metadata.tables
ENDED = 1_000_000 if os.environ.get("HOT_QUERIES_PROFILE") == "long" else 5_000
WAITING, RUNNING = "w" * 20, "r" * 20
HELD = Claim(RUNNING, 1, JobKind.GENERATE, 0, {}, None, None, 1)
QUERIES = {
    "claim": lambda s: claim(s, WAITING, "v", 30.0),
    "is_set_apart": lambda s: is_set_apart(s, WAITING, 2),
    "renew": lambda s: renew(s, "w", 30.0, [RUNNING]),
    "report_progress": lambda s: report_progress(s, HELD, {}),
    "succeed": lambda s: succeed(s, HELD, {}),
    "release": lambda s: release(s, HELD),
    "mark_dispatched": lambda s: mark_dispatched(s, [WAITING]),
    "reap": lambda s: reap(s, max_crashes=4),
    "never_sent": lambda s: never_sent(s, grace_seconds=1.0, limit=500),
    "sent_long_ago": lambda s: sent_long_ago(s, age_seconds=1.0, limit=500),
    "find_reply": lambda s: find_reply(s, WAITING),
    "is_asked_still": lambda s: is_asked_still(s, 1),
    "owed_replies": lambda s: owed_replies(s, ("bot-0",)),
    "finished_replies": lambda s: finished_replies(s, ("bot-0",)),
    "record_parts": lambda s: record_parts(s, WAITING, [1]),
    "mark_delivered": lambda s: mark_delivered(s, WAITING, [1]),
    "history": lambda s: run(s, _HISTORY, conversation="c" * 20, message=2**40, most=60).all(),
}


@pytest.mark.timeout(1800)
def test_each_hot_query_finds_its_rows_by_an_index(any_engine):
    fill(any_engine)
    plans = {name: explain(any_engine, act) for name, act in QUERIES.items()}
    scans = {name: p for name, found in plans.items() for p in found if not is_search(p)}
    assert scans == {}
    if any_engine.dialect.name == "postgresql":
        assert scanned_in_many_runs(any_engine) == []
    without = text("SELECT id FROM jobs WHERE error = 'x'")
    (plan,) = explain(any_engine, lambda s: s.execute(without))
    assert not is_search(plan), "this one must be noticed"


def scanned_in_many_runs(engine):
    """PostgreSQL may turn to one plan for all parameters once a statement was run a few times."""
    with Session(engine) as session, session.begin():
        for _ in range(8):
            never_sent(session, grace_seconds=1.0, limit=500)
            reap(session, max_crashes=4)
        scanned = text("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0")
        return list(session.scalars(scanned))


def fill(engine):
    """Many jobs that have ended, one that waits and one that runs, each with its reply."""
    jobs = {"state": "cancelled", "cancel_requested": True, "finished_at": 1.0}
    held = {"worker_id": "w", "token": 1, "lease_until": 1e12, "started_at": 1.0}
    common = {"kind": "generate", "requester_id": 1, "payload": {}}
    reply = {"process_name": "bot-0", "channel_id": 5, "trigger_id": 1, "locale": "en"}
    said = {"role": "user", "author_id": 1, "author_name": "x", "content": "x"}
    with engine.begin() as connection:
        insert_many(connection, "jobs", common | jobs, id=job_id)
        connection.execute(insert(TABLES["jobs"]), common | {"id": WAITING})
        connection.execute(
            insert(TABLES["jobs"]), common | {"id": RUNNING, "state": "running"} | held
        )
        insert_many(connection, "replies", reply | {"delivered_at": 1.0}, job_id=job_id)
        owed = [reply | {"job_id": job_id} for job_id in (WAITING, RUNNING)]
        connection.execute(insert(TABLES["replies"]), owed)
        ids = [f"{'c' * 19}{n}" if n else "c" * 20 for n in range(10)]
        for n, conversation_id in enumerate(ids):
            connection.execute(insert(TABLES["channels"]), {"id": n})
            row = {"id": conversation_id, "channel_id": n}
            connection.execute(insert(TABLES["conversations"]), row)
        for n, conversation_id in enumerate(ids):
            row = said | {"conversation_id": conversation_id}
            insert_many(connection, "messages", row, share=(n, len(ids)))
        if engine.dialect.name == "postgresql":
            # Its autovacuum does so; SQLite is as ours is in use, without statistics.
            connection.execute(text("ANALYZE"))


def insert_many(connection, name, row, share=(0, 1), **by_number):
    """Rows that the database makes itself: as many as have ended, or every so many-th of them."""
    first, step = share
    if connection.dialect.name == "postgresql":
        number = select(func.generate_series(first, ENDED - 1, step).label("n")).subquery().c.n
    else:
        counted = select(literal(first).label("n")).cte(recursive=True)
        more = select(counted.c.n + step).where(counted.c.n + step < ENDED)
        number = counted.union_all(more).c.n
    columns = TABLES[name].c
    values = {
        key: type_coerce(literal(value, columns[key].type), columns[key].type).label(key)
        for key, value in row.items()
    }
    values |= {key: make(connection, number).label(key) for key, make in by_number.items()}
    chosen = select(*values.values()).select_from(number.table)
    connection.execute(insert(TABLES[name]).from_select(list(values), chosen))


def job_id(connection, number):
    """Twenty digits."""
    if connection.dialect.name == "postgresql":
        return func.to_char(number, literal("FM00000000000000000000"))
    return func.printf("%020d", number)


def explain(engine, act):
    """The plan of each statement that ``act`` runs, but for the appending of rows."""
    words = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    with Session(engine) as session, listening(session) as statements:
        act(session)
        statements = [s for s in list(statements) if not s[0].startswith("INSERT")]
        plans = []
        for statement, parameters in statements:
            rows = session.connection().exec_driver_sql(words + statement, parameters)
            plans.append("\n".join(str(row[-1]) for row in rows))
        session.rollback()
    assert plans
    return plans


@contextmanager
def listening(session):
    """What is sent to the database meanwhile."""
    heard = []
    connection = session.connection()

    def hear(_connection, _cursor, statement, parameters, _context, _many):
        heard.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(connection, "before_cursor_execute", hear)


def is_search(plan):
    """Whether an index leads to the rows, instead of each row being looked at."""
    if "Scan" in plan:
        return "Seq Scan" not in plan
    lines = [line for line in plan.splitlines() if line.startswith(("SEARCH", "SCAN"))]
    partial = ("ix_jobs_owed", "ix_jobs_leases", "ix_replies_owed")
    return all(line.startswith("SEARCH") or line.endswith(partial) for line in lines)
