"""A fine-tune followed in a terminal: a bar, samples as they come, figures at the end."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Engine, Row, select
from sqlalchemy.orm import Session

from cli.chat.printing import printable
from cli.patience import patiently
from core.corpora.curves import Curve, read_curve
from core.corpora.searches import Trial, best_trial, read_trials
from core.db.engines import reading
from core.db.tables import Job
from core.errors import PerroquetError
from core.jobs.states import JobState

_POLL_SECONDS = 1.0


class FinetuneFailedError(PerroquetError):
    """The job ended without a version; the message is the worker's."""

    code = "training-failed"


def watch_job(engine: Engine, console: Console, job_id: str, picture: Path | None) -> None:
    """Show a job until it ends.

    Args:
        engine: of the ledger.
        console: to show it on.
        job_id: of a fine-tune.
        picture: gets the loss curve as a PNG; of a search, those of its trials.

    Raises:
        FinetuneFailedError: it ended without a version.
    """
    row = _follow(engine, console, job_id)
    with Session(engine) as session:
        trials = read_trials(session, job_id)
        curve = read_curve(session, job_id)
    if trials:
        console.print(_trials_table(trials))
    if row.state != JobState.SUCCEEDED:
        raise FinetuneFailedError(row.error or f"The job was {row.state}.")
    console.print(_figures_table(row.result["metrics"]))
    if picture is not None:
        _draw(picture, curve, trials, row.result["metrics"]["planned_steps"])


def _follow(engine: Engine, console: Console, job_id: str) -> Row[Any]:
    sampled = -1
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("waiting for the worker", total=None)
        while True:
            row = patiently(lambda: _read(engine, job_id), _POLL_SECONDS)
            if JobState(row.state).is_final:
                return row
            progress = (row.result or {}).get("progress")
            if progress:
                bar.update(
                    task,
                    description=_headline(progress),
                    total=progress.get("steps", progress.get("tokens_to_measure")),
                    completed=progress.get("step", progress.get("measured_tokens")),
                )
                if progress.get("sampled_step", -1) > sampled:
                    sampled = progress["sampled_step"]
                    _print_samples(console, sampled, progress["samples"])
            time.sleep(_POLL_SECONDS)


def _read(engine: Engine, job_id: str) -> Row[Any]:
    with Session(reading(engine)) as session:
        return session.execute(
            select(Job.state, Job.result, Job.error).where(Job.id == job_id)
        ).one()


def _headline(progress: dict[str, Any]) -> str:
    trial = f"trial {progress['trial']}/{progress['trials']} " if "trial" in progress else ""
    if "step" not in progress:
        return f"{trial}measuring the base"
    loss = progress["loss"]
    return f"{trial}loss {loss:.3f}" if loss is not None else f"{trial}no loss"


def _print_samples(console: Console, step: int, samples: list[dict[str, str]]) -> None:
    console.print(f"[dim]After step {step}[/dim]")
    for sample in samples:
        prompt, text = (escape(printable(sample[key])) for key in ("prompt", "text"))
        console.print(f"[bold]{prompt}[/bold] {text}")


def _figures_table(metrics: dict[str, Any]) -> Table:
    table = Table("", "before", "after", title="perplexity, and what is said")
    for split in ("validation", "test"):
        if split in metrics["base"] and split in metrics["tuned"]:
            cells = [metrics[side][split]["perplexity"] for side in ("base", "tuned")]
            table.add_row(split, *("–" if one is None else f"{one:.2f}" for one in cells))
    for name in ("distinct_1", "distinct_2", "repetition"):
        table.add_row(name, str(metrics["base"][name]), str(metrics["tuned"][name]))
    table.caption = (
        f"{metrics['steps']} steps in {metrics['train_seconds']:.0f} s, {metrics['ending']}"
    )
    return table


def _trials_table(trials: list[Trial]) -> Table:
    best = best_trial(trials)
    table = Table("trial", "options", "state", "loss", title="search")
    for trial in trials:
        options = ", ".join(f"{name} {_short(value)}" for name, value in trial.options.items())
        loss = "–" if trial.loss is None else f"{trial.loss:.4f}"
        style = "green" if trial == best else None
        table.add_row(str(trial.number + 1), options, str(trial.state), loss, style=style)
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _draw(picture: Path, curve: Curve, trials: list[Trial], steps: int) -> None:
    # Pillow and the bot's drawing are needed here alone.
    from bot.finetune.curve_picture import CurveLabels, draw_curve
    from bot.finetune.trials_picture import draw_trials

    labels = CurveLabels("step", "loss", "training", "validation")
    if any(trial.validation for trial in trials):
        picture.write_bytes(draw_trials(trials, labels, steps))
    elif curve.train or curve.validation:
        picture.write_bytes(draw_curve(curve, labels, steps))
