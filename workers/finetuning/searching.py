"""A search: trial after trial, each a run of its own, until the best of them is known."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from core.corpora.searches import (
    TRIAL_BEGAN,
    TRIAL_ENDED,
    NothingToJudgeByError,
    SearchSpec,
    Trial,
    TrialState,
    best_trial,
    read_trials,
)
from core.db.desk import Desk
from core.jobs.states import JobWish
from workers.finetuning.outcomes import TrainingFailedError, check_outcome
from workers.finetuning.reporting import TrialReporter, Wanted
from workers.finetuning.search_space import Study, count_trials
from workers.finetuning.spec import RunSpec
from workers.finetuning.supervisor import Outcome, TrainerProcess
from workers.finetuning.wishes import Wish
from workers.leases import HeldJob

log = structlog.get_logger(__name__)

_BASE_FILE = "base.json"
# With these options a run makes no sense, which another trial's may still do.
_OF_THE_OPTIONS = {"training-diverged", "training-out-of-memory"}


@dataclass(frozen=True)
class Found:
    """What a search ends with.

    Attributes:
        run_dir: of the best trial, with its ``published`` folder.
        spec: of the best trial.
        metrics: of its model.
        best: its number.
        trials: how many there were.
    """

    run_dir: Path
    spec: RunSpec
    metrics: dict[str, Any]
    best: int
    trials: int


@dataclass(frozen=True)
class SearchParts:
    """What a search works with.

    Attributes:
        desk: for the ledger.
        spec: what all trials have in common.
        search: what varies.
        run_dir: of this job; each trial gets a folder in it.
        nice: of the trainers.
    """

    desk: Desk
    spec: RunSpec
    search: SearchSpec
    run_dir: Path
    nice: int


class Search:
    """Carries one claimed search out. The ledger's events are its memory; the run folder only
    saves work."""

    def __init__(self, held: HeldJob, parts: SearchParts) -> None:
        self._desk = parts.desk
        self._held = held
        self._spec = parts.spec
        self._search = parts.search
        self._run_dir = parts.run_dir
        self._nice = parts.nice
        self._wanted = Wanted(parts.desk, held)

    def carry_out(self) -> Found:
        """Run what is left of the trials and return the best.

        Raises:
            TrainingFailedError: no trial came to an end.
            LeaseLostError, CancelledJobError, DrainedError: the job must stop.
        """
        count = count_trials(self._search)
        trials = self._read()
        # A search may have been stopped while it waited; only the first model must still be made.
        self._wanted.now()
        while self._wanted.asked is not JobWish.STOP or best_trial(trials) is None:
            ended = [one for one in trials if one.state is not TrialState.RUNNING]
            if len(ended) >= count:
                break
            self._run_next(ended, trials, count)
            trials = self._read()
            self._drop_all_but(best_trial(trials))
        best = best_trial(trials)
        if best is None:
            raise TrainingFailedError("No trial of the search came to an end.")
        return self._found(best, len(trials))

    def _read(self) -> list[Trial]:
        job_id = self._held.claim.job_id
        return self._desk.hand_in(lambda session: read_trials(session, job_id)).result()

    def _run_next(self, ended: list[Trial], trials: list[Trial], count: int) -> None:
        number = len(ended)
        study = Study(self._search, ended, self._spec.seed)
        begun = next((one for one in trials if one.number == number), None)
        options = study.choose(begun)
        hopeless: list[float] = []

        def judge(step: int, loss: float) -> None:
            if step > 0 and study.is_hopeless(step, loss):
                hopeless.append(loss)

        reporter = TrialReporter(self._desk, self._held, number, count, judge)
        if begun is None:
            reporter.record(TRIAL_BEGAN, number=number, options=options)
        outcome = self._run(
            number,
            replace(self._spec, **options),  # type: ignore[arg-type]  # checked when it is made
            reporter,
            lambda: self._wanted.now() or (Wish.CANCEL if hopeless else None),
        )
        end = self._end_of(outcome, min(hopeless, default=None))
        log.info("trial_ended", number=number, **end)
        reporter.record(TRIAL_ENDED, number=number, **end)

    def _run(
        self,
        number: int,
        spec: RunSpec,
        reporter: TrialReporter,
        wanted: Callable[[], Wish | None],
    ) -> Outcome:
        folder = self._folder(number)
        if spec.tensorboard_dir:
            spec = replace(spec, tensorboard_dir=f"{spec.tensorboard_dir}/trial-{number}")
        spec.write(folder)
        self._share_base(folder)
        trainer = TrainerProcess(folder, reporter.hear, processes=spec.processes, nice=self._nice)
        outcome = trainer.run(wanted)
        self._keep_base(folder)
        return outcome

    def _end_of(self, outcome: Outcome, hopeless_loss: float | None) -> dict[str, Any]:
        """What the ledger keeps of a trial; raises what ends the whole job."""
        self._held.check()
        if outcome.ending == "cancelled" and hopeless_loss is not None:
            return {"state": TrialState.PRUNED, "loss": hopeless_loss, "seconds": None}
        if outcome.ending == "failed" and outcome.event["code"] in _OF_THE_OPTIONS:
            return {"state": TrialState.FAILED, "loss": None, "seconds": None}
        check_outcome(self._held, outcome)
        metrics = outcome.event["metrics"]
        found = metrics["tuned"].get("validation")
        if found is None or found["loss"] is None:
            raise NothingToJudgeByError
        seconds = metrics["train_seconds"]
        return {"state": TrialState.COMPLETE, "loss": found["loss"], "seconds": seconds}

    def _found(self, best: Trial, count: int) -> Found:
        spec = replace(self._spec, **best.options)  # type: ignore[arg-type]  # as above
        folder = self._folder(best.number)
        path = folder / "published" / "metrics.json"
        if not path.exists():
            # Another host ran it, whose folder is not here; with its seed it is made again.
            self._make_again(best, spec, count)
        metrics = json.loads(path.read_text("utf-8"))
        return Found(folder, spec, metrics, best.number, count)

    def _make_again(self, best: Trial, spec: RunSpec, count: int) -> None:
        reporter = TrialReporter(self._desk, self._held, best.number, count, lambda *_: None)
        # A wish to stop is for trials; this run is what is to be kept.
        outcome = self._run(best.number, spec, reporter, self._to_the_end)
        check_outcome(self._held, outcome)

    def _to_the_end(self) -> Wish | None:
        wish = self._wanted.now()
        return None if wish is Wish.STOP else wish

    def _folder(self, number: int) -> Path:
        return self._run_dir / f"trial-{number}"

    def _drop_all_but(self, best: Trial | None) -> None:
        """Only the best trial's folder is needed any more."""
        for folder in self._run_dir.glob("trial-*"):
            if best is None or folder != self._folder(best.number):
                shutil.rmtree(folder, ignore_errors=True)

    def _share_base(self, folder: Path) -> None:
        """The base is the same for all trials, so it is measured once; in other blocks its
        documents are cut otherwise."""
        kept = self._run_dir / _BASE_FILE
        if kept.exists() and "block_size" not in self._search.space:
            shutil.copyfile(kept, folder / _BASE_FILE)

    def _keep_base(self, folder: Path) -> None:
        measured = folder / _BASE_FILE
        if measured.exists():
            shutil.copyfile(measured, self._run_dir / _BASE_FILE)
