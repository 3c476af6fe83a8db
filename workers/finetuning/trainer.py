"""``transformers``' Trainer with the few parts of our own that pay.

Trainer brings the loop, schedules, mixed precision with loss scaling, clipping, early stopping
and several GPUs, and a bare loop was no faster. Replaced are the loss (summed over learnt tokens
and never as full logits), checkpoints (atomic, without pickle), evaluation (token-weighted), and
running out of memory, which here leads to smaller micro-batches instead of a failure.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import structlog
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer
from transformers.trainer_callback import ExportableState

from workers.finetuning.checkpoints import (
    checkpoint_path,
    load_optimizer,
    load_random_state,
    load_scalars,
    load_weights,
    rotate,
    save_checkpoint,
)
from workers.finetuning.errors import OutOfMemoryError, ShrunkError
from workers.finetuning.evaluation import Likelihood
from workers.finetuning.packing import PackedRows
from workers.finetuning.shrinking import Shrinkage
from workers.generation.memory import collect_garbage, is_out_of_memory

log = structlog.get_logger(__name__)

Item = dict[str, Any]
Batch = dict[str, Any]


class PackedDataset(Dataset[Item]):
    """Packed rows as Trainer wants them."""

    def __init__(self, rows: PackedRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        rows = self._rows
        return {
            "input_ids": torch.from_numpy(rows.input_ids[index]).long(),
            "position_ids": torch.from_numpy(rows.position_ids[index]).long(),
            "labels": torch.from_numpy(rows.labels[index]).long(),
            "documents": rows.lengths(index),
            "learnt": rows.learnt(index),
        }


# What stays on the CPU, an array for each row, so that no device is waited for and a batch can be
# parted by rows.
_ARRAYS = ("documents", "learnt")


def collate(items: Sequence[Item]) -> Batch:
    """Rows as a batch; those of short documents come first
    (:class:`workers.finetuning.packed_attention.Documents`)."""
    items = sorted(items, key=lambda item: int(item["documents"].max()))
    tensors = [name for name in items[0] if name not in _ARRAYS]
    batch: Batch = {name: torch.stack([item[name] for item in items]) for name in tensors}
    return batch | {name: [item[name] for item in items] for name in _ARRAYS}


class PackedTrainer(Trainer):
    """Trains on packed rows with a model that returns summed losses.

    Invariants: every learnt token weighs the same in a step, however rows are parted; a run that
    goes on from a checkpoint repeats bit for bit what it would have done without the break.

    Args:
        measure: evaluates the model on the validation rows.
        enable_checkpointing: turns gradient checkpointing on; the last resort for memory.
        on_shrink: hears of each shrinking.
        shrunk: how small the run has to be from the start.
        arguments: as Trainer has them.
    """

    # The loss is divided by all learnt tokens of the step, accumulation included.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        measure: Callable[[nn.Module], Likelihood],
        enable_checkpointing: Callable[[], None] | None,
        on_shrink: Callable[[Shrinkage], None],
        shrunk: Shrinkage,
        **arguments: Any,
    ) -> None:
        super().__init__(data_collator=collate, **arguments)
        self.model_accepts_loss_kwargs = True
        self._measure = measure
        self._enable_checkpointing = enable_checkpointing
        self._on_shrink = on_shrink
        self._shrunk = Shrinkage()
        self._shrink_to(shrunk)
        self._pending: list[Mapping[str, Any]] = []
        self._pending_step = -1
        self._seconds_before = 0.0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since training began, that of earlier processes up to their checkpoint included."""
        return self._seconds_before + time.monotonic() - self._began

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean over the learnt tokens of the whole optimizer step."""
        outputs = model(**inputs)
        if num_items_in_batch is None:
            num_items_in_batch = (inputs["labels"][..., 1:] != -100).sum()
        loss = outputs.loss / num_items_in_batch
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            # Gradients are averaged over devices, tokens were counted over all of them.
            loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Forward and backward of one micro-batch, in smaller parts where memory runs out.

        Raises:
            OutOfMemoryError: a single row does not fit even with gradient checkpointing.
            ShrunkError: this is one of several processes, all of which must begin again smaller.
        """
        if self._pending_step != self.state.global_step:
            self._pending, self._pending_step = [], self.state.global_step
        self._pending.append(inputs)
        todo = [inputs]
        while True:
            try:
                losses = [self._step_in_parts(model, one, num_items_in_batch) for one in todo]
                return losses[-1]
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                self._shrink(len(inputs["input_ids"]), exc)
            # Backward may have added half of its gradients: begin the whole step again. Only here
            # is what the failed attempt held given back.
            model.zero_grad()
            collect_garbage()
            todo = list(self._pending)  # type: ignore[arg-type]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Token-weighted loss of the validation rows."""
        found = self._measure(self._trained())
        metrics = {"eval_loss": found.loss, "eval_perplexity": found.perplexity}
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _step_in_parts(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items: Tensor | int | None
    ) -> Tensor:
        rows = len(inputs["input_ids"])
        size = math.ceil(rows / self._shrunk.parts)
        losses = [
            super(PackedTrainer, self).training_step(
                model, {k: v[start : start + size] for k, v in inputs.items()}, num_items
            )
            for start in range(0, rows, size)
        ]
        return torch.stack(losses).sum()

    def _shrink(self, rows: int, exc: BaseException) -> None:
        """Halve the parts; with single rows, recompute activations; then give up."""
        wanted = self._shrunk.further(rows)
        log.warning("micro_batch_shrunk", parts=wanted.parts, checkpointing=wanted.is_checkpointing)
        if self.args.world_size > 1:
            wanted.leave_note(Path(str(self.args.output_dir)))
            raise ShrunkError from exc
        if wanted.is_over:
            raise OutOfMemoryError from exc
        self._shrink_to(wanted)
        self._on_shrink(self._shrunk)

    def _shrink_to(self, wanted: Shrinkage) -> None:
        if wanted.is_checkpointing and self._enable_checkpointing is not None:
            self._enable_checkpointing()
            self._enable_checkpointing = None
        is_checkpointing = self._enable_checkpointing is None
        self._shrunk = Shrinkage(wanted.parts, is_checkpointing)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:  # noqa: ARG002
        """Our own checkpoint in place of Trainer's, which pickles."""
        if not self.args.should_save:
            return
        self._export_callbacks()
        folder = checkpoint_path(Path(str(self.args.output_dir)), self.state.global_step)
        state = dataclasses.asdict(self.state) | {"log_history": [], "best_model_checkpoint": None}
        save_checkpoint(
            folder, self._trained(), self._optimizer(), self._scalars(), json.dumps(state, indent=2)
        )
        best = self.state.best_global_step
        run_dir = folder.parent
        rotate(
            run_dir,
            keep=self.args.save_total_limit or 1,
            best=checkpoint_path(run_dir, best) if best else None,
        )

    def _scalars(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "scheduler": self._scheduler().state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "parts": self._shrunk.parts,
            "seconds": self.seconds,
            "is_checkpointing": self._shrunk.is_checkpointing,
        }

    def _export_callbacks(self) -> None:
        """Let early stopping and the like write down where they are."""
        kept: Any = self.state.stateful_callbacks
        for callback in (*self.callback_handler.callbacks, self.control):
            if isinstance(callback, ExportableState):
                kept[type(callback).__name__] = callback.state()

    # Trainer makes these three late, so for the type checker they may be missing.
    def _trained(self) -> nn.Module:
        return cast("nn.Module", self.model)

    def _optimizer(self) -> torch.optim.Optimizer:
        return cast("torch.optim.Optimizer", self.optimizer)

    def _scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        return cast("torch.optim.lr_scheduler.LRScheduler", self.lr_scheduler)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        load_weights(Path(resume_from_checkpoint), model or self._trained())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        load_optimizer(folder, self._optimizer())
        scalars = load_scalars(folder)
        self._scheduler().load_state_dict(scalars["scheduler"])
        self._seconds_before = scalars["seconds"]
        self._began = time.monotonic()
        self._shrink_to(
            Shrinkage(
                max(self._shrunk.parts, scalars["parts"]),
                self._shrunk.is_checkpointing or scalars["is_checkpointing"],
            )
        )

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None:
            stored = load_scalars(Path(checkpoint))["scaler"]
            if stored:
                self.accelerator.scaler.load_state_dict(stored)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_random_state(Path(checkpoint))
