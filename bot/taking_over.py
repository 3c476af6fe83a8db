"""Now and then, take over what was owed under another division of the servers."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.desk import Desk
from core.resharding import take_over
from core.sharding import Share

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0


class TakingOver:
    """Looks at the start, and once a minute, since a process of before may end later."""

    def __init__(self, desk: Desk, share: Share) -> None:
        self._desk = desk
        self._share = share
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look once a minute; call within the running loop."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Take over what is there.

        Raises:
            SQLAlchemyError: the database cannot be reached.
        """
        count = await self._desk.write(lambda session: take_over(session, self._share))
        if count:
            log.info("taken_over", count=count)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self.look()
            except SQLAlchemyError as exc:
                log.warning("taking_over_failed", error=type(exc).__name__)
