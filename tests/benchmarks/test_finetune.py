"""How the contenders of the fine-tuning bench take turns, and how they are judged."""

import pytest

from benchmarks import finetune_variant
from benchmarks.finetune import _goals
from benchmarks.finetune_setup import Sizes
from benchmarks.finetune_variant import Clock

SIZES = Sizes(block=128, batch=4, tokens=4096, warmup_tokens=1024)


@pytest.fixture
def handed_on(monkeypatch):
    """What a contender had learnt from whenever it let the others have their turns."""
    seen: list[int] = []
    clock = Clock(SIZES, turns=4)
    monkeypatch.setattr(finetune_variant, "_await_turn", lambda: seen.append(clock.seen))
    return clock, seen


@pytest.mark.parametrize("a_step", [512, 505, 330])
def test_a_contender_rests_after_each_turn_but_its_last(handed_on, a_step):
    clock, seen = handed_on
    for step in range(1, 4096 // a_step + 1):
        clock.reach(step * a_step)
    assert len(seen) == 3
    for number, tokens in enumerate(seen, start=1):
        assert abs(tokens - 1024 * number) <= 512
    found = clock.speed()
    # The first turn warms up.
    assert len(found["turns"]) == 3
    assert found["timed_tokens"] == clock.seen - seen[0]


def figures(speeds, memory, loss):
    return {
        "turns": speeds, "tokens_per_second": sum(speeds), "peak_memory_mb": memory,
        "loss_after": loss,
    }  # fmt: skip


def test_ratios_are_those_of_neighbouring_turns_and_a_missing_peer_meets_no_goal():
    # In the second turn the machine had something else to do for all of them.
    goals = _goals(
        {
            "trainer-classic": figures([100.0, 10.0, 100.0], 3600, 9.0),
            "trainer-classic-lora": figures([110.0, 11.0, 110.0], 2000, 10.0),
            "ours-full": figures([150.0, 15.0, 140.0], 3500, 9.04),
            "ours-lora": figures([210.0, 21.0, 210.0], 1500, 10.2),
            "trl-defaults": {"missing": "trl is not installed"},
        },
        has_large=False,
    )
    found = {goal["name"]: (goal["value"], goal["met"]) for goal in goals}
    assert found["full weights, speed over Trainer classic"] == (1.5, True)
    assert found["LoRA, speed over Trainer classic"] == (2.1, True)
    assert found["full weights, loss above Trainer classic after equal tokens"] == (0.04, True)
    assert found["LoRA, loss above Trainer's with LoRA after equal tokens"] == (0.2, False)
    assert found["full weights, peak memory over Trainer classic"] == (0.972, True)
    against_trl = [goal for name, goal in found.items() if "TRL" in name]
    assert against_trl == [(None, None)] * 4
