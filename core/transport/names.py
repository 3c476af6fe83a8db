"""Names on the wire: Celery tasks and queues, Redis keys."""

from core.jobs.states import JobKind

TASK_NAME = "perroquet.run"


def queue_of(kind: JobKind) -> str:
    """The Celery queue that carries hints of this kind."""
    return str(kind)


def broker_key(prefix: str, queue: str) -> str:
    """The Redis list in which kombu keeps a queue."""
    return f"{prefix}:{queue}"


def stream_key(prefix: str, process_name: str) -> str:
    """The Redis stream that carries tokens to one bot process."""
    return f"{prefix}:tokens:{process_name}"
