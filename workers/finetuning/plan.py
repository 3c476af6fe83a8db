"""The numbers of a run that follow from its spec and its corpus."""

import math
from dataclasses import dataclass

from workers.finetuning.spec import RunSpec

_BLOCK_SIZE = 512
_STEPS_AN_EPOCH = 20
_MAX_BATCH = 16
# On a CPU one row keeps all cores busy and the caches warm; a GPU wants more at a time.
_MICRO_BATCH = {"cpu": 1}
_GPU_MICRO_BATCH = 8
# Compiling takes a GPU half a minute. Layers as they are reach some 100 TFLOP/s on those of today,
# so that a run of less work than a minute of that is over before compiling pays.
_COMPILED_FROM_FLOPS = 6e15
# Entering twelve compiled layers, forward and back, takes the host some 55 ms a step (an H100's),
# as they are 35 ms: with less than this at a time the device would wait for the host.
_COMPILED_FROM_TOKENS = 16_384
_EVALUATIONS = 10
# Some dozens of steps teach a small corpus; those that are too many, validation ends.
_STEPS_TO_LEARN_IN, _FEWEST_EPOCHS, _MOST_EPOCHS = 120, 3, 30
_FULL_LEARNING_RATE = 5e-5
# Ten times that at a width of 2,000, and the more the narrower the model.
# See Schulman et al. 2025, "LoRA Without Regret".
_LORA_LEARNING_RATE, _LORA_WIDTH, _LORA_EXPONENT, _MOST_LORA_LEARNING_RATE = 5e-4, 2000, 0.78, 2e-3
# What a token that is only measured takes of the time of one that is learnt, and what a token of
# all samples at once takes. On the CPU; a GPU takes longer for samples, and for nothing else.
_MEASURED, _SAMPLED = 0.4, 6
# On a CPU an evaluation with its samples takes as long as two steps: more often than after four of
# them a short run would be judged longer than it learns.
_STEPS_APART, _FEWEST_EVALUATIONS = 4, 3


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Counts of rows and steps.

    Attributes:
        micro_batch_size: rows in one forward pass of one process.
        accumulation: forward passes of one process in one optimizer step.
        steps: optimizer steps of the whole run.
        epochs: passes over the training split that they make.
        warmup_steps: those in which the learning rate rises.
        evaluate_every, save_every: in optimizer steps.
    """

    micro_batch_size: int
    accumulation: int
    steps: int
    epochs: float
    warmup_steps: int
    evaluate_every: int
    save_every: int
    processes: int = 1

    @property
    def batch_size(self) -> int:
        """Rows of an optimizer step, those of all processes together."""
        return self.micro_batch_size * self.accumulation * self.processes


def choose_block_size(spec: RunSpec, context_window: int) -> int:
    """Tokens in a row, never more than the base can see."""
    return min(spec.block_size or _BLOCK_SIZE, context_window)


def choose_learning_rate(spec: RunSpec, width: int) -> float:
    """The peak of the rate for a model whose states have ``width`` numbers."""
    if spec.learning_rate or spec.method == "full":
        return spec.learning_rate or _FULL_LEARNING_RATE
    rate = _LORA_LEARNING_RATE * (_LORA_WIDTH / width) ** _LORA_EXPONENT
    return float(f"{min(_MOST_LORA_LEARNING_RATE, rate):.1e}")


def make_plan(spec: RunSpec, rows: int, device_type: str) -> TrainingPlan:
    """Fill in what the spec leaves open.

    An epoch of a small corpus has too few steps to learn it by, so that it gets more of them.

    Args:
        spec: the options.
        rows: packed rows of the training split.
        device_type: where training runs (``cpu``, ``cuda``; ROCm is ``cuda`` to torch).
    """
    micro = spec.micro_batch_size or _MICRO_BATCH.get(device_type, _GPU_MICRO_BATCH)
    if spec.accumulation:
        batch = micro * spec.accumulation * spec.processes
    else:
        batch = spec.batch_size or min(_MAX_BATCH, max(1, rows // _STEPS_AN_EPOCH))
    # Each process takes its share of the rows of a step.
    share, rows_of_one = math.ceil(batch / spec.processes), math.ceil(rows / spec.processes)
    micro = min(micro, share, rows_of_one)
    accumulation = max(1, round(share / micro))
    steps_an_epoch = math.ceil(math.ceil(rows_of_one / micro) / accumulation)
    epochs = spec.epochs or _choose_epochs(steps_an_epoch)
    steps = spec.max_steps or max(1, math.ceil(steps_an_epoch * epochs))
    apart = min(_STEPS_APART, math.ceil(steps / _FEWEST_EVALUATIONS))
    evaluate_every = spec.evaluate_every or max(apart, math.ceil(steps / _EVALUATIONS))
    return TrainingPlan(
        micro_batch_size=micro,
        accumulation=accumulation,
        steps=steps,
        epochs=round(steps / steps_an_epoch, 2) if spec.max_steps else epochs,
        # The rate of a first step that warms up is nothing, and a run of one step would learn that.
        warmup_steps=min(spec.warmup_steps, steps - 1) or int(steps * spec.warmup_share),
        evaluate_every=evaluate_every,
        save_every=spec.save_every or evaluate_every,
        processes=spec.processes,
    )


@dataclass(frozen=True, slots=True)
class Judging:
    """What a run does beside learning, in tokens that it could have learnt in the time.

    Attributes:
        between_steps: the evaluations of the run with their samples.
        before_and_after: the figures of the base and of the result.
    """

    between_steps: int
    before_and_after: int


def count_judging(
    spec: RunSpec, plan: TrainingPlan, *, block_size: int, validation_tokens: int, test_tokens: int
) -> Judging:
    """What measuring and sampling will take, by the sizes of the splits that are held back."""
    most = spec.max_evaluation_rows * block_size
    validation = _MEASURED * min(validation_tokens, most)
    evaluations = plan.steps // plan.evaluate_every if validation_tokens else 0
    rounds = plan.steps // spec.sample_every if spec.sample_every else evaluations
    sampling = _SAMPLED * spec.sample_max_new_tokens
    figures = validation + _MEASURED * min(test_tokens, most) + sampling
    return Judging(round(evaluations * validation + rounds * sampling), round(2 * figures))


def _choose_epochs(steps_an_epoch: int) -> float:
    wanted = math.ceil(_STEPS_TO_LEARN_IN / steps_an_epoch)
    return float(min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, wanted)))


def is_worth_compiling(
    spec: RunSpec, plan: TrainingPlan, *, parameters: int, tokens_a_step: float, device_type: str
) -> bool:
    """Whether layers are compiled; a rule and no measurement, so that a run that is taken up again
    computes as before.

    On a CPU compiled layers gain a few hundredths where attention and activation have kernels of
    their own, and take a minute to compile: never by itself.

    Args:
        spec: has the last word.
        plan: the run's steps.
        parameters: of the model.
        tokens_a_step: of all rows of a step.
        device_type: where training runs.
    """
    if spec.compile != "auto":
        return spec.compile == "yes"
    if device_type == "cpu":
        return False
    at_a_time = tokens_a_step / plan.processes / plan.accumulation
    flops = 6.0 * parameters * tokens_a_step * plan.steps / plan.processes
    return at_a_time >= _COMPILED_FROM_TOKENS and flops >= _COMPILED_FROM_FLOPS
