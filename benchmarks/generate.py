"""Our engine beside its peers: same weights, same prompts, same lengths, greedy.

Requests arrive all at once. Each contender runs in a process of its own, in turn, so that one's
memory and threads are not the other's; figures are medians over the rounds.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.generation_contender import CONTENDERS
from benchmarks.generation_workload import save_model

# Peers that are not measured here, by the module that would have to be there.
_PEERS = {"vllm": "vllm", "ctranslate2": "ctranslate2", "llama.cpp": "llama_cpp"}
_GOAL_OVER_GENERATE = 2.5
_GOAL_SECOND_TURN = 0.25
_TIMEOUT_SECONDS = 900


def run(*, quick: bool) -> dict[str, Any]:
    """The figures of every contender, and the goals."""
    rounds, counts = (1, (8,)) if quick else (3, (1, 16))
    figures: dict[str, Any] = {
        f"{peer}": "present, not measured" if find_spec(module) else "missing"
        for peer, module in _PEERS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        for count in counts:
            for name, figure in _measure(folder, count, rounds, quick=quick).items():
                figures[f"{name}, {count} requests"] = figure
        turns = [_run_module("second_turn", folder, quick=quick) for _ in range(rounds)]
        figures["second turn"] = _medians(turns)
    goals = [_throughput_goal(figures, counts[-1]), _reuse_goal(figures["second turn"]["share"])]
    return {"figures": figures, "goals": goals}


def _measure(
    folder: str, count: int, rounds: int, *, quick: bool
) -> dict[str, dict[str, float] | str]:
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            if name not in failed:
                try:
                    seen[name].append(
                        _run_module("contender", name, folder, str(count), quick=quick)
                    )
                except subprocess.SubprocessError as exc:
                    failed[name] = f"failed: {type(exc).__name__}"
    return {name: failed.get(name) or _medians(runs) for name, runs in seen.items()}


def _run_module(name: str, *arguments: str, quick: bool) -> dict[str, float]:
    """Run one of our modules in a process of its own; its last line is JSON."""
    module, size = f"benchmarks.generation_{name}", "quick" if quick else "full"
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments, size],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _throughput_goal(figures: dict[str, Any], count: int) -> dict[str, Any]:
    ours = figures[f"perroquet, {count} requests"]
    alone = figures[f"generate_one_by_one, {count} requests"]
    is_measured = isinstance(ours, dict) and isinstance(alone, dict)
    ratio = round(ours["tokens_per_second"] / alone["tokens_per_second"], 2) if is_measured else 0.0
    return {
        "name": f"throughput over generate one by one, {count} requests",
        "value": ratio,
        "unit": "times",
        "goal": _GOAL_OVER_GENERATE,
        "met": ratio >= _GOAL_OVER_GENERATE,
    }


def _reuse_goal(share: float) -> dict[str, Any]:
    return {
        "name": "a second turn's time to first token",
        "value": share,
        "unit": "of the time without reuse",
        "goal": _GOAL_SECOND_TURN,
        "met": share <= _GOAL_SECOND_TURN,
    }
