"""What happens at the end of steps and evaluations: events out, wishes in, divergence noticed."""

# ruff: noqa: ARG002 (the signatures of callbacks are transformers')

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workers.finetuning.checkpoints import checkpoint_path
from workers.finetuning.errors import DivergedError
from workers.finetuning.events import Emit
from workers.finetuning.parallel import share
from workers.finetuning.wishes import Wish, Wishes

# The smoothed loss may rise this far above its lowest, in nats, before the run counts as lost:
# from GPT-2's usual 3.5 that is a perplexity twenty times as high.
_MAX_RISE = 3.0
_SMOOTHING = 0.9


class RunHooks(TrainerCallback):
    """Speaks with the supervisor in the loop's pauses.

    Args:
        emit: writes an event.
        wishes: what the outside wants.
        tokens_a_step: real tokens of an optimizer step, on average.
        sample: makes the samples after a step, ``[]`` for none.
        sample_every: steps between samples; 0 makes them with each evaluation alone.
        seconds_between_steps: told of; on a GPU each one waits until the device has come to its
            end, so not every step is.
    """

    def __init__(
        self,
        emit: Emit,
        wishes: Wishes,
        *,
        tokens_a_step: float,
        sample: Callable[[int], list[dict[str, str]]],
        sample_every: int = 0,
        seconds_between_steps: float = 0.0,
    ) -> None:
        self._emit = emit
        self._wishes = wishes
        self._tokens_a_step = tokens_a_step
        self._sample = sample
        self._sample_every = sample_every
        self._seconds_between_steps = seconds_between_steps
        self._told = -math.inf
        self._started = 0.0
        self._first_step = 0
        # Time spent on evaluation and samples says nothing about the speed of training.
        self._aside_seconds = 0.0
        self._watch = LossWatch()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Begin to measure."""
        self._started = time.monotonic()
        self._first_step = state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Have a step told of when it is time."""
        is_last = state.global_step >= state.max_steps
        has_samples = self._sample_every and state.global_step % self._sample_every == 0
        is_time = time.monotonic() - self._told >= self._seconds_between_steps
        if is_last or has_samples or is_time:
            control.should_log = True
            self._told = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Tell of a step and obey what was wished for meanwhile; each step is logged.

        Raises:
            DivergedError: the loss is no number or far above where it was.
        """
        if logs is None or "loss" not in logs:
            return
        self._watch.look(logs["loss"], state.global_step)
        speed, left = self._speed(state)
        self._emit(
            "step",
            step=state.global_step,
            steps=state.max_steps,
            epoch=round(state.epoch or 0.0, 4),
            loss=logs["loss"],
            learning_rate=logs.get("learning_rate", 0.0),
            gradient_norm=logs.get("grad_norm", 0.0),
            tokens_per_second=round(speed * self._tokens_a_step, 1),
            seconds_left=round(left, 1),
        )
        if self._sample_every and state.global_step % self._sample_every == 0:
            self._tell_samples(state.global_step)
        self._obey(args, control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Tell of an evaluation, keep its weights, make its samples."""
        began = time.monotonic()
        loss = (metrics or {}).get("eval_loss", math.nan)
        best = math.inf if state.best_metric is None else state.best_metric
        self._emit(
            "evaluated",
            step=state.global_step,
            loss=loss,
            perplexity=(metrics or {}).get("eval_perplexity", math.nan),
            is_best=loss < best,
        )
        # The best weights are only the best ones kept if each evaluation keeps its own.
        control.should_save = True
        self._aside_seconds += time.monotonic() - began
        # Asked for at other steps, they are made there alone; the result is sampled in the end.
        if not self._sample_every:
            self._tell_samples(state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell of a checkpoint."""
        folder = checkpoint_path(_folder(args), state.global_step)
        self._emit("checkpointed", step=state.global_step, folder=folder.name)

    def _tell_samples(self, step: int) -> None:
        began = time.monotonic()
        samples = self._sample(step)
        if samples:
            self._emit("sampled", step=step, samples=samples)
        self._aside_seconds += time.monotonic() - began

    def _obey(self, args: TrainingArguments, control: TrainerControl) -> None:
        wish = share(self._wishes.current)
        if wish is None:
            return
        control.should_training_stop = True
        control.should_save = wish is not Wish.CANCEL
        # Pausing must be quick; stopping ends the run, so its last weights are to be judged too.
        control.should_evaluate = wish is Wish.STOP and args.eval_strategy != "no"

    def _speed(self, state: TrainerState) -> tuple[float, float]:
        """Steps a second in this process, and the seconds that are left."""
        elapsed = time.monotonic() - self._started - self._aside_seconds
        speed = (state.global_step - self._first_step) / max(elapsed, 1e-6)
        return speed, (state.max_steps - state.global_step) / max(speed, 1e-9)


class LossWatch:
    """Notices a loss that is no number, or that has left the range in which a model learns."""

    def __init__(self) -> None:
        self._smooth = math.nan
        self._lowest = math.inf

    def look(self, loss: float, step: int) -> None:
        """Take one step's loss in.

        Raises:
            DivergedError: training makes no sense any more.
        """
        if not math.isfinite(loss):
            raise DivergedError(
                f"The loss is no number any more at step {step}; "
                "a lower learning rate or float32 may help.",
                step=step,
            )
        first = math.isnan(self._smooth)
        self._smooth = loss if first else _SMOOTHING * self._smooth + (1 - _SMOOTHING) * loss
        self._lowest = min(self._lowest, self._smooth)
        if self._smooth > self._lowest + _MAX_RISE:
            raise DivergedError(
                f"The loss rose from {self._lowest:.2f} to {self._smooth:.2f} at step {step}; "
                "a lower learning rate may help.",
                step=step,
            )


def _folder(args: TrainingArguments) -> Path:
    return Path(str(args.output_dir))
