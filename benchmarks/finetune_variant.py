"""``python -m benchmarks.finetune_variant <variant> <folder>``: one variant, one process.

It imports what it needs and then waits for a line on standard input, as before each of its turns
(:mod:`benchmarks.finetune_turns`).
"""

# ruff: noqa: ARG002 (the signatures of callbacks are transformers')

import importlib
import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from benchmarks.finetune_kernels import KernelWatch
from benchmarks.finetune_setup import BenchPlan, Sizes
from benchmarks.finetune_turns import FIGURES, TURN
from workers.finetuning.corpus.prepared import read_split
from workers.finetuning.corpus.splitting import Split
from workers.finetuning.data import pack_splits
from workers.finetuning.devices import choose_products
from workers.finetuning.encoding import ExampleEncoder
from workers.finetuning.evaluation import measure_likelihood
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.spec import RunSpec
from workers.finetuning.training import fine_tune
from workers.finetuning.wishes import Wishes

_LEARNING_RATE = 5e-5
_LORA_LEARNING_RATE = 2e-4
Item = dict[str, Any]


class Clock:
    """Counts tokens that are no padding and times them turn by turn, once the warm-up is over."""

    def __init__(self, sizes: Sizes, turns: int) -> None:
        self._sizes = sizes
        self._turn_tokens = sizes.tokens // turns
        # Rows are not quite full, and a turn is not to take another step for a few tokens.
        self._turn_ends = self._turn_tokens - sizes.block * sizes.batch // 2
        self.seen = 0
        self._stretch: _Stretch | None = None
        self._timed: list[tuple[int, float, float]] = []

    @property
    def is_done(self) -> bool:
        """Whether the plan's tokens were learnt from."""
        return self.seen >= self._sizes.tokens

    @property
    def is_timing(self) -> bool:
        """Whether the warm-up is over."""
        return self._stretch is not None

    def reach(self, seen: int) -> None:
        """Take in how many tokens were seen up to now, and let the others have their turns."""
        self.seen = seen
        if self._turn_ends <= seen and self._turn_ends + self._turn_tokens < self._sizes.tokens:
            self._end_stretch()
            while self._turn_ends <= seen:
                self._turn_ends += self._turn_tokens
            _await_turn()
            self._stretch = _Stretch(seen)
        elif self._stretch is None and seen >= self._sizes.warmup_tokens:
            _synchronize()
            self._stretch = _Stretch(seen)

    def speed(self) -> dict[str, Any]:
        """Real tokens a second behind the warm-up, by the clock on the wall, and by the time that
        all cores together spent on this process; of each turn by the clock alone."""
        self._end_stretch()
        tokens, seconds, processor = (sum(one) for one in zip(*self._timed, strict=True))
        return {
            "tokens_per_second": round(tokens / seconds, 1),
            "tokens_per_processor_second": round(tokens / processor, 1),
            "timed_tokens": tokens,
            "turns": [round(one / of, 1) for one, of, _ in self._timed],
        }

    def _end_stretch(self) -> None:
        _synchronize()
        if self._stretch is not None and self.seen > self._stretch.tokens:
            self._timed.append(self._stretch.until(self.seen))
        self._stretch = None


class _Stretch:
    """Tokens and clocks at the moment when timing begins."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._began, self._processor = time.perf_counter(), time.process_time()

    def until(self, tokens: int) -> tuple[int, float, float]:
        """Tokens, seconds and the processor's seconds since then."""
        return (
            tokens - self.tokens,
            time.perf_counter() - self._began,
            time.process_time() - self._processor,
        )


def _await_turn() -> None:
    print(TURN, flush=True)  # noqa: T201
    sys.stdin.readline()


class Items(Dataset[Item]):
    """A list as a dataset."""

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


class Counter(TrainerCallback):
    """Moves a peer's clock on at the end of its steps, and stops it with the plan's tokens."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tokens = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The optimizer has had the step's tokens."""
        self.clock.reach(self.tokens)
        control.should_training_stop = self.clock.is_done


