"""Answers while a fine-tune runs on the same device, next to each of them alone.

The engine answers in this process and the trainer is a child, as the two workers of one host are.
Both have GPT-2's shape with random weights; answers are as long as they may be.
"""

import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.finetune_setup import BenchPlan, write_inputs
from workers.finetuning.events import Event
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import TrainerProcess
from workers.finetuning.wishes import Wish
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model
from workers.generation.protocol import GenerationRequest, Sampling

_ANSWERS, _QUICK_ANSWERS = 12, 4
_PROMPT_TOKENS, _NEW_TOKENS = 64, 24
# A reader waits this long for a first word without thinking that nobody is there.
_GOAL_SECONDS = 2.0
_STEPS = 100_000
_NICE = 10
_PATIENCE_SECONDS = 300


def run(*, quick: bool) -> dict[str, Any]:
    """First-token and token times alone and beside a fine-tune, and the fine-tune's own speed.

    Args:
        quick: two layers instead of GPT-2's twelve, and fewer answers.
    """
    count = _QUICK_ANSWERS if quick else _ANSWERS
    with tempfile.TemporaryDirectory(prefix="bench-chat-") as scratch:
        folder = Path(scratch)
        plan = BenchPlan.on_cpu(2 if quick else 12)
        write_inputs(folder, plan)
        loaded = load_model(folder / "base")
        engine = ContinuousBatchingEngine(loaded)
        try:
            figures: dict[str, Any] = {"answers alone": _answer(engine, count)}
            for nice in (0, _NICE):
                figures[f"together, nice {nice}"] = _together(folder, engine, count, nice)
        finally:
            engine.close()
    worst: float = figures[f"together, nice {_NICE}"]["first_token_p95"]
    goal = {
        "name": f"first token beside a fine-tune of nice {_NICE}, p95",
        "value": worst,
        "unit": "s",
        "goal": _GOAL_SECONDS,
        "met": worst <= _GOAL_SECONDS,
    }
    return {"figures": figures, "goals": [goal]}


def _together(
    folder: Path, engine: ContinuousBatchingEngine, count: int, nice: int
) -> dict[str, float | None]:
    training = _Training(folder / f"nice-{nice}", folder, nice)
    training.start()
    try:
        alone = training.seconds_a_step(count)
        answers = _answer(engine, count)
        beside = training.recent_seconds_a_step()
    finally:
        training.stop()
    return {
        **answers,
        "training_seconds_a_step_alone": alone,
        "training_seconds_a_step_beside_answers": beside,
    }


def _answer(engine: ContinuousBatchingEngine, count: int) -> dict[str, float]:
    """One answer after the other, as in a quiet channel."""
    first, rest = [], []
    for number in range(count):
        prompt = tuple(range(1 + number, 1 + number + _PROMPT_TOKENS))
        sampling = Sampling(max_new_tokens=_NEW_TOKENS, temperature=1.0, seed=number,
                            min_new_tokens=_NEW_TOKENS)  # fmt: skip
        began = time.perf_counter()
        came = 0.0
        for chunk in engine.submit(GenerationRequest(str(number), prompt, sampling)):
            if not came and chunk.token_count:
                came = time.perf_counter()
        first.append(came - began)
        rest.append((time.perf_counter() - came) / (_NEW_TOKENS - 1))
    return {
        "first_token_p50": round(statistics.median(first), 3),
        "first_token_p95": round(sorted(first)[int(0.95 * (count - 1) + 0.5)], 3),
        "seconds_a_token": round(statistics.median(rest), 4),
    }


@dataclass
class _Training:
    """A fine-tune that goes on until it is told to stop."""

    run_dir: Path
    inputs: Path
    nice: int
    _ends: list[float] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _looked_at: int = 0

    def start(self) -> None:
        spec = RunSpec(
            base_model=str(self.inputs / "base"), corpus=str(self.inputs / "corpus"),
            block_size=256, batch_size=1, max_steps=_STEPS, evaluate_every=_STEPS,
            sample_max_new_tokens=1, max_evaluation_rows=1,
        )  # fmt: skip
        spec.write(self.run_dir)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def seconds_a_step(self, count: int) -> float | None:
        """Over so many steps behind the first one."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self._ends) < count + 1:
            if time.monotonic() > deadline or (self._thread and not self._thread.is_alive()):
                self._is_over.set()
                raise TimeoutError("The fine-tune did not come under way.")
            time.sleep(0.05)
        return self.recent_seconds_a_step()

    def recent_seconds_a_step(self) -> float | None:
        """Over the steps since the last look; None where fewer than two ended."""
        ends = self._ends[self._looked_at :]
        self._looked_at = max(0, len(self._ends) - 1)
        return round((ends[-1] - ends[0]) / (len(ends) - 1), 3) if len(ends) > 1 else None

    def stop(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        trainer = TrainerProcess(self.run_dir, self._hear, nice=self.nice)
        trainer.run(lambda: Wish.CANCEL if self._is_over.is_set() else None)

    def _hear(self, event: Event) -> None:
        if event["event"] == "step":
            self._ends.append(time.monotonic())
