import json

import pytest

from benchmarks import jobs
from tests.cli.running import perroquet


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """What a test wants to know does not need the rows of a measurement."""
    monkeypatch.setattr(jobs, "_QUICK_ROWS", 3000)
    monkeypatch.setattr(jobs, "_QUICK_ROUNDS", 3)


def test_every_question_is_measured_on_both_databases(monkeypatch, capsys):
    result = perroquet(monkeypatch, capsys, "bench", "jobs", "--quick", "--json")
    report = json.loads(result.out)
    assert (result.code, report["benchmark"], report["quick"]) == (0, "jobs", True)
    assert report["figures"]["rows"] == 3000
    for database in ("SQLite", "PostgreSQL"):
        timed = [v for k, v in report["figures"].items() if k.startswith(f"{database}, list")]
        assert len(timed) == 13
        assert all(0 < times["p50"] <= times["p99"] for times in timed)
    names = [goal["name"] for goal in report["goals"]]
    assert len(names) == 4
    assert all("3,000 jobs" in name for name in names)


def test_the_rows_are_what_the_questions_need(sqlite_engine):
    from sqlalchemy.orm import Session

    from benchmarks.jobs_rows import BIG_GUILD, Rows
    from core.jobs.finding import ALL_GUILDS, Filters
    from core.jobs.queries import count_states, list_jobs, show_job
    from core.jobs.states import JobKind, JobState

    rows = Rows(3000)
    jobs._fill(sqlite_engine, rows)
    with Session(sqlite_engine) as session:
        counts = count_states(session, ALL_GUILDS)
        assert sum(counts.values()) == 3000
        assert (counts[JobState.QUEUED], counts[JobState.RUNNING]) == (200, 64)
        assert counts[JobState.FAILED] > 0
        assert sum(count_states(session, BIG_GUILD).values()) == 1500
        tunes = list_jobs(session, ALL_GUILDS, Filters(kind=JobKind.FINETUNE), limit=9).jobs
        assert len(show_job(session, ALL_GUILDS, tunes[-1].id).timeline) > 20
        assert list_jobs(session, BIG_GUILD, Filters(model=rows.used_model)).jobs
        assert not list_jobs(session, BIG_GUILD, Filters(model=rows.idle_model)).jobs
