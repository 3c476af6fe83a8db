"""One chaos run: build the house, ask, break things by the schedule, settle, judge."""

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from benchmarks.chaos.checks import (
    count_events,
    heard_questions,
    judge_answers,
    judge_redis,
    open_answers,
    unforeseen,
)
from benchmarks.chaos.clock import JumpingClock
from benchmarks.chaos.database import ChaosDatabase, open_database
from benchmarks.chaos.deeds import Deeds, Scene
from benchmarks.chaos.disk import SmallDisk, mounted_disk
from benchmarks.chaos.finetunes import Finetunes
from benchmarks.chaos.house import WORKERS, House
from benchmarks.chaos.members import Members
from benchmarks.chaos.plan import Fault, Plan
from benchmarks.chaos.proxy import Wire
from benchmarks.trivial_model import prepare_database
from benchmarks.unbound import UNBOUND
from core.db.engines import make_engine, reading
from core.embedded import free_port
from core.jobs.presence import alive
from core.jobs.states import JobKind
from core.settings import load_settings
from playground.server import PlaygroundServer

_READY_SECONDS, _SETTLE_SECONDS = 600.0, 1500.0
_TEND_SECONDS = 0.5
_LEDGER = {
    "LEASE_SECONDS": "3",
    "REAP_INTERVAL_SECONDS": "0.5",
    "RELAY_INTERVAL_SECONDS": "0.5",
    "REDISPATCH_AFTER_SECONDS": "3",
    "DRAIN_SECONDS": "5",
}


