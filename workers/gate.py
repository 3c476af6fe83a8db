"""Who may run beside whom: a job that crashed its worker before runs alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class IsolationGate:
    """A readers-writer lock that favours the writer: many ordinary jobs, or one alone.

    Without it one poison job takes its neighbours down with it, crash after crash, until they too
    have used up their attempts.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._alone_waiting = 0
        self._is_alone_inside = False

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        """Wait for a place, and keep it while the context lasts."""
        if alone:
            self._enter_alone()
        else:
            self._enter_beside()
        try:
            yield
        finally:
            self._leave(alone=alone)

    def _enter_alone(self) -> None:
        with self._condition:
            self._alone_waiting += 1
            try:
                self._condition.wait_for(lambda: self._inside == 0)
            finally:
                self._alone_waiting -= 1
            self._inside = 1
            self._is_alone_inside = True

    def _enter_beside(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: not (self._alone_waiting or self._is_alone_inside))
            self._inside += 1

    def _leave(self, *, alone: bool) -> None:
        with self._condition:
            self._inside -= 1
            if alone:
                self._is_alone_inside = False
            self._condition.notify_all()
