"""Which kernels a device spends its time on, looked at before the clock of a run starts."""

from pathlib import Path
from typing import Any

import torch

_ROWS = 25
_WIDTH = 90


class KernelWatch:
    """Profiles the steps between two that a run tells of, once, and writes the dearest kernels.

    Args:
        path: gets the table.
        started: the fields of the run's ``started`` event; the first pass is left alone, for
            layers are compiled in it.
    """

    def __init__(self, path: Path, started: dict[str, Any]) -> None:
        self._path = path
        self._started = started
        self._told = 0
        self._profile: Any = None

    def __call__(self, *, is_over: bool) -> None:
        """Take in that steps were told of.

        Args:
            is_over: the clock runs, so there is nothing to begin any more.
        """
        self._told += 1
        if self._profile is not None:
            self._end()
        elif not is_over and not self._path.exists() and self._told > 1:
            kinds = torch.profiler.ProfilerActivity
            kind = kinds.CPU if self._started["device"] == "cpu" else kinds.CUDA
            self._profile = torch.profiler.profile(activities=[kind])
            self._profile.start()

    def _end(self) -> None:
        self._profile.stop()
        kind = "cpu" if self._started["device"] == "cpu" else "cuda"
        table = self._profile.key_averages().table(
            sort_by=f"self_{kind}_time_total", row_limit=_ROWS, max_name_column_width=_WIDTH
        )
        self._path.write_text(table, "utf-8")
        self._profile = None