class CountingTrainer(Trainer):
    """The plain Trainer, whose tokens are counted."""

    counter: Counter

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One step, counted."""
        self.counter.tokens += inputs["input_ids"].numel()
        return super().training_step(model, inputs, num_items_in_batch)


def main() -> None:
    """Run the variant and print its figures on one line."""
    variant, folder = sys.argv[1], Path(sys.argv[2])
    plan = BenchPlan.read(folder)
    sys.stdin.readline()
    began = time.perf_counter()
    if variant.startswith("ours"):
        figures = _ours(folder, plan, variant)
    elif variant.startswith("trl"):
        figures = _trl(folder, plan)
    else:
        figures = _trainer(folder, plan, variant)
    figures |= {"peak_memory_mb": _peak_memory(), "seconds": round(time.perf_counter() - began, 1)}
    print(f"{FIGURES}{json.dumps(figures)}", flush=True)  # noqa: T201


def _ours(folder: Path, plan: BenchPlan, variant: str) -> dict[str, Any]:
    """The product's own path, with the events' clock."""
    is_lora = "lora" in variant
    sizes = plan.large if plan.large is not None and variant.endswith("large") else plan.ours
    run_dir = folder / f"run-{variant}"
    clock = Clock(sizes, plan.turns)
    started: dict[str, Any] = {}
    found: dict[str, Any] = {}

    def hear(event: str, **fields: Any) -> None:
        if event == "started":
            started.update(fields)
            found["dtype"] = fields["dtype"]
        elif event == "step":
            clock.reach(_tokens_until(fields["step"], started))
            if plan.large is not None:
                watch(is_over=clock.is_timing)
            if fields["step"] == sizes.steps:
                found.update(clock.speed())

    watch = KernelWatch(folder / f"kernels-{variant}.txt", started)
    spec = RunSpec(
        base_model=str(folder / "base"),
        corpus=str(folder / "corpus"),
        method="lora" if is_lora else "full",
        block_size=sizes.block,
        batch_size=sizes.batch,
        micro_batch_size=sizes.batch,
        max_steps=sizes.steps,
        evaluate_every=sizes.steps,
        learning_rate=_LORA_LEARNING_RATE if is_lora else _LEARNING_RATE,
        schedule="linear",
        warmup_share=0.0,
        compile=plan.compile if variant.endswith("large") else "auto",
        sample_max_new_tokens=1,
        max_evaluation_rows=plan.evaluation_rows,
        device=plan.device,
        dtype="float32" if variant.endswith("float32") else "auto",
    )
    run_dir.mkdir()
    published = fine_tune(spec, run_dir, hear, Wishes())
    metrics = json.loads((published / "metrics.json").read_text("utf-8"))
    return {
        **found,
        "tokens": clock.seen,
        "fill": metrics["fill"],
        "flops_per_token": 6 * started["parameters"],
        "loss_before": metrics["base"]["validation"]["loss"],
        "loss_after": metrics["tuned"]["validation"]["loss"],
    }


def _tokens_until(step: int, started: dict[str, Any]) -> int:
    """Real tokens that a run has learnt from; the last step of a pass may have fewer rows."""
    rows, tokens, batch = (int(started[name]) for name in ("rows", "tokens", "batch_size"))
    passes, rest = divmod(step, math.ceil(rows / batch))
    return passes * tokens + rest * batch * tokens // rows


def _trainer(folder: Path, plan: BenchPlan, variant: str) -> dict[str, Any]:
    tokenizer, model = _load(folder)
    before = _loss(folder, plan, model, tokenizer)
    if variant.endswith("lora"):
        config = LoraConfig(
            task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear",
            fan_in_fan_out=True,
        )  # fmt: skip
        model = get_peft_model(model, config)
    trainer = CountingTrainer(
        model=model,
        args=_classic_arguments(folder / variant, plan, variant),
        train_dataset=Items(_blocks(folder, tokenizer, plan)),
    )
    trainer.counter = Counter(Clock(plan.classic, plan.turns))
    trainer.add_callback(trainer.counter)
    trainer.train()
    return {
        **trainer.counter.clock.speed(),
        "tokens": trainer.counter.tokens,
        "dtype": "float32",
        "loss_before": before,
        "loss_after": _loss(folder, plan, model, tokenizer),
    }


def _classic_arguments(output: Path, plan: BenchPlan, variant: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=plan.classic.batch,
        max_steps=plan.classic.steps,
        use_cpu=plan.device == "cpu",
        learning_rate=_LORA_LEARNING_RATE if variant.endswith("lora") else _LEARNING_RATE,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=plan.device == "cuda",
    )


def _trl(folder: Path, plan: BenchPlan) -> dict[str, Any]:
    """TRL's SFTTrainer as it comes, on the corpus line by line."""
    datasets: Any = importlib.import_module("datasets")
    trl: Any = importlib.import_module("trl")

    tokenizer, model = _load(folder)
    before = _loss(folder, plan, model, tokenizer)
    counter = Counter(Clock(plan.classic, plan.turns))
    has_bf16 = choose_products("auto", model.device, model.num_parameters()) is torch.bfloat16

    class Counting(trl.SFTTrainer):  # type: ignore[misc]  # what is imported by name is Any
        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            counter.tokens += int(inputs["attention_mask"].sum())
            return super().training_step(model, inputs, num_items_in_batch)

    texts = [example.text for example in read_split(folder / "corpus", Split.TRAIN)]
    trainer = Counting(
        model=model,
        args=trl.SFTConfig(
            output_dir=str(folder / "trl"), report_to="none", save_strategy="no",
            disable_tqdm=True, dataloader_pin_memory=False, use_cpu=plan.device == "cpu",
            # Its default is bf16, which takes minutes a step where there are no instructions for
            # it. So it is spared that.
            **({} if has_bf16 else {"bf16": False}),
        ),
        train_dataset=datasets.Dataset.from_dict({"text": texts}),
        processing_class=tokenizer,
        callbacks=[counter],
    )  # fmt: skip
    trainer.train()
    return {
        **counter.clock.speed(),
        "tokens": counter.tokens,
        "dtype": "bfloat16" if has_bf16 else "float32",
        "loss_before": before,
        "loss_after": _loss(folder, plan, model, tokenizer),
    }


