"""What the generation benchmark wants to see, as ratios to peers of the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]
# int16 is as exact as float16: see docs/log.md for the perplexity of each.
_EXACT = ("perroquet_float32", "perroquet_float16", "perroquet_int16")
_INT8 = ("perroquet_int8",)
_SPEED = "tokens_per_second"
_FIRST_MEAN = "first_token_mean_seconds"
_FIRST_P95 = "first_token_p95_seconds"


@dataclass(frozen=True)
class _Goal:
    """One of ours over a peer's figure; ``is_least`` where less is better.

    Of several kinds of weights the one counts that makes most tokens a second there, so that speed
    is not one kind's and memory another's.
    """

    count: int
    ours: tuple[str, ...]
    peer: str
    figure: str
    goal: float
    is_least: bool = False


_GOALS = (
    _Goal(16, _EXACT, "generate_one_by_one", _SPEED, 5.0),
    _Goal(16, _EXACT, "vllm", _SPEED, 1.25),
    _Goal(16, _INT8, "vllm", _SPEED, 1.6),
    _Goal(64, _EXACT, "transformers_continuous", _SPEED, 4.0),
    _Goal(64, _EXACT, "vllm", _SPEED, 1.25),
    _Goal(1, ("perroquet_float32",), "vllm", _SPEED, 1.0),
    _Goal(1, _INT8, "generate_one_by_one", _SPEED, 2.0),
    *(
        _Goal(count, _EXACT, "vllm", figure, 1.0, is_least=True)
        for count in (16, 64)
        for figure in (_FIRST_MEAN, _FIRST_P95)
    ),
    *(_Goal(count, _EXACT, "vllm", "resident_mb", 0.4, is_least=True) for count in (16, 64)),
)


def judge(figures: Figures, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Each goal of the request counts that were run; without its peer it is neither met nor missed.

    Args:
        figures: by ``"NAME, COUNT requests"``, a dictionary of figures or a word on why there
            is none.
        counts: the numbers of requests that were run.
    """
    return [_judge(figures, goal) for goal in _GOALS if goal.count in counts]


def judged(count: int) -> set[str]:
    """The contenders that the goals for a number of requests speak of."""
    goals = [goal for goal in _GOALS if goal.count == count]
    return {name for goal in goals for name in (*goal.ours, goal.peer)}


def figure_name(contender: str, count: int) -> str:
    """Under what a contender's figures stand."""
    return f"{contender}, {count} requests"


def _judge(figures: Figures, goal: _Goal) -> dict[str, Any]:
    ratio = _ratio(figures, goal)
    is_met = None
    if ratio is not None:
        is_met = ratio <= goal.goal if goal.is_least else ratio >= goal.goal
    weights = "/".join(name.removeprefix("perroquet_") for name in goal.ours)
    return {
        "name": f"{goal.count} requests, {weights}: {goal.figure} over {goal.peer}",
        "value": "not measured" if ratio is None else round(ratio, 2),
        "unit": "times",
        "goal": goal.goal,
        "met": is_met,
    }


def _ratio(figures: Figures, goal: _Goal) -> float | None:
    peer = figures.get(figure_name(goal.peer, goal.count))
    ours = [figures.get(figure_name(name, goal.count)) for name in goal.ours]
    measured = [own for own in ours if isinstance(own, Mapping)]
    if not isinstance(peer, Mapping) or not measured:
        return None
    fastest = max(measured, key=lambda own: float(own[_SPEED]))
    return float(fastest[goal.figure]) / float(peer[goal.figure])
