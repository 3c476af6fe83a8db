"""Many adapters in one batch, beside the base without them and beside PEFT's ``adapter_names``.

A GPT-2 of 124M with random weights and adapters of rank 16 on all its linear layers; each answer
decodes behind a context of 200 tokens. Every count runs in a process of its own, in which the
contenders take turns; figures are medians over the rounds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.adapters_model import save_base_and_adapter

# Of the base's tokens a second, at a context of 200 tokens.
_GOALS_OVER_BASE = {1: 0.98, 8: 0.93, 32: 0.85, 128: 0.7}
_GOAL_OVER_PEFT = 2.0
_PEFT_FROM = 32
_GOAL_SECOND_TURN = 0.25
_TIMEOUT_SECONDS = 1800


def run(*, quick: bool) -> dict[str, Any]:
    """The figures of every count of adapters, and the goals."""
    counts = (1, 8) if quick else tuple(_GOALS_OVER_BASE)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_base_and_adapter(Path(folder))
        for count in counts:
            figures[f"{count} adapters"] = _run("batch", folder, str(count), quick=quick)
        figures["second turn"] = _run("turn", folder, quick=quick)
        figures["swap"] = _run("swap", folder, quick=quick)
    goals = [goal for count in counts for goal in _goals_of(count, figures[f"{count} adapters"])]
    share = figures["second turn"]["share"]
    goals.append(
        {
            "name": "an adapter's second turn: time to first token",
            "value": share,
            "unit": "of the time without reuse",
            "goal": _GOAL_SECOND_TURN,
            "met": share <= _GOAL_SECOND_TURN,
        }
    )
    return {"figures": figures, "goals": goals}


def _goals_of(count: int, figures: dict[str, float]) -> list[dict[str, Any]]:
    wanted = [("share_of_base", f"{count} adapters", "of the base", _GOALS_OVER_BASE[count])]
    if count >= _PEFT_FROM:
        wanted.append(("times_peft", f"{count} adapters over PEFT", "times", _GOAL_OVER_PEFT))
    return [
        {
            "name": f"tokens a second with {name}",
            "value": figures[key],
            "unit": unit,
            "goal": goal,
            "met": figures[key] >= goal,
        }
        for key, name, unit, goal in wanted
    ]


def _run(what: str, *arguments: str, quick: bool) -> dict[str, float]:
    """Run a measurement in a process of its own; its last line is JSON."""
    size = "quick" if quick else "full"
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.adapters_run", what, size, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