def _load(folder: Path) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokenizer.pad_token = tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    return tokenizer, model.to(BenchPlan.read(folder).device)


def _blocks(folder: Path, tokenizer: Any, plan: BenchPlan) -> list[Item]:
    """All texts in one string of tokens, cut into blocks, as in the tutorials."""
    ids: list[int] = []
    for example in read_split(folder / "corpus", Split.TRAIN):
        ids += [*tokenizer(example.text).input_ids, tokenizer.eos_token_id]
    size = plan.classic.block
    blocks = [ids[start : start + size] for start in range(0, len(ids) - size, size)]
    return [{"input_ids": block, "labels": block} for block in blocks]


def _loss(folder: Path, plan: BenchPlan, model: Any, tokenizer: Any) -> float:
    """The validation loss by the same code and on the same rows for every variant."""
    rows = pack_splits(
        folder / "corpus",
        ExampleEncoder(tokenizer, plan.ours.block),
        block_size=plan.ours.block,
        pad_id=0,
        max_evaluation_rows=plan.evaluation_rows,
    ).validation
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    original = inner.forward
    attach_summed_loss(inner)
    found = measure_likelihood(
        model, rows, device=next(model.parameters()).device, rows_at_a_time=1
    )
    inner.forward = original
    inner.set_attn_implementation("sdpa")
    return found.loss


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_memory() -> float:
    """Peak of the device, or of the process where it computes on the CPU, in MB."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


if __name__ == "__main__":
    main()
