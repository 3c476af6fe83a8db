"""One run from its spec to the published folder; begun again, it goes on where it was."""

import functools
import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    set_seed,
)
from transformers.utils import logging

from workers.finetuning.arguments import training_arguments
from workers.finetuning.bases import enable_gradient_checkpointing, load_trainee
from workers.finetuning.checkpoints import (
    checkpoint_path,
    is_whole,
    load_weights,
    step_of,
    valid_checkpoints,
)
from workers.finetuning.corpus.prepared import hash_prepared, read_split
from workers.finetuning.corpus.splitting import Split
from workers.finetuning.data import PackedSplits, pack_splits
from workers.finetuning.encoding import ExampleEncoder
from workers.finetuning.errors import OutOfMemoryError
from workers.finetuning.evaluation import Likelihood
from workers.finetuning.events import Emit
from workers.finetuning.fresh import with_fresh_base
from workers.finetuning.hooks import RunHooks
from workers.finetuning.judging import Judge
from workers.finetuning.layers import compile_layers
from workers.finetuning.parallel import is_first, share
from workers.finetuning.plan import choose_block_size, is_worth_compiling, make_plan
from workers.finetuning.publishing import METRICS, PUBLISHED, publish
from workers.finetuning.samples import choose_prompts
from workers.finetuning.shrinking import Shrinkage, forget_note, read_note
from workers.finetuning.spec import RunSpec
from workers.finetuning.tensorboard import tensorboard
from workers.finetuning.trainer import PackedDataset, PackedTrainer
from workers.finetuning.wishes import HelperDoneError, InterruptedRunError, Wish, Wishes
from workers.generation.memory import is_out_of_memory

log = structlog.get_logger(__name__)

_BASE_FILE = "base.json"
_TRAINED_FILE = "trained.json"
_SAMPLES = 3
_GPU_TELLING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Trained:
    """How training ended, kept on disk so that publishing can be repeated.

    Attributes:
        step: whose weights are the result.
        steps: optimizer steps done.
        seconds: spent on them.
        ending: ``finished``, ``early-stopped`` or ``stopped``.
    """

    step: int
    steps: int
    seconds: float
    ending: str


def fine_tune(spec: RunSpec, run_dir: Path, emit: Emit, wishes: Wishes) -> Path:
    """Run, or go on with, the fine-tune of a run folder.

    Args:
        spec: its options.
        run_dir: holds checkpoints, notes and in the end ``published``.
        emit: hears the events, see :mod:`workers.finetuning.events`.
        wishes: is looked at after every step.

    Returns:
        The published folder.

    Raises:
        InterruptedRunError: it was paused or cancelled.
        HelperDoneError: this is not the first of several processes, and training is over.
        PerroquetError: it cannot go on; the class says why.
    """
    emit = emit if is_first() else _say_nothing
    published = run_dir / PUBLISHED
    if not published.exists():
        with tensorboard(emit, spec.tensorboard_dir if is_first() else "") as both:
            try:
                published = _Run(spec, run_dir, both, wishes).carry_out()
            except (RuntimeError, MemoryError) as exc:
                # Where nothing can be made smaller: the weights alone do not fit, say.
                if not is_out_of_memory(exc):
                    raise
                if not is_first():
                    # Who speaks for all would only see that this process is gone.
                    Shrinkage(is_over=True).leave_note(run_dir)
                raise OutOfMemoryError from exc
    metrics = json.loads((published / METRICS).read_text("utf-8"))
    emit("finished", folder=published.name, metrics=metrics)
    return published


