"""What goes wrong when: a schedule that follows from its seed."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

_FIRST_SECONDS = 3.0


class Fault(StrEnum):
    """What can go wrong."""

    KILL_WORKER = "kill -9 of a generation worker"
    KILL_UPKEEP = "kill -9 of upkeep"
    KILL_BOT = "kill -9 of the bot"
    KILL_BOT_POSTING = "kill -9 of the bot as its post arrives"
    KILL_FINETUNER = "kill -9 of the fine-tuning worker"
    KILL_TRAINER = "kill -9 of the trainer child"
    DRAIN_WORKER = "SIGTERM of a generation worker"
    DRAIN_UPKEEP = "SIGTERM of upkeep"
    DRAIN_FINETUNER = "SIGTERM of the fine-tuning worker"
    ROLL_BOT = "SIGTERM of the bot once the next is there"
    FREEZE_WORKER = "SIGSTOP of a generation worker past its lease"
    FREEZE_FINETUNER = "SIGSTOP of the fine-tuning worker past its lease"
    LOSE_VALKEY = "Valkey killed, its data lost"
    DROP_REDIS = "connections to Valkey dropped"
    FREEZE_REDIS = "sockets to Valkey frozen"
    SWALLOW_REDIS = "sockets to Valkey silent for ever"
    RESTART_DATABASE = "PostgreSQL restarted"
    DROP_DATABASE = "connections to PostgreSQL dropped"
    FREEZE_DATABASE = "sockets to PostgreSQL frozen past a lease"
    LOCK_DATABASE = "SQLite locked past a lease"
    DROP_GATEWAY = "gateway dropped (RESUME)"
    INVALIDATE_SESSION = "session invalidated"
    REFUSE_REST = "REST answers 429"
    BREAK_REST = "REST answers 5xx"
    LOSE_REST = "REST does it and answers 5xx"
    LOSE_POST = "REST posts a message and answers 5xx"
    FILL_DISK = "disk under the store full"
    TAKE_LEASES = "leases taken from living workers"
    CLOCK_FORWARD = "wall clock an hour forward"
    CLOCK_BACK = "wall clock an hour back"


_OF_SQLITE = {Fault.LOCK_DATABASE}
_OF_POSTGRESQL = {Fault.RESTART_DATABASE, Fault.DROP_DATABASE, Fault.FREEZE_DATABASE}


@dataclass(frozen=True)
class Plan:
    """One chaos run.

    Attributes:
        seed: chooses the order of the faults and their victims.
        seconds: how long things go wrong.
        database: ``sqlite`` or ``postgresql``.
        log_file: where what the processes said is kept; None for nowhere.
        gap_seconds: the shortest and the longest time between two faults.
        ask_seconds: the time between two questions.
        finetunes: fine-tunes that are asked for, evenly over the run.
        with_doomed: whether one more is asked for whose trainer is killed whenever it starts.
        poisons: questions that kill the worker that answers them.
        finetune_steps: how long each of them learns.
        max_crashes: of a job before it has failed. Faults come here a thousand times as often as in
            life, so that an innocent job is easily hit a dozen times: on a busy machine a trainer
            starts for longer than it takes until the next fault. Poison crashes as often before it
            is given up.
        left_out: faults that this machine cannot do.
    """

    seed: int
    seconds: float
    database: str = "sqlite"
    log_file: Path | None = None
    gap_seconds: tuple[float, float] = (2.5, 5.5)
    ask_seconds: float = 0.3
    finetunes: int = 2
    with_doomed: bool = True
    poisons: int = 2
    finetune_steps: int = 120
    max_crashes: int = 24
    left_out: frozenset[Fault] = field(default_factory=frozenset)

    @property
    def faults(self) -> list[Fault]:
        """The faults of this run, in a fixed order."""
        others = _OF_POSTGRESQL if self.database == "sqlite" else _OF_SQLITE
        return [fault for fault in Fault if fault not in others | self.left_out]

    def schedule(self) -> list[tuple[float, Fault, int]]:
        """Seconds from the start, what happens, and a number that chooses its victim.

        Every fault comes once before any comes a second time.
        """
        rng = Random(self.seed)  # noqa: S311 - chosen to be repeated, not to be secret
        planned: list[tuple[float, Fault, int]] = []
        waiting: list[Fault] = []
        at = _FIRST_SECONDS
        while at < self.seconds:
            waiting = waiting or rng.sample(self.faults, len(self.faults))
            planned.append((at, waiting.pop(), rng.randrange(1000)))
            at += rng.uniform(*self.gap_seconds)
        return planned
