"""The short form of ``perroquet bench chaos``; the long one's results are in docs/chaos."""

import pytest

from benchmarks.chaos.plan import Fault, Plan
from benchmarks.chaos.running import run_chaos


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_schedule_follows_from_its_seed_and_leaves_no_fault_out(database):
    plan = Plan(7, 150, database)
    assert plan.schedule() == Plan(7, 150, database).schedule()
    assert plan.schedule() != Plan(8, 150, database).schedule()
    assert {fault for _, fault, _ in plan.schedule()} == set(plan.faults)


def test_each_fault_happens_on_one_database_or_the_other():
    assert {*Plan(1, 9).faults, *Plan(1, 9, "postgresql").faults} == set(Fault)


@pytest.mark.timeout(600)
def test_nothing_is_lost_and_nothing_is_twice_under_faults(request, tmp_path):
    database = request.config.getoption("--database")
    log_file = tmp_path / "processes.log"
    plan = Plan(
        22,
        26,
        database,
        log_file,
        gap_seconds=(0.7, 1.2),
        finetunes=1,
        with_doomed=False,
        poisons=1,
        finetune_steps=40,
        max_crashes=8,
    )
    result = run_chaos(plan)
    assert result["violations"] == [], log_file
    assert sum(result["faults"].values()) > len(plan.faults) / 2
    figures = result["figures"]
    assert figures["heard"] > 20, "too little was at stake"
    assert figures["posts absorbed by their nonce"] > 0, "nothing was posted twice"
    assert figures["leases that ran out"] > 0, "no worker was lost with a job in its hands"
    assert figures["jobs given up by workers that lost them"] > 0, "nobody lost what it held"