class _Run:
    """The parts of a run, made one after the other."""

    def __init__(self, spec: RunSpec, run_dir: Path, emit: Emit, wishes: Wishes) -> None:
        spec = with_fresh_base(spec, run_dir)
        self._spec = spec
        self._run_dir = run_dir
        self._shrunk = _read_shrinkage(run_dir)
        self._emit = emit
        self._wishes = wishes
        _silence_transformers()
        set_seed(spec.seed)
        self._trainee = load_trainee(spec)
        self._check_wishes(0)
        self._block_size = choose_block_size(spec, self._trainee.context_window)
        self._splits = self._pack()
        self._plan = make_plan(spec, len(self._splits.train), self._trainee.device.type)
        self._judge = self._make_judge()

    def carry_out(self) -> Path:
        """Measure the base, train, judge, publish."""
        base = self._measure_base()
        self._check_wishes(0)
        trained = self._read_trained() or self._train()
        if not is_first():
            raise HelperDoneError
        folder = checkpoint_path(self._run_dir, trained.step)
        if is_whole(folder):
            load_weights(folder, self._trainee.model)
        metrics = self._metrics(base, self._judge.judge(trained.step), trained)
        return publish(self._run_dir, self._trainee, self._spec, metrics)

    def _pack(self) -> PackedSplits:
        return pack_splits(
            Path(self._spec.corpus),
            ExampleEncoder(self._trainee.tokenizer, self._block_size, self._spec.persona),
            block_size=self._block_size,
            pad_id=self._trainee.pad_id,
            max_evaluation_rows=self._spec.max_evaluation_rows,
        )

    def _make_judge(self) -> Judge:
        corpus = Path(self._spec.corpus)
        examples = itertools.chain(
            read_split(corpus, Split.VALIDATION), read_split(corpus, Split.TRAIN)
        )
        prompts = choose_prompts(
            self._spec.sample_prompts,
            examples,
            _SAMPLES,
            persona=self._spec.persona,
            prefixes=self._spec.sample_prefixes,
        )
        rows = self._plan.micro_batch_size
        return Judge(self._trainee, self._splits, prompts, self._spec, rows)

    def _measure_base(self) -> dict[str, Any]:
        """The base's figures, measured once; the model still is the base here."""
        path = self._run_dir / _BASE_FILE
        if path.exists():
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return kept
        if not is_first():
            return {}
        figures = self._judge.judge(
            0, lambda done, of: self._emit("measured", measured_tokens=done, tokens_to_measure=of)
        )
        if "validation" in figures:
            found = figures["validation"]
            loss, perplexity = found["loss"], found["perplexity"]
            self._emit("evaluated", step=0, loss=loss, perplexity=perplexity, is_best=False)
        self._emit("sampled", step=0, samples=figures["samples"])
        _write_json(path, figures)
        return figures

    def _train(self) -> Trained:
        checkpoints = valid_checkpoints(self._run_dir)
        newest = checkpoints[-1] if checkpoints else None
        trainer = self._make_trainer()
        self._tell_start(step_of(newest) if newest else 0)
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        step = trainer.state.global_step
        wish = share(self._wishes.current)
        if step < self._plan.steps and wish in (Wish.PAUSE, Wish.CANCEL):
            raise InterruptedRunError(wish, step)
        trained = Trained(
            trainer.state.best_global_step or step,
            step,
            round(trainer.seconds, 2),
            self._ending(step),
        )
        if is_first():
            _write_json(self._run_dir / _TRAINED_FILE, asdict(trained))
        return trained

    def _ending(self, step: int) -> str:
        if step >= self._plan.steps:
            return "finished"
        return "stopped" if self._wishes.current is Wish.STOP else "early-stopped"

    def _read_trained(self) -> Trained | None:
        path = self._run_dir / _TRAINED_FILE
        return Trained(**json.loads(path.read_text("utf-8"))) if path.exists() else None

    def _make_trainer(self) -> PackedTrainer:
        spec, trainee = self._spec, self._trainee
        if self._is_worth_compiling():
            compile_layers(trainee.causal)
        callbacks: list[TrainerCallback] = [self._hooks()]
        if spec.patience and len(self._splits.validation):
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=spec.patience))
        enable = functools.partial(enable_gradient_checkpointing, trainee.causal)
        trainer = PackedTrainer(
            measure=self._validate,
            enable_checkpointing=None if spec.gradient_checkpointing else enable,
            on_shrink=self._tell_shrink,
            shrunk=self._shrunk,
            model=trainee.model,
            args=training_arguments(spec, self._run_dir, self._plan, trainee, self._splits),
            train_dataset=PackedDataset(self._splits.train),
            eval_dataset=PackedDataset(self._splits.validation),
            callbacks=callbacks,
        )
        # Standard output carries events; Trainer's own printing would break it.
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        return trainer

    def _hooks(self) -> RunHooks:
        tokens = self._plan.batch_size * self._block_size * self._splits.train.fill
        return RunHooks(
            self._emit,
            self._wishes,
            tokens_a_step=tokens,
            sample=self._judge.sample if is_first() else lambda _step: [],
            sample_every=self._spec.sample_every,
            seconds_between_steps=_GPU_TELLING_SECONDS if self._is_on_gpu else 0.0,
        )

    def _is_worth_compiling(self) -> bool:
        return is_worth_compiling(
            self._spec,
            self._plan,
            parameters=self._trainee.causal.num_parameters(),
            tokens_a_step=self._plan.batch_size * self._block_size,
            device_type=self._trainee.device.type,
        )

    @property
    def _is_on_gpu(self) -> bool:
        return self._trainee.device.type == "cuda"

    def _validate(self, model: nn.Module) -> Likelihood:
        """The first process measures, so that all decide alike."""
        found: Likelihood = share(self._judge.validate(model) if is_first() else None)
        return found

    def _tell_start(self, step: int) -> None:
        parameters = list(self._trainee.model.parameters())
        self._emit(
            "started",
            step=step,
            steps=self._plan.steps,
            epochs=self._plan.epochs,
            rows=len(self._splits.train),
            tokens=self._splits.train.real_tokens,
            block_size=self._block_size,
            batch_size=self._plan.batch_size,
            micro_batch_size=self._plan.micro_batch_size,
            device=str(self._trainee.device),
            dtype=str(self._trainee.autocast or "float32").removeprefix("torch."),
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            parameters=sum(p.numel() for p in parameters),
        )
        if self._shrunk != Shrinkage():
            self._tell_shrink(self._shrunk)

    def _tell_shrink(self, shrunk: Shrinkage) -> None:
        micro = max(1, self._plan.micro_batch_size // shrunk.parts)
        self._emit(
            "shrunk",
            micro_batch_size=micro,
            accumulation=self._plan.batch_size // self._plan.processes // micro,
            gradient_checkpointing=shrunk.is_checkpointing,
        )

    def _metrics(
        self, base: dict[str, Any], tuned: dict[str, Any], trained: Trained
    ) -> dict[str, Any]:
        is_better: bool | None = None
        if "validation" in base:
            is_better = tuned["validation"]["loss"] < base["validation"]["loss"]
        return {
            "base": base,
            "tuned": tuned,
            "is_better": is_better,
            "step": trained.step,
            "steps": trained.steps,
            "planned_steps": self._plan.steps,
            "epochs": self._plan.epochs,
            "ending": trained.ending,
            "train_seconds": trained.seconds,
            "train_tokens": self._splits.train.real_tokens,
            "trained_tokens": self._splits.train.trained_tokens,
            "fill": round(self._splits.train.fill, 4),
            "corpus_sha256": hash_prepared(Path(self._spec.corpus)),
            "method": self._spec.method,
            "seed": self._spec.seed,
        }

    def _check_wishes(self, step: int) -> None:
        wish = self._wishes.current
        if wish in (Wish.PAUSE, Wish.CANCEL):
            raise InterruptedRunError(wish, step)


def _read_shrinkage(run_dir: Path) -> Shrinkage:
    """What the processes that ran before found of their memory.

    Raises:
        OutOfMemoryError: nothing is left to be made smaller.
    """
    shrunk = read_note(run_dir)
    if shrunk.is_over:
        if is_first():
            forget_note(run_dir)
        raise OutOfMemoryError
    return shrunk


def _say_nothing(event: str, **_: Any) -> None:
    """One process speaks for all."""


def _silence_transformers() -> None:
    """What it would log, events tell."""
    untyped: Any = logging
    untyped.set_verbosity_error()
    untyped.disable_progress_bar()


def _write_json(path: Path, value: Any) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
