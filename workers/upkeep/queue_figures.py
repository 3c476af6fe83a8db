"""What waits and who works, over all hosts, for monitoring."""

from collections import Counter

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.jobs.finding import ALL_GUILDS
from core.jobs.presence import alive
from core.jobs.queries import queue_states
from core.monitoring.figures.upkeep import OLDEST_QUEUED, QUEUED, WORKERS

_KINDS = ("bot", "generate", "finetune", "upkeep")


def renew_queue_figures(engine: Engine) -> None:
    """Read the figures of the ledger anew.

    Raises:
        SQLAlchemyError: the database cannot be reached; the figures stay as they were.
    """
    with Session(reading(engine)) as session:
        states = queue_states(session, ALL_GUILDS)
        counts = Counter(process.kind for process in alive(session))
    for state in states:
        QUEUED.labels(state.kind).set(state.queued)
        OLDEST_QUEUED.labels(state.kind).set(state.oldest_seconds or 0)
    for kind in _KINDS:
        WORKERS.labels(kind).set(counts[kind])
