"""A search among training options: what is asked for, and what its trials found so far.

A search is a ``finetune`` job whose payload has ``search``. Each trial is a run of its own; what
they found are events of the job, so that the ledger alone tells a worker where to go on.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeGuard

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import JobEvent
from core.errors import InvalidInputError

SEARCH = "search"
TRIAL_BEGAN = "trial_began"
TRIAL_EVALUATED = "trial_evaluated"
TRIAL_ENDED = "trial_ended"
MOST_TRIALS = 100
DEFAULT_TRIALS = 8

Choice = str | int | float


class SearchError(InvalidInputError):
    """A search cannot be carried out as asked; ``data["option"]`` names what is wrong."""

    code = "training-option"


class NothingToJudgeByError(InvalidInputError):
    """A search compares its trials by documents that were held back, and none were."""

    code = "training-search-validation"

    def __init__(self) -> None:
        super().__init__(
            "A search judges its trials by documents held back for validation, and this corpus "
            "has none: give more text, a validation file or a share."
        )


class Sampler(StrEnum):
    """How the next trial's options are chosen.

    ``GRID`` takes all combinations in turn, ``RANDOM`` draws them, and ``BAYESIAN`` learns from
    the trials before (a tree-structured Parzen estimator).
    """

    GRID = "grid"
    RANDOM = "random"
    BAYESIAN = "bayesian"


class TrialState(StrEnum):
    """How a trial stands. A pruned one fell behind the others and was ended early."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Dimension:
    """The values that one option may take: some choices, or a range.

    Attributes:
        choices: of which one is taken; empty for a range.
        low, high: the ends of the range, both within it.
        is_log: whether the range is walked in equal ratios; else in equal distances.
    """

    choices: tuple[Choice, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False

    @property
    def ends(self) -> tuple[Choice, ...]:
        """The values that bound all others; whatever is wrong with one of them is found here."""
        return self.choices or (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.is_log}

    @classmethod
    def from_json(cls, option: str, values: Any) -> "Dimension":
        """``{"choices": […]}`` or ``{"low": …, "high": …, "log": true}``.

        Raises:
            SearchError: it is neither.
        """
        found = values if isinstance(values, dict) else {}
        choices = found.get("choices")
        if isinstance(choices, list | tuple) and choices and set(found) == {"choices"}:
            if not all(isinstance(one, str | int | float) for one in choices):
                raise SearchError(f"A choice of “{option}” is no value.", option=option)
            return cls(choices=tuple(choices))
        low, high = found.get("low"), found.get("high")
        if set(found) <= {"low", "high", "log"} and _is_number(low) and _is_number(high):
            is_log = bool(found.get("log", False))
            if low >= high or (is_log and low <= 0):
                raise SearchError(f"The range of “{option}” is empty.", option=option)
            return cls(low=float(low), high=float(high), is_log=is_log)
        raise SearchError(f"“{option}” needs choices or a range with low and high.", option=option)


# What changes most how well a small model learns, and costs nothing in time.
_DEFAULT_SPACES = {
    "lora": {
        "learning_rate": Dimension(low=5e-5, high=2e-3, is_log=True),
        "lora_rank": Dimension(choices=(8, 16, 32)),
    },
    "full": {
        "learning_rate": Dimension(low=1e-5, high=3e-4, is_log=True),
        "weight_decay": Dimension(choices=(0.0, 0.01, 0.1)),
    },
}


@dataclass(frozen=True)
class SearchSpec:
    """A bounded study.

    Attributes:
        trials: how many runs at most; a grid may have fewer combinations.
        sampler: how their options are chosen.
        space: the options that vary, by name; the other ones of the job hold for all trials.
    """

    trials: int
    sampler: Sampler
    space: dict[str, Dimension] = field(hash=False)

    @classmethod
    def make(
        cls,
        *,
        trials: int = DEFAULT_TRIALS,
        sampler: str = Sampler.BAYESIAN,
        space: dict[str, Any] | None = None,
        method: str = "lora",
    ) -> "SearchSpec":
        """A checked search; without a space that of the method.

        Raises:
            SearchError: there is no such sampler, a space is malformed, or the trials are too many.
        """
        if not _is_number(trials) or trials != int(trials) or not 1 < trials <= MOST_TRIALS:
            raise SearchError(f"A search has 2 to {MOST_TRIALS} trials.", option="trials")
        if sampler not in list(Sampler):
            known = ", ".join(Sampler)
            raise SearchError(f"“sampler” must be one of {known}.", option="sampler")
        if space is None:
            dimensions = dict(_DEFAULT_SPACES.get(method, _DEFAULT_SPACES["lora"]))
        else:
            dimensions = {name: Dimension.from_json(name, one) for name, one in space.items()}
        if not dimensions:
            raise SearchError("A search needs an option that varies.", option="space")
        return cls(int(trials), Sampler(sampler), dimensions)

    def to_json(self) -> dict[str, Any]:
        """For a job's payload."""
        space = {name: one.to_json() for name, one in self.space.items()}
        return {"trials": self.trials, "sampler": str(self.sampler), "space": space}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SearchSpec":
        """Read a job's payload.

        Raises:
            SearchError: it is malformed.
        """
        unknown = sorted(set(values) - {"trials", "sampler", "space"})
        if unknown:
            raise SearchError(f"A search has no “{unknown[0]}”.", option=unknown[0])
        return cls.make(**values)


@dataclass(frozen=True)
class Trial:
    """One run of a search, as far as it came.

    Attributes:
        number: from 0, in the order in which they began.
        options: the values that were chosen for it.
        state: how it stands.
        validation: losses in nats a token by step; step 0 is the base.
        loss: the lowest one once it ended; None before, and where it failed.
        seconds: of training, once it ended.
    """

    number: int
    options: dict[str, Choice]
    state: TrialState = TrialState.RUNNING
    validation: tuple[tuple[int, float], ...] = ()
    loss: float | None = None
    seconds: float | None = None


def read_trials(session: Session, job_id: str) -> list[Trial]:
    """The trials of a search, oldest first. A trial that went on from a checkpoint repeats steps;
    the newest word holds."""
    events = session.execute(
        select(JobEvent.type, JobEvent.data)
        .where(
            JobEvent.job_id == job_id,
            JobEvent.type.in_((TRIAL_BEGAN, TRIAL_EVALUATED, TRIAL_ENDED)),
        )
        .order_by(JobEvent.id)
    )
    began: dict[int, dict[str, Choice]] = {}
    points: dict[int, dict[int, float]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for kind, data in events:
        number = data["number"]
        if kind == TRIAL_BEGAN:
            began[number] = data["options"]
        elif kind == TRIAL_ENDED:
            ended[number] = data
        elif data["loss"] is not None:
            points.setdefault(number, {})[data["step"]] = data["loss"]
    return [
        Trial(
            number,
            options,
            TrialState(ended.get(number, {}).get("state", TrialState.RUNNING)),
            tuple(sorted(points.get(number, {}).items())),
            ended.get(number, {}).get("loss"),
            ended.get(number, {}).get("seconds"),
        )
        for number, options in sorted(began.items())
    ]


def best_trial(trials: list[Trial]) -> Trial | None:
    """The complete trial of the lowest loss, the earlier one of equals; None before the first."""
    complete = [one for one in trials if one.state is TrialState.COMPLETE and one.loss is not None]
    return min(complete, key=lambda one: (one.loss, one.number), default=None)


def _is_number(value: Any) -> TypeGuard[float]:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)
