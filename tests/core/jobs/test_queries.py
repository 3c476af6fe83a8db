import random
import time
from itertools import product

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.conversations.places import join_guild
from core.db.clock import epoch_now
from core.db.tables import Job
from core.errors import NotFoundError
from core.ids import first_id, new_id
from core.jobs.events import record
from core.jobs.finding import ALL_GUILDS, Filters, plan_page
from core.jobs.ledger import release, report_progress, succeed
from core.jobs.outbox import reap
from core.jobs.queries import count_states, list_jobs, queue_states, show_job
from core.jobs.states import JobKind, JobState
from core.jobs.steering import pause
from tests.core.corpora.helpers import add_version
from tests.core.jobs.jobs_of_guilds import GUILD, MEMBER, OTHER_GUILD, add_job, run
from tests.workers.ledger_helpers import claim_job, expire_lease, set_job


def ids(page):
    return [job.id for job in page.jobs]


def listed(engine, scope=GUILD, limit=10, before=None, **filters):
    return run(engine, list_jobs, scope, Filters(**filters), limit=limit, before=before)


@pytest.fixture
def mixed(any_engine):
    """Two guilds with jobs of every state and kind; returns their rows, the newest first."""
    for state in JobState:
        for kind in JobKind:
            for guild_id in (GUILD, OTHER_GUILD, None):
                add_job(any_engine, state, kind, guild_id, member=MEMBER + len(state) % 2)
    with Session(any_engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Job).order_by(Job.id.desc())))


def test_a_list_is_what_a_filter_of_all_rows_would_be(mixed, any_engine):
    scopes, states, kinds = (GUILD, OTHER_GUILD, 1, ALL_GUILDS), (None, *JobState), (None, *JobKind)
    for scope, state, kind, member in product(scopes, states, kinds, (None, MEMBER)):
        expected = [
            job.id
            for job in mixed
            if scope in (ALL_GUILDS, job.guild_id)
            and state in (None, job.state)
            and kind in (None, job.kind)
            and member in (None, job.requester_id)
        ]
        found, before, is_more = [], None, True
        while is_more:
            wanted = Filters(state=state, kind=kind, member_id=member)
            with Session(any_engine) as session:
                page = list_jobs(session, scope, wanted, limit=7, before=before)
            found += ids(page)
            before, is_more = page.next_before, page.next_before is not None
        assert found == expected, (scope, state, kind, member)


def test_counts_and_queues_end_at_the_wall(mixed, any_engine):
    assert run(any_engine, count_states, GUILD) == dict.fromkeys(JobState, 3)
    assert run(any_engine, count_states, ALL_GUILDS) == dict.fromkeys(JobState, 9)
    assert run(any_engine, count_states, 1) == dict.fromkeys(JobState, 0)
    queues = run(any_engine, queue_states, GUILD)
    assert [(q.kind, q.queued, q.running) for q in queues] == [(kind, 1, 1) for kind in JobKind]
    assert all(0 <= q.oldest_seconds < 60 for q in queues)
    assert [(q.queued, q.oldest_seconds) for q in run(any_engine, queue_states, 1)] == [
        (0, None)
    ] * 3


def test_every_identifier_of_another_guild_is_unknown(mixed, any_engine):
    for job in mixed:
        if job.guild_id == GUILD:
            assert run(any_engine, show_job, GUILD, job.id).summary.id == job.id
            continue
        with pytest.raises(NotFoundError):
            run(any_engine, show_job, GUILD, job.id)
        assert run(any_engine, show_job, ALL_GUILDS, job.id).summary.id == job.id


def newest_first(*job_ids):
    """Ids that share a millisecond have an order of chance, so it is that of the ids."""
    return sorted(job_ids, reverse=True)


def test_a_model_is_that_of_the_answer_and_that_of_the_fine_tune(any_engine):
    shared = add_version(any_engine, "parrot")
    own = add_version(any_engine, "coco", GUILD)
    theirs = add_version(any_engine, "coco", OTHER_GUILD)
    answer = add_job(any_engine, version_id=own)
    tune = add_job(any_engine, kind=JobKind.FINETUNE, model="coco")
    other = add_job(any_engine, version_id=shared)
    stray = add_job(any_engine, version_id=theirs)
    foreign = add_job(any_engine, guild_id=OTHER_GUILD, version_id=theirs)
    assert ids(listed(any_engine, model="coco")) == newest_first(tune, answer)
    assert ids(listed(any_engine, model="coco", member_id=MEMBER)) == newest_first(tune, answer)
    assert ids(listed(any_engine, model="coco", kind=JobKind.GENERATE)) == [answer]
    assert ids(listed(any_engine, model="parrot")) == [other]
    assert ids(listed(any_engine, model="dodo", kind=JobKind.GENERATE)) == []
    of_all = newest_first(foreign, stray, tune, answer)
    assert ids(listed(any_engine, ALL_GUILDS, model="coco")) == of_all
    names = {job.id: job.model for job in listed(any_engine).jobs}
    assert names == {answer: "coco", tune: "coco", other: "parrot", stray: None}


