"""Names on the wire: Celery tasks and queues, Redis keys."""

from core.jobs.states import JobKind

TASK_NAME = "perroquet.run"


def queue_of(kind: JobKind) -> str:
    """The Celery queue that carries hints of this kind."""
    return str(kind)


# Kombu delivers low numbers first; 0 is the default of a hint.
PRIORITIES = range(10)
_PRIORITY_SEPARATOR = "\x06\x16"


def broker_key(prefix: str, queue: str, priority: int = 0) -> str:
    """The Redis list in which kombu keeps the messages of a queue that bear a priority."""
    return f"{prefix}:{queue}{_PRIORITY_SEPARATOR}{priority}" if priority else f"{prefix}:{queue}"


def stream_key(prefix: str, process_name: str) -> str:
    """The Redis stream that carries tokens to one bot process."""
    return f"{prefix}:tokens:{process_name}"
