"""Threads that do a process' short database work, several pieces in one transaction.

A transaction costs more than a statement in it, and an event loop must not wait for either. So
whoever has a piece of work hands it in as a function of a ``Session``; a thread takes all that
wait, runs them in one transaction, and answers each. The idea is the group commit of databases
(DeWitt et al., *Implementation techniques for main memory database systems*, SIGMOD 1984), one
level up.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.engines import reading
from core.errors import ServiceUnavailableError

T = TypeVar("T")

_BATCH = 64


class Desk:
    """Runs functions of a ``Session`` on two threads of its own: one that writes, one that reads.

    A function given to the desk touches nothing but the session, because it may be run twice:
    where one of a batch raises, the batch is rolled back and each is run again alone, so that an
    error reaches only the one who caused it. The order of writes is the order of their handing in;
    a read sees every write that was answered before it was handed in.
    """

    def __init__(self, engine: Engine) -> None:
        self._writer = _Clerk(engine, "desk-writes")
        self._reader = _Clerk(reading(engine), "desk-reads")

    def start(self) -> None:
        """Start the threads."""
        self._writer.start()
        self._reader.start()

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Do what waits, then end the threads."""
        self._writer.close(timeout_seconds)
        self._reader.close(timeout_seconds)

    def hand_in(self, work: Callable[[Session], T]) -> Future[T]:
        """Have a function run in a transaction; for threads.

        Returns:
            Its result, once committed. The future raises what the function raised, or an error
            that :func:`core.db.outage.is_away` knows where the database cannot be reached.

        Raises:
            ServiceUnavailableError: the desk is closed.
        """
        return self._writer.hand_in(work)

    async def write(self, work: Callable[[Session], T]) -> T:
        """The same for event loops: wait for the result without blocking the loop."""
        return await asyncio.wrap_future(self._writer.hand_in(work))

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run a function that only reads, beside the writes."""
        return await asyncio.wrap_future(self._reader.hand_in(work))


class _UnreachableError(Exception):
    """There is no connection, and everybody of the batch was told."""


@dataclass
class _Piece(Generic[T]):
    """A function that waits for its turn, and where its outcome goes."""

    work: Callable[[Session], T]
    outcome: Future[T]
    # Of who handed it in: what its log lines and spans belong to.
    context: Context

    def run(self, session: Session) -> Callable[[], None]:
        """Do the work; returns what announces the result once the transaction is committed."""
        value = self.context.run(self.work, session)
        return lambda: self.outcome.set_result(value)


class _Clerk:
    """One thread, and the pieces that wait for it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Piece[Any] | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_seconds: float) -> None:
        self._is_closed = True
        if not self._thread.is_alive():
            return
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def hand_in(self, work: Callable[[Session], T]) -> Future[T]:
        if self._is_closed:
            raise ServiceUnavailableError("This process is ending.", service="database")
        outcome: Future[T] = Future()
        self._waiting.put(_Piece(work, outcome, copy_context()))
        return outcome

    def _run(self) -> None:
        while True:
            batch, is_last = self._gather()
            if batch and not self._run_together(batch):
                for piece in batch:
                    self._run_alone(piece)
            if is_last:
                return

    def _gather(self) -> tuple[list[_Piece[Any]], bool]:
        first = self._waiting.get()
        batch: list[_Piece[Any]] = []
        piece = first
        while piece is not None:
            # A caller that was cancelled meanwhile wants nothing written.
            if piece.outcome.set_running_or_notify_cancel():
                batch.append(piece)
            if len(batch) >= _BATCH or self._waiting.empty():
                return batch, False
            piece = self._waiting.get()
        return batch, True

    def _run_together(self, batch: list[_Piece[Any]]) -> bool:
        """Run a batch in one transaction; False where it was rolled back."""
        if len(batch) == 1:
            self._run_alone(batch[0])
            return True
        try:
            with Session(self._engine) as session, session.begin():
                self._connect(session, batch)
                announcements = [piece.run(session) for piece in batch]
        except _UnreachableError:
            return True
        except Exception:  # noqa: BLE001 - each piece is run again alone, and raises to its caller
            return False
        for announce in announcements:
            announce()
        return True

    def _connect(self, session: Session, batch: list[_Piece[Any]]) -> None:
        """Connect, or tell all: each trying for itself would take as many times a timeout."""
        try:
            session.connection()
        except SQLAlchemyError as exc:
            for piece in batch:
                piece.outcome.set_exception(exc)
            raise _UnreachableError from exc

    def _run_alone(self, piece: _Piece[Any]) -> None:
        try:
            with Session(self._engine) as session, session.begin():
                announce = piece.run(session)
        except Exception as exc:  # noqa: BLE001 - the caller gets it from the future
            piece.outcome.set_exception(exc)
        else:
            announce()
