"""Cancelling and retrying from Discord: the rows, then the hint or the files."""

import asyncio

import structlog

from core.corpora.uploads import Uploads
from core.db.desk import Desk
from core.errors import ServiceUnavailableError
from core.jobs.finding import Scope
from core.jobs.states import JobState
from core.steering.actions import cancel_job, retry_job
from core.transport.publisher import Publisher

log = structlog.get_logger(__name__)


class JobSteering:
    """Changes jobs within a scope."""

    def __init__(self, desk: Desk, publisher: Publisher, uploads: Uploads) -> None:
        self._desk = desk
        self._publisher = publisher
        self._uploads = uploads

    async def cancel(self, scope: Scope, job_id: str) -> JobState:
        """Cancel a job, and delete an upload that nobody needs any more.

        Returns:
            CANCELLED, RUNNING (it will stop soon), or the final state that it had before.

        Raises:
            NotFoundError: there is no such job in this scope.
            SQLAlchemyError: the database cannot be reached.
        """
        done = await self._desk.write(lambda session: cancel_job(session, scope, job_id))
        if done.corpus_id is not None:
            try:
                await asyncio.to_thread(self._uploads.remove, done.corpus_id)
            except ServiceUnavailableError as exc:
                log.warning("upload_not_removed", corpus=done.corpus_id, error=str(exc))
        return done.state

    async def retry(self, scope: Scope, job_id: str, *, asked_by: int) -> str:
        """Submit a job that does again what a failed or cancelled one was to do; returns its id.

        Raises:
            NotFoundError, NotRetryableError, NothingToRetryError, AlreadyRetriedError: nothing was
                submitted.
            SQLAlchemyError: the database cannot be reached.
        """
        hint = await self._desk.write(
            lambda session: retry_job(session, scope, job_id, asked_by=asked_by)
        )
        self._publisher.publish(hint)
        return hint.job_id
