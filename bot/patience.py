"""Waiting for a database that is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.outage import is_away

log = structlog.get_logger(__name__)

T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.5
# What waits lies in memory only; it is written soon after the database is back.
_LONGEST_WAIT_SECONDS = 2.0


async def keep_trying(work: Callable[[], Awaitable[T]]) -> T:
    """Do something that needs the database, again and again until it is back.

    The waits double up to two seconds. Only cancellation ends the waiting.

    Raises:
        SQLAlchemyError: the database is there and refuses; what ``work`` raises else.
    """
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await work()
        except SQLAlchemyError as exc:
            if not is_away(exc):
                raise
            log.warning("database_away", error=type(exc).__name__, next_try_seconds=wait)
        await asyncio.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
