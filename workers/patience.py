"""Waiting for a store that cannot be reached or has no room, with the job kept meanwhile."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.catalog.disposal import kept_paths
from core.db.desk import Desk
from core.errors import PerroquetError, ServiceUnavailableError
from models_store.store import ModelStore
from workers.leases import HeldJob

log = structlog.get_logger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.2


def await_service(held: HeldJob, work: Callable[[], T], patience_seconds: float) -> T:
    """Do something that needs the store, again and again until it can be done.

    What was trained for hours must not be lost to a disk that is full for a minute. The lease is
    renewed meanwhile, and the job can be cancelled and drained.

    Args:
        held: the job.
        work: may be repeated after each failure.
        patience_seconds: how long to go on trying.

    Raises:
        ServiceUnavailableError: it still cannot be done.
        LeaseLostError, CancelledJobError, DrainedError: the job must stop.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return work()
        except ServiceUnavailableError as exc:
            if time.monotonic() > deadline:
                raise
            log.warning("store_awaited", job_id=held.claim.job_id, error=str(exc))
        _wait(held)


def retire_unless_known(desk: Desk, store: ModelStore, path: str) -> None:
    """Delete a publication whose row could not be written.

    Where the connection was lost at the commit, the row may stand after all, and then its files
    must. What cannot be asked or deleted now is collected as garbage later; errors are noted only,
    since this is for use while another is on its way.
    """
    try:
        if path not in desk.hand_in(kept_paths).result():
            store.retire(path)
    except (PerroquetError, SQLAlchemyError) as exc:
        log.warning("version_left_to_collect", path=path, error=str(exc))


def _wait(held: HeldJob) -> None:
    ends = time.monotonic() + _RETRY_SECONDS
    while time.monotonic() < ends:
        held.check()
        time.sleep(_POLL_SECONDS)
