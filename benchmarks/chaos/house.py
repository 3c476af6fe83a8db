"""The processes of a chaos run, and what can be done to them."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import psutil

from core.embedded import EmbeddedValkey

WORKERS = ("worker-1", "worker-2")
_MARK = "BENCH_CHAOS"
_END_SECONDS = 25


class House:
    """Starts the processes, hurts them, and starts them anew, as a supervisor would."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        self.lease_seconds = float(environment["PERROQUET_LEDGER__LEASE_SECONDS"])
        self.log_file = folder / "processes.log"
        self._valkey = EmbeddedValkey(folder / "valkey", port)
        self._environment = environment | {_MARK: str(folder)}
        self._log: BinaryIO = self.log_file.open("ab")
        worker = [sys.executable, "-m", "benchmarks.chaos.worker"]
        self._commands = {
            "Valkey": self._valkey.prepare(),
            **dict.fromkeys(WORKERS, worker),
            "upkeep": [sys.executable, "-m", "workers.main", "upkeep"],
            "bot": [sys.executable, "-m", "bot.main"],
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # Two faults that meet in one process come one after the other.
        self._locks = {name: asyncio.Lock() for name in self._commands}
        self._is_open = True

    def start(self, *names: str) -> None:
        """Start processes, all by default."""
        for name in names or self._commands:
            if self._is_open:
                self._running[name] = subprocess.Popen(  # noqa: S603 - our own modules
                    self._commands[name],
                    env=self._environment,
                    stdout=self._log,
                    stderr=self._log,
                )

    async def kill(self, name: str) -> None:
        """End a process without a word, and start it anew."""
        async with self._locks[name]:
            self._running[name].kill()
            await self._ended(name)
            self.start(name)

    async def drain(self, name: str) -> None:
        """Ask a process to end, and start it anew once it has."""
        async with self._locks[name]:
            self._running[name].terminate()
            await self._ended(name)
            self.start(name)

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
            self._running["Valkey"].kill()
            await self._ended("Valkey")
            shutil.rmtree(self._valkey.folder)
            self._valkey.prepare()
            self.start("Valkey")

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
            self._running[name].terminate()
        # Valkey last, so that the others can say their last words.
        for name in reversed(self._running):
            self._running[name].terminate()
            try:
                await self._ended(name)
            except subprocess.TimeoutExpired:
                late.append(name)
                self._running[name].kill()
                self._running[name].wait()
        self._log.close()
        return late + self._orphans()

    async def _ended(self, name: str) -> None:
        await asyncio.to_thread(self._running[name].wait, _END_SECONDS)

    def _orphans(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(_MARK) == self._environment[_MARK]
                if is_ours and process.pid != os.getpid():
                    found.append(f"orphan {process.name()}")
            except psutil.Error:
                continue
        return found
