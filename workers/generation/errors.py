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


def let_go(exc: BaseException) -> None:
    """Let an error, and those that led to it, hold nothing of the frames it went through.

    Whoever keeps it would otherwise keep the caches and tensors of a step, and the engine.
    """
    pending: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        entry = one.__traceback__
        while entry is not None:
            try:
                entry.tb_frame.clear()
            except RuntimeError:
                # It is still running, as are all before it.
                one.__traceback__ = entry.tb_next
            entry = entry.tb_next
        pending += one.__cause__, one.__context__
