"""Training steps of the tutorials' settings and of ours, in turn and in one process.

``perroquet bench finetune`` has each contender's whole run, one after the other, which takes a
quiet machine. Here they alternate step by step, so that whatever else the machine does meets them
all alike and the ratios hold on a busy one too. Memory and losses are the other benchmark's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.finetune_setup import BenchPlan, write_inputs
from workers.finetuning.bases import Trainee, load_trainee
from workers.finetuning.data import pack_splits
from workers.finetuning.encoding import ExampleEncoder
from workers.finetuning.packing import PackedRows
from workers.finetuning.spec import Method, RunSpec

_ROUNDS, _QUICK_ROUNDS = 5, 3
_LEARNING_RATE = 5e-5
_CLASSIC, _LORA, _FULL = "trainer-classic", "ours-lora", "ours-full"
_GOALS = {_LORA: 2.0, _FULL: 1.35}

Step = Callable[[int], int]


def run(*, quick: bool) -> dict[str, Any]:
    """Median seconds of a step, real tokens a second, and the ratios to the classic settings.

    Args:
        quick: two layers instead of GPT-2's twelve; says nothing of the goals.
    """
    plan = BenchPlan.on_cpu(2 if quick else 12)
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    with tempfile.TemporaryDirectory(prefix="bench-steps-") as scratch:
        folder = Path(scratch)
        write_inputs(folder, plan)
        rows, method_steps = _ours(folder, plan)
        steps = {_CLASSIC: _classic(folder, plan, rows), **method_steps}
        seconds, tokens = _alternate(steps, rounds)
    figures: dict[str, Any] = {"plan": asdict(plan), "rounds": rounds}
    for name in steps:
        middle = statistics.median(seconds[name])
        figures[name] = {
            "seconds_a_step": round(middle, 3),
            "tokens_per_second": round(statistics.median(tokens[name]) / middle, 1),
        }
    return {"figures": figures, "goals": [_goal(name, seconds, tokens) for name in _GOALS]}


def _alternate(
    steps: dict[str, Step], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[int]]]:
    """Seconds and real tokens of each contender's steps; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    tokens: dict[str, list[int]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            count = step(number)
            if number:
                seconds[name].append(time.perf_counter() - began)
                tokens[name].append(count)
    return seconds, tokens


def _goal(
    name: str, seconds: dict[str, list[float]], tokens: dict[str, list[int]]
) -> dict[str, Any]:
    """The median of the rounds' own ratios: within a round the machine was alike for both."""

    def speeds(who: str) -> list[float]:
        return [n / s for n, s in zip(tokens[who], seconds[who], strict=True)]

    pairs = zip(speeds(name), speeds(_CLASSIC), strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    goal = _GOALS[name]
    return {
        "name": f"{name}, speed over Trainer classic",
        "value": round(ratio, 2),
        "unit": "times",
        "goal": goal,
        "met": ratio >= goal,
    }


def _ours(folder: Path, plan: BenchPlan) -> tuple[PackedRows, dict[str, Step]]:
    steps: dict[str, Step] = {}
    methods: tuple[Method, ...] = ("lora", "full")
    rows: PackedRows | None = None
    for method in methods:
        spec = RunSpec(
            base_model=str(folder / "base"), corpus=str(folder / "corpus"), method=method
        )
        trainee = load_trainee(spec)
        if rows is None:
            encoder = ExampleEncoder(trainee.tokenizer, plan.ours.block)
            rows = pack_splits(
                folder / "corpus", encoder, block_size=plan.ours.block, pad_id=trainee.pad_id,
                max_evaluation_rows=1,
            ).train  # fmt: skip
        steps[f"ours-{method}"] = _step_of_ours(trainee, rows, plan.ours.batch)
    assert rows is not None  # noqa: S101 (there are methods)
    return rows, steps


def _step_of_ours(trainee: Trainee, rows: PackedRows, count: int) -> Step:
    model, lowered = trainee.model, trainee.autocast
    optimizer = _optimizer(model)

    def step(number: int) -> int:
        part = slice(number * count, (number + 1) * count)
        names = ("input_ids", "position_ids", "labels")
        batch = {name: torch.from_numpy(getattr(rows, name)[part]).long() for name in names}
        learnt = int((batch["labels"][:, 1:] != -100).sum())
        documents = [rows.lengths(row) for row in range(part.start, part.stop)]
        with torch.autocast("cpu", dtype=lowered, enabled=lowered is not None):
            loss = model(**batch, documents=documents).loss
        _finish(model, loss / learnt, optimizer)
        return int(count * rows.input_ids.shape[1] * rows.fill)

    return step


def _classic(folder: Path, plan: BenchPlan, rows: PackedRows) -> Step:
    """Blocks of one string of tokens, with the loss that the model itself has."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    model.train()
    optimizer = _optimizer(model)
    size = plan.classic.batch * plan.classic.block
    ids = torch.from_numpy(rows.input_ids.reshape(-1)).long()

    def step(number: int) -> int:
        block = ids[number * size : (number + 1) * size].view(plan.classic.batch, -1)
        _finish(model, model(input_ids=block, labels=block).loss, optimizer)
        return size

    return step


def _optimizer(model: Any) -> torch.optim.Optimizer:
    model.train()
    trained = [one for one in model.parameters() if one.requires_grad]
    return torch.optim.AdamW(trained, lr=_LEARNING_RATE, fused=True)


def _finish(model: Any, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """What Trainer does behind the loss, in its default settings."""
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
