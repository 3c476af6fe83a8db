"""``perroquet bench chaos``: the real processes under seeded faults; nothing lost, nothing twice.

``python -m benchmarks.chaos --seed N --minutes M --database postgresql --json`` chooses more.
"""

from typing import Any

from benchmarks.chaos.plan import Plan
from benchmarks.chaos.running import run_chaos

_SEED = 22


def run(*, quick: bool) -> dict[str, Any]:
    """Run one plan on SQLite.

    Returns:
        ``figures`` with the counts of faults and safeguards, and the one goal: no violation.
    """
    result = run_chaos(Plan(_SEED, 30 if quick else 180))
    count = len(result["violations"])
    return {
        "figures": {**result["figures"], "faults": result["faults"]},
        "violations": result["violations"],
        "goals": [{"name": "violations", "value": count, "unit": "", "goal": 0, "met": count == 0}],
    }
