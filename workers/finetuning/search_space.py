"""A search's options as Optuna knows them, and the choice of the next ones.

A study is built anew from the ledger's trials each time, and each trial has a seed of its own, so
that a search that was interrupted chooses what it would have chosen anyway.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from core.corpora.searches import Choice, Dimension, Sampler, SearchSpec, Trial, TrialState
from workers.finetuning.errors import SpecError
from workers.finetuning.spec import RunSpec

SEARCHABLE = frozenset(
    {
        "epochs", "max_steps", "learning_rate", "schedule", "warmup_share", "warmup_steps",
        "weight_decay", "max_grad_norm", "block_size", "batch_size", "frozen_layers",
        "lora_rank", "lora_alpha", "lora_dropout", "lora_targets",
    }
)  # fmt: skip
# Points of a range on a grid.
_GRID_POINTS = 4
_PRUNING_STARTS_AFTER = 2
# The evaluation from which on a trial may be given up; the first says too little.
_JUDGED_FROM = 2
_SEEDS = 2**32


def check_search(spec: RunSpec, search: SearchSpec) -> None:
    """Find out before the first trial whether each value can be trained with.

    Raises:
        SpecError: an option cannot be searched, or a value of it is out of range.
    """
    for option, dimension in search.space.items():
        if option not in SEARCHABLE:
            known = ", ".join(sorted(SEARCHABLE))
            raise SpecError(f"“{option}” cannot be searched; these can: {known}.", option=option)
        for value in dimension.ends:
            # The ends of a range are kept as floats.
            is_end = isinstance(value, float) and not dimension.choices and value.is_integer()
            checked = int(value) if is_end and RunSpec.is_whole(option) else value
            replace(spec, **{option: checked})  # type: ignore[arg-type]  # checked when it is made


def count_trials(search: SearchSpec) -> int:
    """How many trials there will be; a small grid has fewer than are allowed."""
    if search.sampler is not Sampler.GRID:
        return search.trials
    combinations = 1
    for option, dimension in search.space.items():
        combinations *= len(_grid_points(option, dimension))
    return min(search.trials, combinations)


class Study:
    """What is known before one trial, and Optuna's judgement on it.

    Args:
        search: what is asked for.
        trials: those before this one, ended.
        seed: of the whole search.
    """

    def __init__(self, search: SearchSpec, trials: Sequence[Trial], seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search = search
        self._number = len(trials)
        self._seed = (seed + self._number) % _SEEDS
        self._grid_seed = seed
        self._distributions = {
            option: _distribution(option, dimension) for option, dimension in search.space.items()
        }
        self._study = optuna.create_study(
            direction="minimize",
            sampler=self._sampler(),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_PRUNING_STARTS_AFTER, n_warmup_steps=_JUDGED_FROM
            ),
        )
        for trial in trials:
            self._study.add_trial(self._frozen(trial))
        self._trial: optuna.Trial | None = None
        self._reports = 0
        self._earlier: list[tuple[int, float]] = []

    def choose(self, begun: Trial | None = None) -> dict[str, Choice]:
        """The options of the trial.

        Args:
            begun: the trial as far as it came before an interruption, whose options it keeps.
        """
        if begun is not None:
            self._earlier = [(step, loss) for step, loss in begun.validation if step > 0]
        wanted = begun.options if begun is not None else self._on_grid()
        if wanted is not None:
            self._study.enqueue_trial(dict(wanted))
        self._trial = self._study.ask(self._distributions)
        return dict(self._trial.params)

    def is_hopeless(self, step: int, loss: float) -> bool:
        """Take the loss of the trial's next evaluation in; whether it fell behind the others
        (worse than the median of theirs at the same evaluation)."""
        if self._trial is None:
            return False
        # What a trial that goes on had before its checkpoint counts; what came after it is redone.
        for earlier, kept_loss in self._earlier:
            if earlier < step:
                self._report(self._trial, kept_loss)
        self._earlier = []
        self._report(self._trial, loss)
        return bool(self._trial.should_prune())

    def _report(self, trial: optuna.Trial, loss: float) -> None:
        self._reports += 1
        trial.report(loss, self._reports)

    def _sampler(self) -> optuna.samplers.BaseSampler:
        if self._search.sampler is Sampler.BAYESIAN:
            # A third of the trials is drawn at random, for the model to learn from.
            startup = max(2, self._search.trials // 3)
            return optuna.samplers.TPESampler(seed=self._seed, n_startup_trials=startup)
        return optuna.samplers.RandomSampler(seed=self._seed)

    def _on_grid(self) -> dict[str, Choice] | None:
        """The combination whose turn it is: all of them in an order that the seed shuffles, so
        that a part of them is spread over the whole grid."""
        if self._search.sampler is not Sampler.GRID:
            return None
        options = list(self._search.space)
        points = [_grid_points(option, self._search.space[option]) for option in options]
        combinations = list(itertools.product(*points))
        random.Random(self._grid_seed).shuffle(combinations)  # noqa: S311 (no secret)
        return dict(zip(options, combinations[self._number % len(combinations)], strict=True))

    def _frozen(self, trial: Trial) -> FrozenTrial:
        losses = [loss for step, loss in trial.validation if step > 0]
        states = {
            TrialState.COMPLETE: OptunaState.COMPLETE,
            TrialState.PRUNED: OptunaState.PRUNED,
            TrialState.FAILED: OptunaState.FAIL,
        }
        return optuna.trial.create_trial(
            state=states[trial.state],
            value=trial.loss if trial.state is TrialState.COMPLETE else None,
            params=dict(trial.options),
            distributions=self._distributions,
            intermediate_values=dict(enumerate(losses, start=1)),
        )


def _distribution(option: str, dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(list(dimension.choices))
    if RunSpec.is_whole(option):
        return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.is_log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def _grid_points(option: str, dimension: Dimension) -> list[Choice]:
    if dimension.choices:
        return list(dimension.choices)
    shares = [number / (_GRID_POINTS - 1) for number in range(_GRID_POINTS)]
    low, high = dimension.low, dimension.high
    if dimension.is_log:
        points = [low * (high / low) ** share for share in shares]
    else:
        points = [low + (high - low) * share for share in shares]
    # Rounding must not put the last one behind the end.
    points = [min(high, max(low, point)) for point in points]
    whole = sorted({round(point) for point in points})
    return list(whole) if RunSpec.is_whole(option) else list(points)
