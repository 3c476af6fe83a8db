"""Our engine beside its peers: same weights, same prompts, same lengths, greedy.

Requests arrive all at once. Each contender runs in a process of its own, in turn, so that one's
memory and threads are not the other's; figures are medians over the rounds, of which who is in no
goal for a number of requests has only one. Engines that need other versions of our packages live in
``.venv-peers`` (``make bench-peers``, or the Python that ``PERROQUET_PEERS_PYTHON`` names); what is
not there is said. The quick form has one round and a quarter of the tokens.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.generation_contender import CONTENDERS
from benchmarks.generation_goals import figure_name, judge, judged
from benchmarks.generation_workload import save_model

_ROOT = Path(__file__).resolve().parents[1]
# Engines of the peers' environment, and the module that each needs.
_PEERS = {
    "vllm": "vllm",
    "vllm_bfloat16": "vllm",
    "ctranslate2_int8": "ctranslate2",
    "llama_cpp": "xllamacpp",
}
_GOAL_SECOND_TURN = 0.25
_TIMEOUT_SECONDS = 900

Runs = dict[str, float]


def run(*, quick: bool) -> dict[str, Any]:
    """The figures of every contender, and the goals; on a GPU, where there is one, those of
    :mod:`benchmarks.generation_gpu`."""
    if torch.cuda.is_available():
        from benchmarks import generation_gpu

        return generation_gpu.run(quick=quick)
    rounds, counts = (1, (1, 16)) if quick else (3, (1, 16, 64))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        for count in counts:
            for name, figure in _measure(folder, count, rounds, quick=quick).items():
                figures[figure_name(name, count)] = figure
        turns = [_run_module("second_turn", folder, quick=quick) for _ in range(rounds)]
        figures["second turn"] = _medians(turns)
    goals = [*judge(figures, counts), _reuse_goal(figures["second turn"]["share"])]
    return {"figures": figures, "goals": goals}


def _measure(folder: str, count: int, rounds: int, *, quick: bool) -> dict[str, Runs | str]:
    seen: dict[str, list[Runs]] = {name: [] for name in CONTENDERS}
    lacking = {name: "missing" for name, module in _PEERS.items() if not _has_peer(module)}
    important = judged(count)
    for turn in range(rounds):
        for name in CONTENDERS:
            if name not in lacking and (turn == 0 or name in important):
                try:
                    seen[name].append(
                        _run_module(
                            "contender",
                            name,
                            folder,
                            str(count),
                            quick=quick,
                            python=_peers_python() if name in _PEERS else sys.executable,
                        )
                    )
                except subprocess.SubprocessError as exc:
                    lacking[name] = f"failed: {_last_words(exc)}"
    return {name: lacking.get(name) or _medians(runs) for name, runs in seen.items()}


def _peers_python() -> str:
    return os.environ.get("PERROQUET_PEERS_PYTHON") or str(_ROOT / ".venv-peers/bin/python")


@cache
def _has_peer(module: str) -> bool:
    """Whether the peers' environment has a module; finding is not importing, so it is quick."""
    question = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({module!r}))"
    try:
        done = subprocess.run([_peers_python(), "-c", question], check=False)  # noqa: S603
    except OSError:
        return False
    return done.returncode == 0


def _last_words(exc: subprocess.SubprocessError) -> str:
    """The last line of what a process that failed had to say."""
    said = exc.stderr if isinstance(exc, subprocess.CalledProcessError) else str(exc)
    lines = str(said).strip().splitlines()
    return lines[-1] if lines else type(exc).__name__


def _run_module(name: str, *arguments: str, quick: bool, python: str = sys.executable) -> Runs:
    """Run one of our modules in a process of its own; its last line is JSON."""
    module, size = f"benchmarks.generation_{name}", "quick" if quick else "full"
    done = subprocess.run(  # noqa: S603 - our own module
        [python, "-m", module, *arguments, size],
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
        cwd=_ROOT,
    )
    figures: Runs = json.loads(done.stdout.splitlines()[-1])
    return figures


def _medians(runs: list[Runs]) -> Runs:
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {**medians, "rounds": len(runs)}


def _reuse_goal(share: float) -> dict[str, Any]:
    return {
        "name": "a second turn's time to first token",
        "value": share,
        "unit": "of the time without reuse",
        "goal": _GOAL_SECOND_TURN,
        "met": share <= _GOAL_SECOND_TURN,
    }
