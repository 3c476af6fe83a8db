"""What must hold once the dust has settled, read from SQL, Redis and the logs."""

import json
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.db.tables import Job, JobEvent, Message, Reply, Worker
from core.jobs.outbox import ERROR_CODE_CRASHED
from core.jobs.states import FINAL_STATES, JobKind, JobState
from core.settings import Settings
from core.transport.names import PRIORITIES, broker_key, queue_of, stream_key

# XADD trims to whole nodes of a hundred entries.
_NODE_ENTRIES = 100
_SHOWN = 5


def heard_questions(engine: Engine) -> set[str]:
    """The Discord ids of the questions that stand in SQL."""
    with Session(reading(engine)) as session:
        ids = session.scalars(select(Message.discord_id).where(Message.role == "user"))
        return {str(discord_id) for discord_id in ids}


def open_answers(engine: Engine) -> int:
    """How many answers are not made or not shown."""
    with Session(reading(engine)) as session:
        running = select(func.count()).where(
            Job.kind == JobKind.GENERATE, Job.state.not_in(FINAL_STATES)
        )
        owed = select(func.count()).where(Reply.delivered_at.is_(None))
        return (session.scalar(running) or 0) + (session.scalar(owed) or 0)


def judge_answers(engine: Engine, poisons: Set[str]) -> list[str]:
    """Each question is one job that ended as it must, and each answer is written and shown once."""
    with Session(reading(engine)) as session:
        jobs = session.execute(
            select(Job.id, Job.state, Job.error_code, Job.crashes, Reply.trigger_id).join(
                Reply, Reply.job_id == Job.id
            )
        ).all()
        count = session.scalar(select(func.count()).where(Job.kind == JobKind.GENERATE))
        roles = Counter(session.scalars(select(Message.role)))
        owed = session.scalar(select(func.count()).where(Reply.delivered_at.is_(None)))
        given_up = session.scalar(select(func.count()).where(Reply.undeliverable.is_not(None)))
    wrong = []
    for job in jobs:
        is_poison = str(job.trigger_id) in poisons
        crashed, well = (JobState.FAILED, ERROR_CODE_CRASHED), (JobState.SUCCEEDED, None)
        expected = crashed if is_poison else well
        if (job.state, job.error_code) != expected:
            what = "poisoned" if is_poison else "innocent"
            wrong.append(
                f"the {what} job {job.id} is {job.state} {job.error_code}, {job.crashes} crashes"
            )
    poisoned = sum(str(job.trigger_id) in poisons for job in jobs)
    if not len(jobs) == count == roles["user"] == roles["assistant"] + poisoned:
        wrong.append(
            f"{roles['user']} questions, {count} jobs, {len(jobs)} replies, "
            f"{roles['assistant']} said, {poisoned} poisoned"
        )
    if owed or given_up:
        wrong.append(f"{owed} replies are owed, {given_up} were given up")
    return _shortened(wrong)


def judge_redis(settings: Settings, url: str) -> list[str]:
    """No queue and no stream grows, seen at ``url``."""
    prefix = settings.redis.key_prefix
    wrong = []
    with redis.Redis.from_url(url) as client:
        for kind in JobKind:
            keys = [broker_key(prefix, queue_of(kind), number) for number in PRIORITIES]
            waiting = sum(client.llen(key) for key in keys)
            if waiting:
                wrong.append(f"{waiting} hints of {kind} wait for nothing")
        entries = client.xlen(stream_key(prefix, settings.discord.process_name))
    if entries > settings.redis.stream_max_entries + _NODE_ENTRIES:
        wrong.append(f"the stream has {entries} entries")
    return wrong


def count_events(engine: Engine, log_file: Path) -> dict[str, Any]:
    """How often the ledger's safeguards were needed."""
    with Session(reading(engine)) as session:
        told = Counter(session.scalars(select(JobEvent.type)))
        tokens = Counter(session.scalars(select(Job.token).where(Job.token > 1)))
        processes = session.scalar(select(func.count()).select_from(Worker))
        begun = session.scalars(select(JobEvent.data).where(JobEvent.type == "started"))
        resumed = sum(data["step"] > 0 for data in begun)
    logged = _logged(log_file)
    return {
        "leases that ran out": told["lease_expired"],
        "jobs given back by drains": told["released"],
        "jobs claimed again": tokens.total(),
        "jobs given up by workers that lost them": logged["lease_lost"],
        "writes fenced off": logged["write_fenced"],
        "leases shortened after the clock went back": logged["leases_shortened"],
        "relay rounds with hints sent again": logged["relayed"],
        "trainers that went on from a checkpoint": resumed,
        "waits for a store that was full": logged["store_awaited"],
        "failed jobs in the log": logged["job_failed"] + logged["job_failed_unforeseen"],
        "rows of processes": processes,
    }


def unforeseen(log_file: Path) -> list[str]:
    """What the processes said of defects of their own."""
    told = []
    for name, count in _logged(log_file).items():
        if name in _DEFECTS:
            told.append(f"{count} times {name} in the log")
    return told


_DEFECTS = {
    "job_failed_unforeseen",
    "chores_ended",
    "heartbeat_ended",
    "reply_task_failed",
    "board_defect",
    "sweep_failed_unforeseen",
}


def _logged(log_file: Path) -> Counter[str]:
    logged: Counter[str] = Counter()
    for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            logged[json.loads(line)["event"]] += 1
        except (ValueError, TypeError, KeyError):
            continue
    return logged


def _shortened(wrong: list[str]) -> list[str]:
    more = len(wrong) - _SHOWN
    return wrong if more <= 0 else [*wrong[:_SHOWN], f"and {more} more like these"]
