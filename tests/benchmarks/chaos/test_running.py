"""The short form of ``python -m benchmarks.chaos``."""

import pytest

from benchmarks.chaos.plan import Fault, Plan
from benchmarks.chaos.running import run_chaos


def test_a_schedule_follows_from_its_seed_and_leaves_no_fault_out():
    schedule = Plan(7, 60).schedule()
    assert schedule == Plan(7, 60).schedule()
    assert schedule != Plan(8, 60).schedule()
    assert {fault for _, fault, _ in schedule} == set(Fault)


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_is_twice_under_faults(tmp_path):
    log_file = tmp_path / "processes.log"
    result = run_chaos(Plan(22, 18, log_file=log_file, gap_seconds=(0.8, 1.6)))
    assert result["violations"] == [], log_file
    assert sum(result["faults"].values()) >= len(Fault)
    figures = result["figures"]
    assert figures["heard"] > 20, "too little was at stake"
    assert figures["leases that ran out"] > 0, "no worker was lost with a job in its hands"
    assert figures["writes fenced off"] > 0, "nobody tried to write what it had lost"
