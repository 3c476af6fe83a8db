"""Says in SQL, every few seconds, that this bot process is alive."""

import asyncio
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.desk import Desk
from core.jobs.presence import announce, withdraw

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 5.0


class Heartbeat:
    """Announces the process while it lives and withdraws it when it ends."""

    def __init__(self, desk: Desk, process_id: str, info: dict[str, Any]) -> None:
        self._desk = desk
        self._process_id = process_id
        self._info = info
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call within the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, and take the row away."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._desk.write(lambda session: withdraw(session, self._process_id))
        except SQLAlchemyError as exc:
            log.warning("withdraw_failed", error=type(exc).__name__)

    async def _run(self) -> None:
        while True:
            try:
                await self._desk.write(
                    lambda session: announce(session, self._process_id, "bot", self._info)
                )
            except SQLAlchemyError as exc:
                log.warning("heartbeat_failed", error=type(exc).__name__)
            await asyncio.sleep(_INTERVAL_SECONDS)
