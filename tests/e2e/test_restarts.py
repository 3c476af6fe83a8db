"""Processes that come and go: a rolling restart under load, and a start in the wrong order.

The real bot, generation workers, upkeep and Valkey; only the model's words are trivial.
"""

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.orm import Session

from benchmarks.chaos.checks import heard_questions, judge_answers, open_answers, unforeseen
from benchmarks.chaos.clock import JumpingClock
from benchmarks.chaos.house import WORKERS, House
from benchmarks.chaos.members import Members
from benchmarks.trivial_model import prepare_database
from benchmarks.unbound import UNBOUND
from core.db.engines import make_engine, reading
from core.embedded import free_port
from core.jobs.presence import alive
from core.jobs.states import JobKind
from core.settings import load_settings
from playground.server import PlaygroundServer

# A busy machine needs long for what an idle one does in seconds.
PATIENCE_SECONDS = 240
pytestmark = pytest.mark.timeout(900)


class Stage:
    """The processes, the Discord that they meet and the database that they share."""

    def __init__(self, database_url, folder, server, environment) -> None:
        self.server = server
        self.engine = make_engine(database_url)
        self.members = Members(server)
        self.house = House(folder, int(environment["VALKEY_PORT"]), environment)

    def count(self, kind) -> int:
        """Processes of a kind that say that they are there."""
        with Session(reading(self.engine)) as session:
            kinds = Counter(process.kind for process in alive(session, within_seconds=60))
        return kinds[kind]

    def is_answered(self) -> bool:
        return not open_answers(self.engine) and not self.members.unanswered()

    @asynccontextmanager
    async def asking(self):
        """Somebody asks all the time."""

        async def ask() -> None:
            while True:
                self.members.ask()
                await asyncio.sleep(0.2)

        task = asyncio.create_task(ask())
        yield
        task.cancel()

    async def until(self, condition, *, may_end=False) -> None:
        """Wait until something is so; what ends meanwhile is started anew, if it may end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await asyncio.to_thread(condition):
                assert not self.house.revive() or may_end, self.house.log_file.read_text()
                await asyncio.sleep(0.1)

    def judge(self) -> None:
        """Everything that was asked is heard and has its one right answer."""
        heard = heard_questions(self.engine)
        assert heard == set(self.members.questions)
        assert self.members.judge(heard) == []
        assert judge_answers(self.engine, set()) == []


@asynccontextmanager
async def open_stage(database_url, tmp_path):
    port = free_port()
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "PERROQUET_DATA_DIR": str(tmp_path),
        "PERROQUET_PLAYGROUND__PORT": "0",
        "PERROQUET_LOG__FORMAT": "json",
        "PERROQUET_CHAT__SWEEP_INTERVAL_SECONDS": "1",
        "PERROQUET_LEDGER__LEASE_SECONDS": "20",
        **UNBOUND,
    }
    server = PlaygroundServer(load_settings(environment, tmp_path / "none"))
    await server.start()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERROQUET_", "DISCORD_"))}
    environment = kept | {
        **environment,
        **JumpingClock(tmp_path).environment,
        "PERROQUET_DISCORD__API_BASE": server.rest_base,
        "PERROQUET_DISCORD__GATEWAY_URL": server.gateway_url,
        "VALKEY_PORT": str(port),
    }
    stage = Stage(database_url, tmp_path, server, environment)
    try:
        yield stage
    finally:
        left = await stage.house.close()
        await server.stop()
        stage.engine.dispose()
    assert left == []
    assert unforeseen(stage.house.log_file) == []


@pytest.fixture
async def stage(database_url, tmp_path):
    async with open_stage(database_url, tmp_path) as stage:
        yield stage


async def test_bot_and_workers_are_replaced_under_load_and_lose_nothing(stage):
    house, gateway = stage.house, stage.server.gateway
    prepare_database(stage.engine, "smollm2-135m-instruct")
    house.start("Valkey", *WORKERS, "upkeep", "bot")
    await stage.until(lambda: gateway.is_bot_online and stage.count(JobKind.GENERATE) == 2)
    async with stage.asking():
        await house.roll("bot", lambda: gateway.connections > 1)
        for worker in WORKERS:
            await house.roll(worker, lambda: stage.count(JobKind.GENERATE) == 3)
        await house.roll("upkeep", lambda: stage.count("upkeep") == 2)
    await stage.until(stage.is_answered)
    # A second answer would come by now.
    await asyncio.sleep(1)
    stage.judge()
    assert len(stage.members.questions) > 10
    assert max(house.drain_seconds.values()) < 20


async def test_the_order_of_the_start_does_not_matter(tmp_path):
    """First who needs everything, then the tables, and Valkey last.

    Without tables a process says so and ends; a supervisor starts it again.
    """
    async with open_stage(f"sqlite:///{tmp_path / 'late.db'}", tmp_path) as stage:
        stage.house.start("bot", "worker-1", "upkeep")
        log_file = stage.house.log_file
        await stage.until(
            lambda: log_file.exists() and "never migrated" in log_file.read_text(), may_end=True
        )
        prepare_database(stage.engine, "smollm2-135m-instruct")
        await stage.until(lambda: stage.server.gateway.is_bot_online, may_end=True)
        stage.house.start("Valkey")
        stage.members.ask()
        await stage.until(stage.is_answered, may_end=True)
        stage.judge()
