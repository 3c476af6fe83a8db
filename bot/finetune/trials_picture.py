"""The trials of a search in one picture: a line for each, and the best stands out."""

from collections.abc import Sequence

from bot.finetune.curve_picture import TRAIN, VALIDATION, Canvas, CurveLabels
from core.corpora.searches import Trial, TrialState, best_trial

_PRUNED = "#a3562f"


def draw_trials(trials: Sequence[Trial], labels: CurveLabels, steps: int) -> bytes:
    """The validation losses of all trials.

    Args:
        trials: of which one has two evaluations at least.
        labels: in the language of the readers.
        steps: of one trial.

    Returns:
        A PNG, 800 by 450 pixels.
    """
    best = best_trial(list(trials))
    canvas = Canvas([point for trial in trials for point in trial.validation], labels, steps)
    for trial in trials:
        colour = _PRUNED if trial.state is TrialState.PRUNED else TRAIN
        if trial != best:
            canvas.draw_line(trial.validation, colour, width=4)
            for step, loss in trial.validation[-1:]:
                canvas.draw_dot(step, loss, 8, colour)
    if best is not None:
        canvas.draw_line(best.validation, VALIDATION, width=7)
        for step, loss in best.validation:
            canvas.draw_dot(step, loss, 9)
    canvas.draw_legend(((labels.best, VALIDATION), (labels.pruned, _PRUNED), (labels.trial, TRAIN)))
    return canvas.to_png()