def run_chaos(plan: Plan) -> dict[str, Any]:
    """Run a plan; ``violations`` is empty where every promise was kept."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perroquet-chaos-")))
        disk = stack.enter_context(mounted_disk(folder / "store"))
        database = stack.enter_context(open_database(plan.database, folder))
        if not disk.is_small:
            plan = replace(plan, left_out=plan.left_out | {Fault.FILL_DISK})
        return asyncio.run(_Run(plan, folder, database, disk).carry_out())


class _Run:
    """The parts of a run, in the order in which they come."""

    def __init__(self, plan: Plan, folder: Path, database: ChaosDatabase, disk: SmallDisk) -> None:
        self._plan = plan
        self._folder = folder
        self._database = database
        self._disk = disk
        self._clock = JumpingClock(folder)
        self._valkey_port = free_port()
        self._wire = Wire(lambda: asyncio.open_connection("127.0.0.1", self._valkey_port))
        self._valkey_url = f"redis://127.0.0.1:{self._valkey_port}/0"
        self._revived: Counter[str] = Counter()

    async def carry_out(self) -> dict[str, Any]:
        await self._database.start()
        await self._wire.start()
        base = self._environment()
        settings = self._settings = load_settings(base, self._folder / "none")
        self._engine = make_engine(self._database.direct_url)
        prepare_database(self._engine, settings.generation.model)
        self._server = PlaygroundServer(settings)
        await self._server.start()
        self._members = Members(self._server)
        self._finetunes = Finetunes(
            self._engine, settings, self._server, self._folder, self._plan.finetune_steps
        )
        if self._plan.finetunes:
            await asyncio.to_thread(self._finetunes.prepare)
        self._database.prepare(self._engine, self._clock)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERROQUET_", "DISCORD_"))}
        wired = {
            "PERROQUET_DISCORD__API_BASE": self._server.rest_base,
            "PERROQUET_DISCORD__GATEWAY_URL": self._server.gateway_url,
        }
        environment = kept | base | wired | self._clock.environment
        self._house = House(self._folder, self._valkey_port, environment)
        self._deeds = Deeds(
            Scene(
                self._house,
                self._server,
                self._members,
                self._database,
                self._engine,
                self._wire,
                self._disk,
                self._clock,
            )
        )
        self._house.start()
        try:
            result = await self._break_and_judge(settings)
        finally:
            left = await self._house.close()
            await self._server.stop()
            self._engine.dispose()
            await self._wire.close()
            await self._database.close()
            if self._plan.log_file is not None:
                shutil.copy(self._house.log_file, self._plan.log_file)
        result["violations"] += [*unforeseen(self._house.log_file), *left]
        return result

    def _environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self._database.url,
            "REDIS_URL": f"redis://127.0.0.1:{self._wire.port}/0",
            "STORE_URL": f"file://{self._disk.folder}",
            "PERROQUET_DATA_DIR": str(self._folder),
            "PERROQUET_PLAYGROUND__PORT": "0",
            "PERROQUET_LOG__FORMAT": "json",
            "PERROQUET_REDIS__STREAM_MAX_ENTRIES": "500",
            "PERROQUET_CHAT__SWEEP_INTERVAL_SECONDS": "1",
            # Alice asks for a few hundred people.
            **UNBOUND,
            "PERROQUET_FINETUNING__DEVICE": "cpu",
            "PERROQUET_FINETUNING__TORCH_THREADS": "1",
            "PERROQUET_GENERATION__DEVICE": "cpu",
            **{f"PERROQUET_LEDGER__{key}": value for key, value in _LEDGER.items()},
            "PERROQUET_LEDGER__MAX_CRASHES": str(self._plan.max_crashes),
        }

    async def _break_and_judge(self, settings: Any) -> dict[str, Any]:
        began = time.monotonic()
        await self._until(lambda: is_ready(self._engine, self._server), _READY_SECONDS)
        ready = time.monotonic()
        await self._break()
        ceased = time.monotonic()
        is_settled = await self._until(self._is_settled, _SETTLE_SECONDS)
        settled = time.monotonic()
        # What comes late, a second answer above all, is to be seen too.
        await asyncio.sleep(2 * self._house.lease_seconds)
        heard = heard_questions(self._engine)
        members, plan = self._members, self._plan
        violations = [
            *([] if is_settled else [f"not settled after {_SETTLE_SECONDS:.0f} s"]),
            *members.judge(heard),
            *judge_answers(self._engine, members.poisons),
            *await asyncio.to_thread(self._finetunes.judge),
            *judge_redis(settings, self._valkey_url),
        ]
        counts = self._deeds.counts
        return {
            "seed": plan.seed,
            "database": plan.database,
            "seconds": plan.seconds,
            "faults": {str(fault): counts[fault] for fault in plan.faults},
            "faults left out": sorted(plan.left_out),
            "figures": {
                "questions": len(members.questions),
                "heard": len(heard & set(members.questions)),
                "poisoned questions": len(members.poisons),
                "fine-tunes": len(self._finetunes.job_ids),
                "posts absorbed by their nonce": members.absorbed,
                "members told that the database is away": members.notices,
                **count_events(self._engine, self._house.log_file),
                "REST faults": dict(self._server.faults.counts),
                "processes that ended by themselves": dict(self._revived),
                "longest drains (s)": self._house.drain_seconds,
                "seconds to start, of faults, to settle": [
                    round(ready - began, 1),
                    round(ceased - ready, 1),
                    round(settled - ceased, 1),
                ],
            },
            "violations": violations,
        }

    def _is_settled(self) -> bool:
        return (
            not open_answers(self._engine)
            and self._finetunes.are_ended()
            and not self._members.unanswered()
            # Second hints are there to be taken and to change nothing.
            and not judge_redis(self._settings, self._valkey_url)
        )

    async def _break(self) -> None:
        """Ask and break by the schedule; returns once each fault is over."""
        plan = self._plan
        schedule = plan.schedule()
        poisoned = [plan.seconds * (n + 1) / (plan.poisons + 2) for n in range(plan.poisons)]
        tuned = [plan.seconds * n / (plan.finetunes + 1) for n in range(plan.finetunes)]
        doomed = [plan.seconds / 4] if plan.with_doomed and plan.finetunes else []
        started = time.monotonic()
        async with asyncio.TaskGroup() as faults:
            while (now := time.monotonic() - started) < plan.seconds:
                while schedule and schedule[0][0] <= now:
                    _, fault, number = schedule.pop(0)
                    faults.create_task(self._deeds.do(fault, number))
                if tuned and tuned[0] <= now:
                    tuned.pop(0)
                    self._finetunes.want()
                if doomed and doomed[0] <= now:
                    doomed.pop(0)
                    self._finetunes.want(is_doomed=True)
                is_poison = bool(poisoned) and poisoned[0] <= now
                if is_poison:
                    poisoned.pop(0)
                self._members.ask(is_poison=is_poison)
                await self._tend()
                await asyncio.sleep(plan.ask_seconds)

    _tended_at = 0.0

    async def _tend(self) -> None:
        """What a supervisor and an admin do, and what kills the doomed."""
        self._revived.update(self._house.revive())
        if time.monotonic() - self._tended_at < _TEND_SECONDS or not self._plan.finetunes:
            return
        self._tended_at = time.monotonic()
        await asyncio.to_thread(self._finetunes.tend)
        try:
            doomed = await asyncio.to_thread(self._finetunes.running)
        except OperationalError:
            return
        for job_id in doomed:
            await asyncio.to_thread(self._house.kill_trainer, job_id)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                return False
            await self._tend()
            await asyncio.sleep(0.3)
        return True


def is_ready(engine: Engine, server: PlaygroundServer) -> bool:
    """Whether the bot is online and all workers have said that they are alive."""
    if not server.gateway.is_bot_online:
        return False
    with Session(reading(engine)) as session:
        kinds = Counter(process.kind for process in alive(session, within_seconds=60))
    wanted = {JobKind.GENERATE: len(WORKERS), JobKind.FINETUNE: 1, "upkeep": 1}
    return all(kinds[kind] == count for kind, count in wanted.items())
