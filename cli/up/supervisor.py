"""Start the children, watch them, end them in order."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType

from cli.up.children import Child, ChildSpec, start_child
from cli.up.log_tail import LogTail
from cli.up.readiness import describe_failure, failure_of
from cli.up.screen import Screen

_WATCH_SECONDS = 0.25
_POLL_SECONDS = 0.1
# Imports of the workers take long on a small machine that is busy.
_START_SECONDS = 180.0
# What waits for something elsewhere is left to it after so long.
_ELSEWHERE_SECONDS = 60.0
# A child that lived this long was well; its next end is not held against it.
_WELL_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """A child, how to see that it is ready, and its place among the others.

    Services of a lower ``start_rank`` are ready before those of a higher one are started; those of
    a lower ``stop_rank`` have ended before others are asked to. ``mend`` is tried once where the
    first start fails; it says what it did, or None where there was nothing to mend. A service that
    ``waits_for`` something elsewhere holds up nobody: it is left to wait.
    """

    spec: ChildSpec
    is_ready: Callable[[Child], bool]
    start_rank: int = 0
    stop_rank: int = 0
    mend: Callable[[], str | None] = lambda: None
    waits_for: str = ""


@dataclass
class _Post:
    """A service with its running child."""

    service: Service
    child: Child
    tail: LogTail
    due_at: float | None = None
    is_awaited: bool = False
    is_mended: bool = False


class Supervisor:
    """Owns the children of one installation, and tells a screen what happens to them."""

    def __init__(self, services: Sequence[Service], screen: Screen) -> None:
        self._services = services
        self._screen = screen
        self._posts: list[_Post] = []
        # Set to end the watch; the second is set by whoever does not want to wait for the drain.
        self.ended = threading.Event()
        self.hurried = threading.Event()

    @property
    def children(self) -> list[Child]:
        """The children in the order of their start."""
        return [post.child for post in self._posts]

    def start(self) -> None:
        """Start everything and wait until it is ready; stops early where ``ended`` is set.

        Raises:
            ChildFailedError: a child does not come up.
            SettingsError: nor will it with these settings.
        """
        for rank in sorted({service.start_rank for service in self._services}):
            if self.ended.is_set():
                break
            self._await([self._start(s) for s in self._services if s.start_rank == rank])
        self._screen.rest()

    def watch(self) -> None:
        """Keep the children running until ``ended`` is set."""
        while not self.ended.wait(_WATCH_SECONDS):
            self.look()

    def look(self) -> None:
        """One round of the watch: pass warnings on, bound the logs, start again what ended."""
        for post in self._posts:
            for line in post.tail.new_warnings():
                self._screen.warn(post.service.spec.name, line)
            post.child.bound_log()
            if post.child.has_ended:
                self._revive(post)
            elif post.is_awaited and post.service.is_ready(post.child):
                post.is_awaited = False
                self._screen.say(f"{post.service.spec.name} is back", style="green")

    def find_failure(self) -> str | None:
        """What became of the first child that ended by itself; None while all run."""
        return next((describe_failure(c) for c in self.children if c.has_ended), None)

    def stop(self) -> None:
        """End every child: those that others do not need first, each within its bound."""
        self._screen.rest()
        if any(not post.child.has_ended for post in self._posts):
            self._screen.say("Ending; what is under way may finish. Ctrl-C again ends it at once.")
        for rank in sorted({post.service.stop_rank for post in self._posts}):
            self._end([post for post in self._posts if post.service.stop_rank == rank])
        self._screen.rest()

    def end_on_signals(self) -> None:
        """Make SIGTERM and SIGINT end the watch, and a second one end it at once."""

        def end(_number: int, _frame: FrameType | None) -> None:
            if self.ended.is_set():
                self.hurried.set()
            self.ended.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)

    def _start(self, service: Service) -> _Post:
        self._screen.begin(service.spec.name)
        tail = LogTail(service.spec.log_file)
        post = _Post(service, start_child(service.spec), tail)
        self._posts.append(post)
        return post

    def _await(self, posts: Sequence[_Post]) -> None:
        """Wait until all are ready, or until ``ended`` is set."""
        began = time.monotonic()
        waiting = list(posts)
        while waiting and not self.ended.is_set():
            waiting = [post for post in waiting if not self._is_up(post, began)]
            time.sleep(_POLL_SECONDS)

    def _is_up(self, post: _Post, began: float) -> bool:
        if post.service.is_ready(post.child):
            self._screen.done(post.service.spec.name)
            return True
        waited = time.monotonic() - began
        if not post.child.has_ended:
            if post.service.waits_for and waited > _ELSEWHERE_SECONDS:
                self._leave(post)
                return True
            if waited < _START_SECONDS:
                return False
        mended = None if post.is_mended or not post.child.has_ended else post.service.mend()
        if mended is None:
            raise failure_of(post.child)
        post.is_mended = True
        self._screen.say(mended, style="yellow")
        post.child.restart()
        return False

    def _leave(self, post: _Post) -> None:
        name = post.service.spec.name
        post.is_awaited = True
        self._screen.forget(name)
        self._screen.say(
            f"{name} is not ready yet: most likely it waits for {post.service.waits_for}, and "
            "goes on trying. "
            f"Its log: {post.service.spec.log_file}",
            style="yellow",
        )

    def _end(self, posts: Sequence[_Post]) -> None:
        """Ask children to end, all at once, and wait for them."""
        asked = time.monotonic()
        waiting = [post for post in posts if not post.child.has_ended]
        for post in posts:
            post.child.terminate()
        for post in waiting:
            self._screen.begin(post.service.spec.name, "Ending")
        while waiting:
            waiting = [post for post in waiting if not self._is_over(post, asked)]
            if waiting:
                time.sleep(_POLL_SECONDS)
        for post in posts:
            post.child.kill()

    def _is_over(self, post: _Post, asked: float) -> bool:
        """Whether a child has ended, or is waited for no more."""
        name, seconds = post.service.spec.name, post.service.spec.stop_seconds
        if post.child.has_ended:
            self._screen.done(name, "has ended")
            return True
        if self.hurried.is_set():
            self._screen.say(f"{name} is ended at once, as you asked")
        elif time.monotonic() > asked + seconds:
            self._screen.say(f"{name} had to be killed: it did not end within {seconds:.0f} s")
        else:
            return False
        self._screen.forget(name)
        return True

    def _revive(self, post: _Post) -> None:
        child = post.child
        if post.due_at is None:
            lived = time.monotonic() - child.started_at
            child.restarts = 0 if lived > _WELL_SECONDS else child.restarts
            wait = min(_MAX_BACKOFF_SECONDS, 2.0**child.restarts - 1)
            post.due_at = time.monotonic() + wait
            when = f"in {wait:.0f} s" if wait else "now"
            self._screen.say(
                f"{child.spec.name} {child.ending}; starting it again {when}. "
                f"Its log: {child.spec.log_file}",
                style="red",
            )
        if time.monotonic() >= post.due_at:
            post.due_at = None
            post.is_awaited = True
            child.restart()


def run_supervised(supervisor: Supervisor, announce: Callable[[], None]) -> None:
    """Start, announce, watch until a signal, and stop, whatever happens on the way."""
    supervisor.end_on_signals()
    with ExitStack() as stack:
        stack.callback(supervisor.stop)
        supervisor.start()
        if not supervisor.ended.is_set():
            announce()
            supervisor.watch()
