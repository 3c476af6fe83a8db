"""Start the children, watch them, end them in order."""

import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from sqlalchemy import Engine

from cli.up.children import Child, ChildSpec, start_child
from cli.up.plan import Plan
from cli.up.readiness import port_answers, process_announced, redis_answers, wait_until
from core.settings import Settings

_WATCH_SECONDS = 0.5
_START_SECONDS = 120.0
# A child that lived this long was well; its next end is not held against it.
_WELL_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 30.0


class Supervisor:
    """Owns the children of one installation. ``say`` tells people what happens, line by line."""

    def __init__(
        self, settings: Settings, plan: Plan, engine: Engine, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._engine = engine
        self._say = say
        self._due_at: dict[str, float] = {}
        self.children: list[Child] = []
        self.ended = threading.Event()

    def start(self) -> None:
        """Start everything and wait until it is ready; stops early where ``ended`` is set.

        Raises:
            ServiceUnavailableError: a child does not come up.
        """
        plan = self._plan
        if plan.valkey is not None:
            child = self._start(plan.valkey)
            wait_until(child, lambda: self._asked(redis_answers(plan.redis_url)), _START_SECONDS)
        if plan.playground is not None and plan.page_url is not None:
            url = plan.page_url
            child = self._start(plan.playground)
            wait_until(child, lambda: self._asked(port_answers(url)), _START_SECONDS)
        started = [self._start(spec) for spec in plan.others]
        for child in started:
            wait_until(child, lambda c=child: self._asked(self._is_announced(c)), _START_SECONDS)  # type: ignore[misc]
        self._write_addresses()

    def watch(self) -> None:
        """Keep the children running until ``ended`` is set."""
        while not self.ended.wait(_WATCH_SECONDS):
            for child in self.children:
                if child.has_ended:
                    self._revive(child)

    def stop(self) -> None:
        """End every child, those that use others first."""
        for child in sorted(self.children, key=lambda c: c.spec.name == "valkey"):
            if child.spec.name == "valkey":
                continue
            if not child.has_ended:
                child.process.terminate()
        for child in reversed(self.children):
            if not child.stop():
                self._say(f"{child.spec.name} had to be killed")

    def end_on_signals(self) -> None:
        """Make SIGTERM and SIGINT end the watch."""

        def end(_number: int, _frame: FrameType | None) -> None:
            self.ended.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)

    def _start(self, spec: ChildSpec) -> Child:
        self._say(f"Starting {spec.name}")
        child = start_child(spec)
        self.children.append(child)
        return child

    def _asked(self, is_ready: bool) -> bool:
        return is_ready or self.ended.is_set()

    def _is_announced(self, child: Child) -> bool:
        return process_announced(self._engine, child.process.pid)

    def _revive(self, child: Child) -> None:
        name = child.spec.name
        if name not in self._due_at:
            lived = time.monotonic() - child.started_at
            child.restarts = 0 if lived > _WELL_SECONDS else child.restarts
            wait = min(_MAX_BACKOFF_SECONDS, 2.0**child.restarts - 1)
            self._due_at[name] = time.monotonic() + wait
            code = child.process.returncode
            self._say(f"{name} ended (exit code {code}); starting it again in {wait:.0f} s")
        if time.monotonic() >= self._due_at[name]:
            del self._due_at[name]
            child.restart()

    def _write_addresses(self) -> None:
        """Tell other commands on this machine where things are; none of it is secret."""
        if self._plan.valkey is None:
            return
        file = self._settings.data_dir / "addresses.json"
        file.write_text(json.dumps({"redis_url": self._plan.redis_url}), encoding="utf-8")


def run_supervised(supervisor: Supervisor, announce: Callable[[], None]) -> None:
    """Start, announce, watch until a signal, and stop, whatever happens on the way."""
    supervisor.end_on_signals()
    with ExitStack() as stack:
        stack.callback(supervisor.stop)
        supervisor.start()
        if not supervisor.ended.is_set():
            announce()
            supervisor.watch()
