"""Celery's consumer as the courier of one queue: it hands each hint to a function."""

import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.signals import setup_logging, worker_shutting_down

from core.ids import ID_PATTERN
from core.jobs.states import JobKind
from core.transport.names import TASK_NAME, queue_of

log = structlog.get_logger(__name__)

_ID = re.compile(ID_PATTERN)


def consume(
    app: Celery,
    kind: JobKind,
    *,
    threads: int,
    acks_late: bool,
    run: Callable[[str], None],
    begin_drain: Callable[[], None],
) -> None:
    """Consume a queue until SIGTERM or SIGINT; then drain and return.

    Args:
        app: the courier.
        kind: whose queue.
        threads: how many jobs at a time.
        acks_late: whether a hint stays in Redis until its job is done. A hint that is redelivered
            is a no-op, so late is the better choice wherever jobs end within the visibility
            timeout.
        run: does the job of an id, and returns once it has ended.
        begin_drain: called in a thread of its own as soon as the process is asked to end; makes
            running jobs end or give themselves back.
    """

    def handle(job_id: Any) -> None:
        if not isinstance(job_id, str) or _ID.fullmatch(job_id) is None:
            log.warning("hint_malformed")
            return
        run(job_id)

    app.task(handle, name=TASK_NAME, acks_late=acks_late, ignore_result=True)

    def drain(**_: Any) -> None:
        threading.Thread(target=begin_drain, name="drain", daemon=True).start()

    worker_shutting_down.connect(drain, weak=False)
    # Whoever listens here does the logging; Celery would raise the level to its own.
    setup_logging.connect(_keep_logging, weak=False)
    # Celery fears for root what a pickled message could do; hints are JSON and hold one id.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        hostname=f"{kind}@%h",
        queues=[queue_of(kind)],
        pool="threads",
        concurrency=threads,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    # Said at each lost connection, of a setting that make_celery has on purpose. Celery shows them
    # always from when its worker is made, so this comes after.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    worker.start()


def _keep_logging(**_: Any) -> None:
    """Logging is configured already (core.logging)."""
