"""The base of the adapters' benchmark, one adapter that stands for all, and how they are timed."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.generation_workload import save_model

RANK = 16
_MIN_ROWS = 32
# Steps are so short on a GPU that a few of them cannot be timed.
_GPU_STEPS = 8


class Shape(NamedTuple):
    """How many rows decode so many steps behind so many tokens."""

    rows: int
    context: int
    steps: int


def shape_of(size: str, count: int) -> Shape:
    """Of a ``full`` or ``quick`` run with so many adapters."""
    steps = (16 if size == "full" else 6) * (_GPU_STEPS if torch.cuda.is_available() else 1)
    return Shape(max(_MIN_ROWS, count), 200 if size == "full" else 50, steps)


class Speed(NamedTuple):
    """Tokens a second of the clock, and of this process' own time on all processors."""

    clock: float
    processor: float


class Clocks:
    """Both clocks, read when this is made and again when the speed is asked for.

    On a machine that others use too, only the processor's says something.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def speed(self, tokens: int) -> Speed:
        """Of so many tokens since the beginning."""
        clock, processor = self._began
        return Speed(
            tokens / (time.perf_counter() - clock), tokens / (time.process_time() - processor)
        )


def save_base_and_adapter(folder: Path) -> None:
    """Write ``base`` and ``adapter`` into a folder; what an adapter holds changes no timing."""
    base = save_model(folder / "base")
    # peft and transformers publish no types for it.
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=RANK,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
    )
    adapted = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapted.save_pretrained(str(folder / "adapter"))
