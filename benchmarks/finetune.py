"""Fine-tuning speed, memory and learning against what people use today, in one run.

Every variant trains in a process of its own, so that its peak memory is its own. The model has
GPT-2's shape with random weights of one seed; the corpus is the prose that Python ships about
itself (``pydoc_data.topics``), parted into paragraphs, which are the lines of the line-by-line
peers.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.finetune_setup import BenchPlan, write_inputs

_OURS = ("ours-lora", "ours-full")
_PEERS = ("trainer-classic", "trainer-classic-lora", "trainer-padded-lines", "trl-defaults")
# Dense bf16 of the makers' data sheets, in FLOP/s, by a part of the device's name.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "MI300X": 1307e12, "MI250": 383e12}
_TIMEOUT_SECONDS = 1800
# How much worse than its peer's a loss may be and still count as equal, in nats.
_EQUAL_LOSS = 0.05


def run(*, quick: bool) -> dict[str, Any]:
    """Figures of all variants and the goals that they meet or miss.

    Args:
        quick: a smaller shape and fewer steps, within about a minute; says nothing of the goals.
    """
    plan = BenchPlan.choose(quick=quick, has_gpu=torch.cuda.is_available())
    figures: dict[str, Any] = {"plan": asdict(plan)}
    with tempfile.TemporaryDirectory(prefix="bench-finetune-") as scratch:
        folder = Path(scratch)
        write_inputs(folder, plan)
        for variant in (*_PEERS, *_OURS):
            if variant.startswith("trl") and importlib.util.find_spec("trl") is None:
                figures[variant] = {"missing": "trl is not installed; make bench-peers installs it"}
                continue
            figures[variant] = _measure(variant, folder)
    if torch.cuda.is_available():
        figures["peak_flops"] = _peak_flops(torch.cuda.get_device_name())
    return {"figures": figures, "goals": _goals(figures, on_gpu=torch.cuda.is_available())}


def _measure(variant: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 (our own module, in our own interpreter)
        [sys.executable, "-m", "benchmarks.finetune_variant", variant, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _goals(figures: dict[str, Any], *, on_gpu: bool) -> list[dict[str, Any]]:
    classic, lora, full = (figures[name] for name in ("trainer-classic", *_OURS))
    trl, classic_lora = figures["trl-defaults"], figures["trainer-classic-lora"]
    speed, memory = "tokens_per_second", "peak_memory_mb"
    goals = [
        _goal("full weights, speed over Trainer classic", _ratio(full, classic, speed), "times",
              3.0 if on_gpu else 1.35),
        _goal("loss above Trainer classic after equal tokens", _difference(full, classic), "nats",
              _EQUAL_LOSS, at_most=True),
        _goal("full weights, peak memory over Trainer classic", _ratio(full, classic, memory),
              "times", 1.0, at_most=True),
    ]  # fmt: skip
    if on_gpu:
        share = _share_of_peak(full, figures)
        return [*goals, _goal("full weights, share of the bf16 peak", share, "share", 0.4)]
    return [
        _goal("LoRA, speed over Trainer classic", _ratio(lora, classic, speed), "times", 2.0),
        _goal("LoRA, loss above Trainer's after equal tokens", _difference(lora, classic_lora),
              "nats", _EQUAL_LOSS, at_most=True),
        *goals,
        _goal("LoRA, speed over TRL defaults on lines", _ratio(lora, trl, speed), "times", 3.0),
        _goal("LoRA, peak memory over TRL defaults", _ratio(lora, trl, memory), "times", 0.5,
              at_most=True),
    ]  # fmt: skip


def _goal(
    name: str, value: float | None, unit: str, goal: float, *, at_most: bool = False
) -> dict[str, Any]:
    met = None if value is None else (value <= goal if at_most else value >= goal)
    shown = None if value is None else round(value, 3)
    return {"name": name, "value": shown, "unit": unit, "goal": goal, "met": met}


def _ratio(one: dict[str, Any], other: dict[str, Any], key: str) -> float | None:
    return one[key] / other[key] if one.get(key) and other.get(key) else None


def _difference(one: dict[str, Any], other: dict[str, Any]) -> float | None:
    if "loss_after" not in one or "loss_after" not in other:
        return None
    return float(one["loss_after"] - other["loss_after"])


def _peak_flops(name: str) -> float | None:
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def _share_of_peak(full: dict[str, Any], figures: dict[str, Any]) -> float | None:
    peak = figures.get("peak_flops")
    if not peak or "tokens_per_second" not in full:
        return None
    return float(full["tokens_per_second"] * full["flops_per_token"] / peak)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(quick="--quick" in sys.argv), indent=2) + "\n")
