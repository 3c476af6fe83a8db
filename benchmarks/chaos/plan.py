"""What goes wrong when: a schedule that follows from its seed."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

_FIRST_SECONDS = 3.0


class Fault(StrEnum):
    """What can go wrong."""

    KILL_WORKER = "kill -9 of a worker"
    KILL_UPKEEP = "kill -9 of upkeep"
    KILL_BOT = "kill -9 of the bot"
    DRAIN_WORKER = "SIGTERM of a worker"
    FREEZE_WORKER = "SIGSTOP of a worker past its lease"
    LOSE_VALKEY = "Valkey killed, its data lost"
    DROP_GATEWAY = "gateway dropped"
    INVALIDATE_SESSION = "session invalidated"
    REFUSE_REST = "REST answers 429"
    BREAK_REST = "REST answers 5xx"
    LOSE_REST = "REST does it and answers 5xx"


@dataclass(frozen=True)
class Plan:
    """One chaos run.

    Attributes:
        seed: chooses the order of the faults and their victims.
        seconds: how long things go wrong.
        database: ``sqlite`` or ``postgresql``.
        log_file: where what the processes said is kept; None for nowhere.
        gap_seconds: the shortest and the longest time between two faults.
    """

    seed: int
    seconds: float
    database: str = "sqlite"
    log_file: Path | None = None
    gap_seconds: tuple[float, float] = (1.5, 3.5)

    def schedule(self) -> list[tuple[float, Fault, int]]:
        """Seconds from the start, what happens, and a number that chooses its victim.

        Every fault comes once before any comes a second time.
        """
        rng = Random(self.seed)  # noqa: S311 - chosen to be repeated, not to be secret
        planned: list[tuple[float, Fault, int]] = []
        waiting: list[Fault] = []
        at = _FIRST_SECONDS
        while at < self.seconds:
            waiting = waiting or rng.sample(list(Fault), len(Fault))
            planned.append((at, waiting.pop(), rng.randrange(1000)))
            at += rng.uniform(*self.gap_seconds)
        return planned