def test_a_search_for_a_model_goes_on_where_the_page_before_stopped_looking(
    any_engine, monkeypatch
):
    monkeypatch.setattr(plan_page, "__defaults__", (4,))
    version = add_version(any_engine, "coco", GUILD)
    old = [add_job(any_engine, version_id=version) for _ in range(2)]
    for _ in range(9):
        add_job(any_engine, version_id="x" * 20)
    young = [add_job(any_engine, kind=JobKind.FINETUNE, model="coco") for _ in range(3)]
    found, pages, before = [], [], None
    while not pages or before is not None:
        page = listed(any_engine, model="coco", limit=2, before=before)
        found, pages, before = [*found, *ids(page)], [*pages, len(page.jobs)], page.next_before
    assert sorted(found) == sorted([*old, *young])
    assert 0 in pages, "an empty page still leads on"


def test_since_and_the_first_characters_of_an_id_narrow_a_list(any_engine):
    old = add_job(any_engine)
    set_job(any_engine, old, created_at=epoch_now() - 3600)
    young = add_job(any_engine)
    assert ids(listed(any_engine, since=time.time() - 60)) == [young]
    assert ids(listed(any_engine, since=time.time() - 4000)) == [young, old]
    assert ids(listed(any_engine, since=time.time() - 60, state=JobState.QUEUED)) == [young]
    assert ids(listed(any_engine, id_prefix=old[:18])) == ([old] if old[:18] != young[:18] else [])
    assert ids(listed(any_engine, OTHER_GUILD, id_prefix=old)) == []
    assert ids(listed(any_engine, id_prefix="zz")) == []


def test_the_first_id_of_a_time_parts_the_ids_before_from_those_after():
    before = new_id()
    time.sleep(0.002)
    border = first_id(time.time())
    assert before < border <= new_id()
    assert first_id(time.time() + 0.002) > before
    for _ in range(200):
        seconds = random.uniform(0, 2**33)  # noqa: S311 - no secret
        assert first_id(seconds) <= first_id(seconds + 0.002)


def test_a_running_job_shows_its_progress_and_its_timeline(any_engine):
    job_id = add_job(any_engine, kind=JobKind.FINETUNE, options={"epochs": 2.0}, model="coco")
    taken = claim_job(any_engine, job_id, "finetune-host-1")
    run(any_engine, record, job_id, "started", steps=9)
    run(any_engine, report_progress, taken, {"step": 3, "steps": 9})
    detail = run(any_engine, show_job, GUILD, job_id)
    assert [entry.type for entry in detail.timeline] == ["submitted", "claimed", "started"]
    assert detail.timeline[2].data == {"steps": 9}
    assert detail.summary.progress == {"step": 3, "steps": 9}
    assert (detail.worker_id, detail.attempts, detail.place) == ("finetune-host-1", 1, None)
    assert (detail.options, detail.result) == ({"epochs": 2.0}, {})


def test_a_timeline_keeps_every_attempt_and_who_made_it(any_engine):
    job_id = add_job(any_engine)
    run(any_engine, release, claim_job(any_engine, job_id, "generate-a-1"))
    claim_job(any_engine, job_id, "generate-b-2")
    expire_lease(any_engine, job_id)
    run(any_engine, reap, max_crashes=4)
    run(any_engine, succeed, claim_job(any_engine, job_id, "generate-c-3"), {"tokens": 7})
    timeline = run(any_engine, show_job, GUILD, job_id).timeline
    kinds = ["submitted", "claimed", "released", "claimed", "lease_expired", "claimed", "succeeded"]
    assert [entry.type for entry in timeline] == kinds
    assert [entry.data for entry in timeline if entry.type == "claimed"] == [
        {"attempt": 1, "worker": "generate-a-1"},
        {"attempt": 2, "worker": "generate-b-2"},
        {"attempt": 3, "worker": "generate-c-3"},
    ]
    assert all("claim" not in entry.data for entry in timeline)


