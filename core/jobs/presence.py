"""Which processes are alive: rows that each of them renews."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.db.clock import epoch_now
from core.db.statements import count_changed, insert_missing
from core.db.tables import Worker

# A process renews its row every few seconds: one that missed this long is taken for gone.
ALIVE_SECONDS = 30.0
# What was seen later than this was seen before the database's clock went back.
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Presence:
    """A process that was seen lately. ``info`` says host, pid, device and what it serves."""

    id: str
    kind: str
    info: dict[str, Any]
    age_seconds: float


def announce(session: Session, worker_id: str, kind: str, info: dict[str, Any]) -> None:
    """Say that a process is alive."""
    changed = count_changed(
        session,
        update(Worker).where(Worker.id == worker_id).values(info=info, seen_at=epoch_now()),
    )
    if not changed:
        insert_missing(session, Worker.id, id=worker_id, kind=kind, info=info)


def withdraw(session: Session, worker_id: str) -> None:
    """Say that a process has ended in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def alive(session: Session, *, within_seconds: float = ALIVE_SECONDS) -> list[Presence]:
    """The processes seen within the last ``within_seconds``, by kind and id."""
    age = epoch_now() - Worker.seen_at
    rows = session.execute(
        select(Worker.id, Worker.kind, Worker.info, age)
        .where(age <= within_seconds, age >= -_CLOCK_SECONDS)
        .order_by(Worker.kind, Worker.id)
    )
    return [Presence(*row) for row in rows]


def forget_silent(session: Session, *, silent_seconds: float) -> int:
    """Delete the rows of processes that fell silent; returns how many."""
    return count_changed(
        session, delete(Worker).where(Worker.seen_at < epoch_now() - silent_seconds)
    )
