"""What must hold once the dust has settled, read from SQL, Redis and the logs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.db.tables import Job, JobEvent, Message, Reply, Worker
from core.jobs.states import JobKind, JobState
from core.settings import Settings
from core.transport.names import broker_key, queue_of, stream_key

# XADD trims to whole nodes of a hundred entries.
_NODE_ENTRIES = 100


def heard_questions(engine: Engine) -> set[str]:
    """The Discord ids of the questions that stand in SQL."""
    with Session(reading(engine)) as session:
        ids = session.scalars(select(Message.discord_id).where(Message.role == "user"))
        return {str(discord_id) for discord_id in ids}


def judge_ledger(engine: Engine) -> list[str]:
    """Each question is one job, each job succeeded, each answer is written and shown once."""
    with Session(reading(engine)) as session:
        states = Counter(session.scalars(select(Job.state)))
        roles = Counter(session.scalars(select(Message.role)))
        owed = session.scalar(select(func.count()).where(Reply.delivered_at.is_(None)))
        given_up = session.scalar(select(func.count()).where(Reply.undeliverable.is_not(None)))
    wrong = [f"{n} jobs are {s}" for s, n in states.items() if s != JobState.SUCCEEDED]
    if not states.total() == roles["user"] == roles["assistant"]:
        wrong.append(f"{roles['user']} questions, {states.total()} jobs, {roles['assistant']} said")
    if owed or given_up:
        wrong.append(f"{owed} replies are owed, {given_up} were given up")
    return wrong


def judge_redis(settings: Settings) -> list[str]:
    """No queue and no stream grows."""
    prefix = settings.redis.key_prefix
    with redis.Redis.from_url(settings.redis.url) as client:
        waiting = client.llen(broker_key(prefix, queue_of(JobKind.GENERATE)))
        entries = client.xlen(stream_key(prefix, settings.discord.process_name))
    wrong = [f"{waiting} hints wait for nothing"] if waiting else []
    if entries > settings.redis.stream_max_entries + _NODE_ENTRIES:
        wrong.append(f"the stream has {entries} entries")
    return wrong


def count_events(engine: Engine, log_file: Path) -> dict[str, Any]:
    """How often the ledger's safeguards were needed."""
    with Session(reading(engine)) as session:
        told = Counter(session.scalars(select(JobEvent.type)))
        tokens = Counter(session.scalars(select(Job.token).where(Job.token > 1)))
        processes = session.scalar(select(func.count()).select_from(Worker))
    logged: Counter[str] = Counter()
    for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            logged[json.loads(line)["event"]] += 1
        except (ValueError, TypeError, KeyError):
            continue
    return {
        "leases that ran out": told["lease_expired"],
        "jobs given back by drains": told["released"],
        "jobs claimed again": tokens.total(),
        "writes fenced off": logged["lease_lost"],
        "relay rounds with hints sent again": logged["relayed"],
        "failed jobs in the log": logged["job_failed"] + logged["job_failed_unforeseen"],
        "rows of processes": processes,
    }