def test_an_attempt_that_was_the_last_is_told_once(any_engine):
    job_id = add_job(any_engine)
    claim_job(any_engine, job_id, "generate-a-1")
    expire_lease(any_engine, job_id)
    run(any_engine, reap, max_crashes=1)
    timeline = run(any_engine, show_job, GUILD, job_id).timeline
    kinds = [entry.type for entry in timeline]
    assert (kinds[:2], len(kinds)) == (["submitted", "claimed"], 4)
    assert timeline[1].data == {"attempt": 1, "worker": "generate-a-1"}


def test_a_failed_job_says_why_and_what_a_member_was_told_is_never_shown(any_engine):
    failed = run(any_engine, show_job, GUILD, add_job(any_engine, JobState.FAILED))
    assert (failed.summary.error_code, failed.error) == ("invalid-input", "Too odd.")
    assert failed.error_data == {"limit": 3}
    assert failed.timeline[-1].type == "failed"
    answered = run(any_engine, show_job, GUILD, add_job(any_engine, JobState.SUCCEEDED))
    assert answered.result == {"tokens": 7}
    assert "told" not in repr(answered)


def test_a_waiting_job_knows_its_place_among_all_who_wait_for_the_same_workers(any_engine):
    add_job(any_engine, guild_id=OTHER_GUILD)
    add_job(any_engine, kind=JobKind.FINETUNE)
    second = add_job(any_engine)
    time.sleep(0.002)
    third = add_job(any_engine)
    late = add_job(any_engine)
    set_job(any_engine, late, priority=5)
    places = [run(any_engine, show_job, GUILD, job_id).place for job_id in (second, third, late)]
    assert [(place.position, place.length) for place in places] == [(2, 4), (3, 4), (4, 4)]
    set_job(any_engine, late, priority=-1)
    assert run(any_engine, show_job, GUILD, late).place.position == 1


# A planner may take the index with or without the guild, where hardly anything is in a state.
INDEXES = (
    (GUILD, {}, "ix_jobs_guild_id_id"),
    (GUILD, {"state": JobState.FAILED}, "state_kind_id"),
    (GUILD, {"kind": JobKind.FINETUNE}, "state_kind_id"),
    (GUILD, {"model": "coco"}, "state_kind_id"),
    (GUILD, {"member_id": 5}, "requester_id_guild_id_id"),
    (ALL_GUILDS, {"state": JobState.FAILED}, "state_kind_id"),
    (ALL_GUILDS, {"kind": JobKind.FINETUNE}, "state_kind_id"),
    (ALL_GUILDS, {"member_id": 5}, "requester_id_guild_id_id"),
)


def test_a_paused_job_has_no_place_in_the_queue(any_engine):
    paused, waiting = add_job(any_engine), add_job(any_engine)
    run(any_engine, pause, paused)
    detail = run(any_engine, show_job, GUILD, paused)
    assert (detail.summary.is_paused, detail.place) == (True, None)
    assert run(any_engine, show_job, GUILD, waiting).place.length == 1


def test_lists_and_counts_are_read_from_an_index(any_engine):
    add_many(any_engine, 20_000)
    with Session(any_engine) as session:
        for scope, filters, index in INDEXES:
            search = plan_page(session, scope, Filters(**filters), 11, first_id(2e9))
            plan = explain(session, search.query)
            assert index in plan, (scope, filters, plan)
            assert "Seq Scan" not in plan
            assert "SCAN jobs" not in plan
        counts = select(Job.state).where(Job.guild_id == GUILD).group_by(Job.state)
        assert "ix_jobs_guild_id_state_kind_id" in explain(session, counts)


def add_many(engine, count):
    """Rows of many guilds, nearly all of them answers, and a planner that knows so."""
    run(engine, add_guilds)
    rows = [
        {
            "id": first_id(1e9 + number)[:10] + f"{number:010}",
            "kind": JobKind.FINETUNE if number % 501 == 0 else JobKind.GENERATE,
            "state": JobState.CANCELLED,
            "cancel_requested": True,
            "guild_id": GUILD + number % 400,
            "requester_id": number % 3000,
            "payload": {"version_id": "x" * 20},
            "finished_at": 1.0,
        }
        for number in range(count)
    ]
    with engine.begin() as connection:
        connection.execute(insert(Job.__table__), rows)
        connection.execute(text("ANALYZE"))


def add_guilds(session):
    for number in range(400):
        join_guild(session, GUILD + number, "guild", "en")


def explain(session, query):
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    dialect = sqlite.dialect() if is_sqlite else postgresql.dialect()
    options = {"literal_binds": True, "render_postcompile": True}
    statement = str(query.compile(dialect=dialect, compile_kwargs=options)).replace("%", "%%")
    words = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    rows = session.connection().exec_driver_sql(f"{words} {statement}")
    return "\n".join(str(row[-1]) for row in rows)
