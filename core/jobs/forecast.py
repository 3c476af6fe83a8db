"""When a waiting job is likely to begin, from how long its kind took lately and who works."""

import heapq
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.tables import Job
from core.jobs.presence import alive
from core.jobs.states import JobKind, JobState

_LOOKED_AT = 20
# A longer queue is only counted, not played through.
_MOST_PLAYED = 2000
# Which process does a kind of work; the others bear the kind's own name.
_WORKER_OF = {JobKind.VALIDATE: "upkeep"}


def expected_wait(session: Session, kind: JobKind, ahead: int) -> float | None:
    """Seconds until a job begins before which ``ahead`` others of its kind wait.

    The queue is played through: each slot of a living worker takes the next job as soon as it is
    free, and each job lasts as long as the median of the newest ones that went well. A running job
    that says how long it still takes is believed. Figures of all servers count, and name none.

    Returns:
        None where no worker is alive, or where nothing has gone well yet to judge by.
    """
    usual = _usual_seconds(session, kind)
    slots = count_slots(session, kind)
    if usual is None or not slots:
        return None
    left = sorted(_seconds_left(session, kind, usual, limit=slots))
    free_at = [0.0] * (slots - len(left)) + left
    heapq.heapify(free_at)
    played = min(ahead, _MOST_PLAYED)
    for _ in range(played):
        heapq.heapreplace(free_at, free_at[0] + usual)
    return free_at[0] + (ahead - played) * usual / slots


def _usual_seconds(session: Session, kind: JobKind) -> float | None:
    newest = (
        select(Job.started_at, Job.finished_at)
        .where(Job.state == JobState.SUCCEEDED, Job.kind == kind)
        .order_by(Job.id.desc())
        .limit(_LOOKED_AT)
    )
    lasted = [row.finished_at - row.started_at for row in session.execute(newest) if row.started_at]
    return median(lasted) if lasted else None


def count_slots(session: Session, kind: JobKind) -> int:
    """How many jobs of a kind can run at a time, over all living workers."""
    worker_kind = _WORKER_OF.get(kind, str(kind))
    processes = alive(session)
    return sum(int(p.info.get("slots", 1)) for p in processes if p.kind == worker_kind)


def _seconds_left(session: Session, kind: JobKind, usual: float, *, limit: int) -> list[float]:
    running = session.execute(
        select(epoch_now() - Job.started_at, Job.result)
        .where(Job.state == JobState.RUNNING, Job.kind == kind)
        .order_by(Job.id)
        .limit(limit)
    )
    return [_left(age or 0.0, result, usual) for age, result in running]


def _left(age_seconds: float, result: dict[str, Any] | None, usual: float) -> float:
    told = ((result or {}).get("progress") or {}).get("seconds_left")
    if isinstance(told, int | float):
        return float(told)
    return max(0.0, usual - age_seconds)
