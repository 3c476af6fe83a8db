"""Why a model cannot be served."""

from core.errors import PerroquetError

_REASON_MAX_CHARACTERS = 200


class ModelUnreadableError(PerroquetError):
    """A model folder cannot be loaded as a causal language model."""

    code = "model-unreadable"


class AdapterRefusedError(ModelUnreadableError):
    """An adapter is damaged, belongs to another base, or is of a kind that cannot be served."""


def reason_of(exc: Exception) -> str:
    """What a library says, in a line of bounded length."""
    said = " ".join(str(exc).split()).partition(". ")[0].rstrip(".")[:_REASON_MAX_CHARACTERS]
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__
