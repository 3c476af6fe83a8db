"""Fine-tuning speed, memory and learning against what people use today, in one run.

Every variant trains in a process of its own, so that its peak memory is its own; on a CPU they take
turns of equally many real tokens (:mod:`benchmarks.finetune_turns`), for which some 16 GB of memory
are needed. The model has GPT-2's shape with random weights of one seed; the corpus is the prose
that Python ships about itself (``pydoc_data.topics``), parted into paragraphs, which are the lines
of the line-by-line peers.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.finetune_setup import BenchPlan, write_inputs
from benchmarks.finetune_turns import Figures, take_turns

_OURS = ("ours-lora", "ours-full")
_PEERS = ("trainer-classic", "trainer-classic-lora", "trl-defaults")
# What is compared on a GPU; line-by-line data and TRL are the CPU's table.
_ON_GPU = ("trainer-classic", "ours-full-large", "ours-full", "ours-lora-large")
# Dense bf16 of the makers' data sheets, in FLOP/s, by a part of the device's name.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "MI300X": 1307e12, "MI250": 383e12}
# How much worse than its peer's a loss may be and still count as equal, in nats.
_EQUAL_LOSS = 0.05
_SPEED, _MEMORY = "tokens_per_second", "peak_memory_mb"


def run(
    *,
    quick: bool,
    plan: BenchPlan | None = None,
    into: Path | None = None,
    only: Sequence[str] = (),
) -> Figures:
    """Figures of all variants and the goals that they meet or miss.

    Args:
        quick: a smaller shape and fewer steps, within some minutes on a CPU; says nothing of
            the goals there.
        plan: in place of this machine's.
        into: gets each variant's figures as a line of JSON once it has them, and the tables of
            kernels.
        only: these variants, with no goals.
    """
    plan = plan or BenchPlan.choose(quick=quick, has_gpu=torch.cuda.is_available())
    figures: Figures = {"plan": asdict(plan)}
    with tempfile.TemporaryDirectory(prefix="bench-finetune-") as scratch:
        folder = Path(scratch)
        write_inputs(folder, plan)
        for variant, found in _measure_all(only or _variants(plan), folder):
            figures[variant] = found
            if into is not None:
                _keep(into, folder, {variant: found})
    if plan.device == "cuda":
        figures["device"] = torch.cuda.get_device_name()
        figures["peak_flops"] = _peak_flops(figures["device"])
    goals = [] if only else _goals(figures, has_large=plan.large is not None)
    return {"figures": figures, "goals": goals}


def _variants(plan: BenchPlan) -> tuple[str, ...]:
    return _ON_GPU if plan.large is not None else (*_PEERS, *_OURS)


def _measure_all(variants: Sequence[str], folder: Path) -> Iterator[tuple[str, Figures]]:
    """The figures of each variant, in the order in which they come to their end."""
    is_installed = importlib.util.find_spec("trl") is not None
    missing = [name for name in variants if name.startswith("trl") and not is_installed]
    for name in missing:
        yield name, {"missing": "trl is not installed; make bench-peers installs it"}
    yield from take_turns([name for name in variants if name not in missing], folder)


def _keep(into: Path, folder: Path, line: Figures) -> None:
    with (into / "finetune.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    for table in folder.glob("kernels-*.txt"):
        shutil.copy(table, into)


def _goals(figures: Figures, *, has_large: bool) -> list[Figures]:
    classic, full = figures["trainer-classic"], figures["ours-full"]
    goals = [
        _goal("full weights, speed over Trainer classic", _times_as_fast(full, classic), "times",
              3.0 if has_large else 1.35),
        _goal("full weights, loss above Trainer classic after equal tokens",
              _difference(full, classic), "nats", _EQUAL_LOSS, at_most=True),
        _goal("full weights, peak memory over Trainer classic", _ratio(full, classic, _MEMORY),
              "times", 1.0, at_most=True),
    ]  # fmt: skip
    return [*goals, *(_gpu_goals(figures) if has_large else _cpu_goals(figures))]


def _gpu_goals(figures: Figures) -> list[Figures]:
    large, classic = figures["ours-full-large"], figures["trainer-classic"]
    share = _share_of_peak(large, figures)
    return [
        _goal("full weights in large steps, speed over Trainer classic",
              _times_as_fast(large, classic), "times", 3.0),
        _goal("full weights in large steps, share of the bf16 peak", share, "share", 0.4),
    ]  # fmt: skip


def _cpu_goals(figures: Figures) -> list[Figures]:
    classic, lora, trl = (
        figures[name] for name in ("trainer-classic", "ours-lora", "trl-defaults")
    )
    against_trl = [
        goal
        for name, ours in (("full weights", figures["ours-full"]), ("LoRA", lora))
        for goal in (
            _goal(f"{name}, speed over TRL defaults on lines", _times_as_fast(ours, trl), "times",
                  3.0),
            _goal(f"{name}, peak memory over TRL defaults", _ratio(ours, trl, _MEMORY), "times",
                  0.5, at_most=True),
        )
    ]  # fmt: skip
    return [
        _goal("LoRA, speed over Trainer classic", _times_as_fast(lora, classic), "times", 2.0),
        # An adapter learns less from as many tokens, whoever trains it.
        _goal("LoRA, loss above Trainer's with LoRA after equal tokens",
              _difference(lora, figures["trainer-classic-lora"]), "nats", _EQUAL_LOSS,
              at_most=True),
        _goal("LoRA, peak memory over Trainer classic", _ratio(lora, classic, _MEMORY), "times",
              1.0, at_most=True),
        *against_trl,
    ]  # fmt: skip


def _goal(
    name: str, value: float | None, unit: str, goal: float, *, at_most: bool = False
) -> Figures:
    met = None if value is None else (value <= goal if at_most else value >= goal)
    shown = None if value is None else round(value, 3)
    return {"name": name, "value": shown, "unit": unit, "goal": goal, "met": met}


def _times_as_fast(one: Figures, other: Figures) -> float | None:
    """The median of the turns' own ratios: in neighbouring turns the machine was alike for both."""
    turns, others = one.get("turns", ()), other.get("turns", ())
    if len(turns) != len(others) or not turns:
        return _ratio(one, other, _SPEED)
    return float(statistics.median(a / b for a, b in zip(turns, others, strict=True)))


def _ratio(one: Figures, other: Figures, key: str) -> float | None:
    return float(one[key] / other[key]) if one.get(key) and other.get(key) else None


def _difference(one: Figures, other: Figures) -> float | None:
    if "loss_after" not in one or "loss_after" not in other:
        return None
    return float(one["loss_after"] - other["loss_after"])


def _peak_flops(name: str) -> float | None:
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def _share_of_peak(full: Figures, figures: Figures) -> float | None:
    peak = figures.get("peak_flops")
    if not peak or "tokens_per_second" not in full:
        return None
    return float(full["tokens_per_second"] * full["flops_per_token"] / peak)


def _main() -> None:
    """For a machine that has torch and transformers and not the rest of Perroquet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rehearse", action="store_true", help="a GPU's plan, tiny, on the CPU")
    parser.add_argument("--into", type=Path, help="folder for each variant's figures and kernels")
    parser.add_argument("--only", nargs="*", default=(), help="names of variants")
    wanted = parser.parse_args()
    plan = BenchPlan.rehearse() if wanted.rehearse else None
    found = run(quick=wanted.quick, plan=plan, into=wanted.into, only=wanted.only)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    _main()
