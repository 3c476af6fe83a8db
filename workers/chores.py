"""What a worker process does again and again beside its jobs."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)


@dataclass
class Chore:
    """Something done again and again."""

    name: str
    interval_seconds: float
    run: Callable[[], object]
    due_at: float = field(default=0.0)


def start_later(rounds: dict[str, list[Chore]], ended: threading.Event) -> list[threading.Thread]:
    """A thread for each round of chores, which waits for no other's; none is started yet."""
    return [
        threading.Thread(target=_run_chores_or_end, args=(chores, ended), name=name)
        for name, chores in rounds.items()
    ]


def _run_chores_or_end(chores: list[Chore], ended: threading.Event) -> None:
    """Run the chores; a defect in one ends the process, so that its supervisor starts it anew."""
    try:
        run_chores(chores, ended)
    except Exception:
        log.exception("chores_ended")
        os.kill(os.getpid(), signal.SIGTERM)


def run_chores(chores: list[Chore], ended: threading.Event) -> None:
    """Run each chore when it is due, until ``ended`` is set.

    While SQL is away the chores are skipped and tried again at their next time.
    """
    is_reachable = True
    while not ended.is_set():
        for chore in chores:
            if time.monotonic() < chore.due_at:
                continue
            chore.due_at = time.monotonic() + chore.interval_seconds
            try:
                chore.run()
                is_reachable = True
            except SQLAlchemyError as exc:
                if is_reachable:
                    log.warning("chore_failed", chore=chore.name, error=type(exc).__name__)
                is_reachable = False
        ended.wait(max(0.0, min(c.due_at for c in chores) - time.monotonic()))
