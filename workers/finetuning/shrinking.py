"""How far a run was shrunk so that it fits its devices."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_NOTE = "memory.json"


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """What keeps a step within the memory of a device.

    Of several processes the one that runs out cannot shrink alone, while the others wait for its
    gradients. It leaves a note in the run folder and ends, all end with it, and begin again from
    the newest checkpoint as the note says.

    Attributes:
        parts: into which a micro-batch is parted.
        is_checkpointing: whether activations are computed again instead of being kept.
        is_over: nothing is left to be made smaller, or memory ran out outside of the steps.
    """

    parts: int = 1
    is_checkpointing: bool = False
    is_over: bool = False

    def further(self, rows: int) -> "Shrinkage":
        """The next measure: half the rows at a time, then checkpointing, then none.

        Args:
            rows: of the micro-batch that did not fit.
        """
        if self.parts < rows:
            return Shrinkage(self.parts * 2, self.is_checkpointing)
        if not self.is_checkpointing:
            return Shrinkage(self.parts, is_checkpointing=True)
        return Shrinkage(self.parts, self.is_checkpointing, is_over=True)

    def leave_note(self, run_dir: Path) -> None:
        """Tell those who begin again; several processes may say so at once."""
        part = run_dir / f"{_NOTE}.{os.getpid()}"
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(run_dir / _NOTE)


def read_note(run_dir: Path) -> Shrinkage:
    """How small the processes of a run found that they have to be."""
    path = run_dir / _NOTE
    return Shrinkage(**json.loads(path.read_text("utf-8"))) if path.exists() else Shrinkage()


def forget_note(run_dir: Path) -> None:
    """Let a run that is tried again, on other devices perhaps, begin at its full size."""
    (run_dir / _NOTE).unlink(missing_ok=True)
