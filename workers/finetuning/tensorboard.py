"""A run's figures as TensorBoard's event files, beside what the supervisor hears."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.finetuning.events import Emit

# TensorBoard's name of each figure, by event and field.
_FIGURES = {
    "step": {
        "loss": "loss/train",
        "learning_rate": "train/learning_rate",
        "gradient_norm": "train/gradient_norm",
        "tokens_per_second": "train/tokens_per_second",
    },
    "evaluated": {"loss": "loss/validation", "perplexity": "perplexity/validation"},
}


@contextmanager
def tensorboard(emit: Emit, folder: str) -> Iterator[Emit]:
    """An ``emit`` that also writes the figures of events below ``folder``, where one is named.

    However the context ends, what was told is in the file.
    """
    if not folder:
        yield emit
        return
    tee = _Tee(emit, Path(folder))
    try:
        yield tee
    finally:
        tee.close()


class _Tee:
    """Writes numbers alone: what was sampled from a corpus stays in the run's own folder."""

    def __init__(self, emit: Emit, folder: Path) -> None:
        self._emit = emit
        self._folder = folder
        self._writer: Any = None

    def __call__(self, event: str, **fields: Any) -> None:
        self._emit(event, **fields)
        if event == "started":
            self._open(fields["step"])
        for field, name in _FIGURES.get(event, {}).items():
            value = fields.get(field)
            if value is not None and math.isfinite(value):
                self._open(0).add_scalar(name, value, fields["step"])
        if self._writer is not None and event == "evaluated":
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> Any:
        """The writer. What an earlier process wrote past the checkpoint is marked as undone."""
        if self._writer is None:
            # It takes a moment to import, which is saved where none is wanted.
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(
                str(self._folder),
                purge_step=step + 1 if step else None,
                # A file is named after the second and the host; one that goes on within the same
                # second must not begin it anew.
                filename_suffix=f".{step}",
            )
        return self._writer
