"""The processes of a chaos run, and what can be done to them."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.chaos.nursery import Child, ForkedChild, end_at_once
from core.embedded import EmbeddedValkey

WORKERS = ("worker-1", "worker-2")
_KINDS = {
    **dict.fromkeys(WORKERS, "generate"),
    "finetuner": "finetune",
    "upkeep": "upkeep",
    "bot": "bot",
}
_MARK = "BENCH_CHAOS"
_CHILDREN = ("runs", "validations")
_TRAINER = "workers.finetuning.run"
# A graceful end has twenty seconds; the machine is shared with everything else that breaks.
_END_SECONDS = 60
_READY_SECONDS = 60
_POLL_SECONDS = 0.2


class House:
    """Starts the processes, hurts them, and starts them anew, as a supervisor would."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        self.lease_seconds = float(environment["PERROQUET_LEDGER__LEASE_SECONDS"])
        self.log_file = folder / "processes.log"
        # The longest that each kind of process took to end after SIGTERM.
        self.drain_seconds: dict[str, float] = {}
        self._valkey = EmbeddedValkey(folder / "valkey", port)
        self._environment = environment | {_MARK: str(folder)}
        self._running: dict[str, Child] = {}
        # Two faults that meet in one process come one after the other.
        self._locks = {name: asyncio.Lock() for name in ("Valkey", *_KINDS)}
        self._is_open = True

    def start(self, *names: str) -> None:
        """Start processes, all by default."""
        for name in names or ("Valkey", *_KINDS):
            if self._is_open:
                self._running[name] = self._start(name)

    def _start(self, name: str) -> Child:
        if name != "Valkey":
            return ForkedChild(_KINDS[name], self._environment, self.log_file)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(self._valkey.prepare(), stdout=log, stderr=log)  # noqa: S603

    async def kill(self, name: str, before: Callable[[], None] = lambda: None) -> float:
        """End a process without a word, and start it anew.

        Args:
            name: whose turn it is once nothing else is done with it.
            before: called at the last moment.

        Returns:
            When it died, by ``time.monotonic``.
        """
        async with self._locks[name]:
            before()
            died_at = time.monotonic()
            end_at_once(self._running[name])
            await self._ended(name)
            self.start(name)
        return died_at

    def kill_now(self, name: str) -> None:
        """End a process at this very instant; ``revive`` starts it anew."""
        end_at_once(self._running[name])

    async def drain(self, name: str) -> None:
        """Ask a process to end, and start it anew once it has."""
        async with self._locks[name]:
            began = time.monotonic()
            self._running[name].send_signal(signal.SIGTERM)
            await self._ended(name)
            self._note_drain(name, time.monotonic() - began)
            self.start(name)

    async def roll(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Start a successor beside a process, and ask that to end once the other is ready."""
        async with self._locks[name]:
            old = self._running[name]
            self.start(name)
            deadline = time.monotonic() + _READY_SECONDS
            # Nothing tells of it, so it is looked for.
            while not is_ready() and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
            began = time.monotonic()
            old.send_signal(signal.SIGTERM)
            await asyncio.to_thread(old.wait, _END_SECONDS)
            self._note_drain(name, time.monotonic() - began)

    async def freeze(self, name: str) -> None:
        """Stop a process for longer than its leases hold, then let it go on."""
        async with self._locks[name]:
            process = self._running[name]
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self.lease_seconds + 2)
            process.send_signal(signal.SIGCONT)

    async def lose_valkey(self) -> None:
        """Kill Valkey and delete what it kept."""
        async with self._locks["Valkey"]:
            end_at_once(self._running["Valkey"])
            await self._ended("Valkey")
            shutil.rmtree(self._valkey.folder)
            self.start("Valkey")

    def kill_trainer(self, mark: str = "", *, with_checkpoint: bool = False) -> int:
        """End trainers without a word; returns how many.

        Args:
            mark: only those whose run folder bears it.
            with_checkpoint: only those that have saved something.
        """
        killed = 0
        for process in self._own_processes():
            try:
                command = process.cmdline()
                if _TRAINER not in command or mark not in command[-1]:
                    continue
                if not with_checkpoint or any(Path(command[-1]).glob("checkpoint-*")):
                    process.kill()
                    killed += 1
            except psutil.Error:
                continue
        return killed

    def revive(self) -> list[str]:
        """Start again what has ended by itself; returns its names."""
        ended = [
            name
            for name, process in self._running.items()
            if process.poll() is not None and not self._locks[name].locked()
        ]
        for name in ended:
            self.start(name)
        return ended

    async def close(self) -> list[str]:
        """End all in order; returns what did not end and what was left behind."""
        self._is_open = False
        late = []
        for name in self._running.keys() - {"Valkey"}:
            self._running[name].send_signal(signal.SIGTERM)
        # Valkey last, so that the others can say their last words.
        for name in reversed(self._running):
            self._running[name].send_signal(signal.SIGTERM)
            try:
                await self._ended(name)
            except subprocess.TimeoutExpired:
                late.append(f"{name} did not end")
                end_at_once(self._running[name])
                self._running[name].wait()
        return late + [f"orphan {' '.join(p.cmdline()[-2:])}" for p in self._own_processes()]

    def _note_drain(self, name: str, seconds: float) -> None:
        kind = name.partition("-")[0]
        self.drain_seconds[kind] = max(self.drain_seconds.get(kind, 0.0), round(seconds, 1))

    async def _ended(self, name: str) -> None:
        await asyncio.to_thread(self._running[name].wait, _END_SECONDS)

    def _own_processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                # Children are told little of the environment; they bear a folder on their line.
                folder = self._environment[_MARK]
                is_marked = process.environ().get(_MARK) == folder
                below = tuple(f"{folder}/{name}/" for name in _CHILDREN)
                is_ours = is_marked or any(part.startswith(below) for part in process.cmdline())
                is_alive = process.status() != psutil.STATUS_ZOMBIE
                if is_ours and is_alive and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found
