"""What each fault does to a run."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Engine, update
from sqlalchemy.exc import OperationalError

from benchmarks.chaos.checks import heard_questions
from benchmarks.chaos.clock import JumpingClock
from benchmarks.chaos.database import ChaosDatabase, PostgresqlDatabase, SqliteDatabase
from benchmarks.chaos.disk import SmallDisk
from benchmarks.chaos.house import WORKERS, House
from benchmarks.chaos.members import Members
from benchmarks.chaos.plan import Fault
from benchmarks.chaos.proxy import Wire
from core.db.tables import Job
from core.jobs.states import JobState
from playground.server import PlaygroundServer

_HOUR = 3600.0
_FULL_SECONDS = 6.0
_FROZEN_SECONDS = 5.0
_PATIENCE_SECONDS = 40.0
_POLL_SECONDS = 0.1


@dataclass
class Scene:
    """Everything that can be broken."""

    house: House
    server: PlaygroundServer
    members: Members
    database: ChaosDatabase
    engine: Engine
    redis_wire: Wire
    disk: SmallDisk
    clock: JumpingClock


class Deeds:
    """Does what a fault says. ``counts`` are of what was really done."""

    def __init__(self, scene: Scene) -> None:
        self.counts: Counter[Fault] = Counter()
        self._scene = scene
        self._deeds = self._table()

    async def do(self, fault: Fault, number: int) -> None:
        """Do it to the victim that ``number`` chooses."""
        if await self._deeds[fault](number) is not False:
            self.counts[fault] += 1

    def _table(self) -> dict[Fault, Callable[[int], Awaitable[object]]]:
        scene, house = self._scene, self._scene.house
        past_lease = house.lease_seconds + 1
        return {
            Fault.KILL_WORKER: lambda n: house.kill(_worker(n)),
            Fault.KILL_UPKEEP: lambda _: house.kill("upkeep"),
            Fault.KILL_BOT: lambda _: self._kill_bot(),
            Fault.KILL_BOT_POSTING: lambda _: self._kill_bot_posting(),
            Fault.KILL_FINETUNER: lambda _: house.kill("finetuner"),
            Fault.KILL_TRAINER: lambda _: self._kill_trainer(),
            Fault.DRAIN_WORKER: lambda n: house.drain(_worker(n)),
            Fault.DRAIN_UPKEEP: lambda _: house.drain("upkeep"),
            Fault.DRAIN_FINETUNER: lambda _: house.drain("finetuner"),
            Fault.ROLL_BOT: lambda _: self._roll_bot(),
            # A process that is stopped may hold SQLite's lock.
            Fault.FREEZE_WORKER: lambda n: self._away(house.freeze(_worker(n))),
            Fault.FREEZE_FINETUNER: lambda _: self._away(house.freeze("finetuner")),
            Fault.LOSE_VALKEY: lambda _: house.lose_valkey(),
            Fault.DROP_REDIS: lambda _: _now(scene.redis_wire.drop),
            Fault.FREEZE_REDIS: lambda _: scene.redis_wire.freeze(_FROZEN_SECONDS),
            Fault.SWALLOW_REDIS: lambda _: _now(scene.redis_wire.swallow),
            Fault.RESTART_DATABASE: lambda _: self._away(_postgresql(scene).restart()),
            Fault.DROP_DATABASE: lambda _: self._away(_now(_postgresql(scene).wire.drop)),
            Fault.FREEZE_DATABASE: lambda _: self._away(_postgresql(scene).wire.freeze(past_lease)),
            Fault.LOCK_DATABASE: lambda _: self._away(_sqlite(scene).lock(past_lease)),
            Fault.DROP_GATEWAY: lambda _: scene.server.gateway.drop_connections(),
            Fault.INVALIDATE_SESSION: lambda _: self._invalidate_session(),
            Fault.REFUSE_REST: lambda n: self._break_rest(429, n),
            Fault.BREAK_REST: lambda n: self._break_rest(502, n),
            Fault.LOSE_REST: lambda n: self._lose_rest(n),
            Fault.LOSE_POST: lambda n: self._lose_posts(n),
            Fault.FILL_DISK: lambda _: scene.disk.fill(_FULL_SECONDS),
            Fault.TAKE_LEASES: lambda _: self._take_leases(),
            Fault.CLOCK_FORWARD: lambda _: self._jump(_HOUR),
            Fault.CLOCK_BACK: lambda _: self._jump(-_HOUR),
        }

    async def _away(self, breaking: Awaitable[None]) -> None:
        """Break the database; what the bot hears meanwhile waits in its memory."""
        with self._scene.members.without_database():
            await breaking

    async def _roll_bot(self) -> None:
        members = self._scene.members

        def is_ready() -> bool:
            is_there = self._scene.server.gateway.connections > 1
            if is_there:
                members.lose_what_is_heard(at_once=False)
            return is_there

        await self._scene.house.roll("bot", is_ready)

    async def _kill_bot(self) -> None:
        # It may have to wait until one bot has followed another.
        died_at = await self._scene.house.kill("bot", self._scene.members.lose_what_is_heard)
        await self._note_lost(died_at)

    async def _note_lost(self, died_at: float) -> None:
        scene = self._scene

        def note() -> None:
            scene.members.lose_unwritten(died_at, heard_questions(scene.engine))

        await _until_reached(note)

    async def _kill_bot_posting(self) -> bool:
        members, house = self._scene.members, self._scene.house

        died = asyncio.Event()

        def kill() -> None:
            members.lose_what_is_heard()
            house.kill_now("bot")
            died.set()

        members.on_post = kill
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await died.wait()
        except TimeoutError:
            members.on_post = None
            return False
        await self._note_lost(time.monotonic())
        return True

    async def _kill_trainer(self) -> bool:
        """Wait for one to kill, rather one with a checkpoint; there is not always one."""
        house = self._scene.house
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if await asyncio.to_thread(house.kill_trainer, with_checkpoint=True):
                return True
            await asyncio.sleep(_POLL_SECONDS)
        return await asyncio.to_thread(house.kill_trainer) > 0

    async def _invalidate_session(self) -> None:
        self._scene.members.lose_what_is_heard()
        await self._scene.server.gateway.invalidate_sessions()

    async def _break_rest(self, status: int, number: int) -> None:
        self._scene.server.faults.next_statuses += [status] * (1 + number % 3)

    async def _lose_rest(self, number: int) -> None:
        self._scene.server.faults.next_lost_answers += [502] * (1 + number % 3)

    async def _lose_posts(self, number: int) -> None:
        self._scene.server.faults.next_lost_posts += 1 + number % 3

    async def _take_leases(self) -> None:
        """Have the reaper take what workers hold, while they are sure to hold it."""
        taking = update(Job).where(Job.state == JobState.RUNNING).values(lease_until=0.0)

        def take() -> None:
            with self._scene.engine.begin() as connection:
                connection.execute(taking)

        await _until_reached(take)

    async def _jump(self, seconds: float) -> None:
        scene = self._scene
        scene.clock.jump(seconds)
        await _until_reached(lambda: scene.database.jump(scene.engine, scene.clock))


async def _until_reached(work: Callable[[], None]) -> None:
    """Do something in the database, which may be away just now."""
    while True:
        try:
            await asyncio.to_thread(work)
        except OperationalError:
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


async def _now(act: Callable[[], None]) -> None:
    act()


def _worker(number: int) -> str:
    return WORKERS[number % len(WORKERS)]


def _postgresql(scene: Scene) -> PostgresqlDatabase:
    assert isinstance(scene.database, PostgresqlDatabase)  # noqa: S101 - the plan knows which it is
    return scene.database


def _sqlite(scene: Scene) -> SqliteDatabase:
    assert isinstance(scene.database, SqliteDatabase)  # noqa: S101 - the plan knows which it is
    return scene.database
