"""``perroquet bench chaos``: the real processes under seeded faults; nothing lost, nothing twice.

``perroquet bench chaos --seed N --minutes M --database postgresql --json`` chooses a run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.chaos.plan import Plan
from benchmarks.chaos.running import run_chaos

_SEED = 22
# In half a minute little can hit the same job.
_QUICK_CRASHES = 8


def run(
    *,
    quick: bool,
    seed: int = _SEED,
    minutes: float | None = None,
    database: str = "sqlite",
    log: Path | None = None,
) -> dict[str, Any]:
    """Run one plan.

    Args:
        quick: half a minute with two fine-tunes, unless ``minutes`` says another length.
        seed: chooses the order of the faults.
        minutes: how long things go wrong; three by default.
        database: ``sqlite`` or ``postgresql``.
        log: a file to keep what the processes say.

    Returns:
        ``figures`` with the counts of faults and safeguards, and the one goal: no violation.
    """
    seconds = minutes * 60 if minutes else 30.0 if quick else 180.0
    plan = Plan(seed, seconds, database, log)
    if quick:
        plan = replace(plan, finetunes=1, max_crashes=_QUICK_CRASHES)
    result = run_chaos(plan)
    count = len(result["violations"])
    return {
        **result,
        "goals": [{"name": "violations", "value": count, "unit": "", "goal": 0, "met": count == 0}],
    }
