"""Why a model cannot be served."""

from core.errors import PerroquetError


class ModelUnreadableError(PerroquetError):
    """A model folder cannot be loaded as a causal language model."""

    code = "model-unreadable"


class AdapterRefusedError(ModelUnreadableError):
    """An adapter is damaged, belongs to another base, or is of a kind that cannot be served."""
