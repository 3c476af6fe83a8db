"""Why a fine-tune stops before its end."""

from core.errors import InvalidInputError, PerroquetError


class SpecError(InvalidInputError):
    """An option of a run is unknown or out of range; ``data["option"]`` names it."""

    code = "training-option"


class DivergedError(PerroquetError):
    """The loss is no number any more or has left the range in which a model learns."""

    code = "training-diverged"


class OutOfMemoryError(PerroquetError):
    """Even one row, with gradient checkpointing, is more than the device holds."""

    code = "training-out-of-memory"

    def __init__(self) -> None:
        super().__init__(
            "The device has too little memory even for one row; choose a smaller block size, "
            "LoRA, or a smaller base."
        )


class ShrunkError(PerroquetError):
    """One of several processes ran out of memory; all have to begin again with smaller steps."""

    code = "training-shrunk"

    def __init__(self) -> None:
        super().__init__("A device ran out of memory; the run begins again with smaller steps.")


class NothingToLearnError(InvalidInputError):
    """The training split holds no token that the loss counts."""

    code = "training-empty"


class CheckpointError(PerroquetError):
    """A checkpoint does not fit the model it is to be loaded into, or cannot be written."""

    code = "training-checkpoint"
