"""Two hosts that share nothing but PostgreSQL, Valkey and an S3 store: chat here, train there.

Each host is its data folder and its processes, started by the commands that an operator types.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.engines import make_engine
from core.db.tables import Job, Version
from core.jobs.states import JobKind
from core.settings import load_settings
from models_store.store import ModelStore
from playground import cast
from playground.server import PlaygroundServer
from tests.bot.finetune.helpers import board, jobs, press, start, title
from tests.core.corpora.helpers import add_version
from tests.workers.model_folders import save_tiny_gpt2

VOLIERE = Path(__file__).parents[2] / "examples" / "voliere.jsonl"
HOSTS = {
    "chatting": (["worker", "generate"], ["bot"]),
    "training": (["worker", "finetune"], ["worker", "upkeep"]),
}
SECRETS = ("sesame-for-valkey", "nothing-but-s3")
QUESTION = "Qui a mangé les graines de tournesol ?"
# Processes that import torch take long to start where the cores are shared.
WAIT_SECONDS = 300
pytestmark = pytest.mark.timeout(900)


class Hosts:
    """The processes of both hosts, and the log of each."""

    def __init__(self, folder: Path, shared: dict[str, str]) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        for host, commands in HOSTS.items():
            (folder / host).mkdir()
            for command in commands:
                with (folder / f"{host}-{command[-1]}.log").open("wb") as log:
                    self._running.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "cli", *command],
                            cwd=folder / host,
                            env={**os.environ, **shared, "PERROQUET_DATA_DIR": "data"},
                            stdout=subprocess.DEVNULL,
                            stderr=log,
                        )
                    )

    def check(self) -> None:
        """Fail with the log of a process that has ended."""
        ended = [process.args for process in self._running if process.poll() is not None]
        assert not ended, (ended, self.logs())

    def logs(self) -> dict[str, str]:
        """What each process has written."""
        return {file.stem: file.read_text() for file in sorted(self.folder.glob("*.log"))}

    def stop(self) -> list[int]:
        """End all; returns their exit codes."""
        below = [c for p in self._running for c in psutil.Process(p.pid).children(recursive=True)]
        for process in self._running:
            process.terminate()
        codes = [process.wait(30) for process in self._running]
        assert not [child for child in below if child.is_running()]
        return codes


@pytest.fixture
def settings(postgresql_url, valkey_server, s3_url, tmp_path):
    """What both hosts have in common, as variables and as settings."""
    variables = {
        "DATABASE_URL": postgresql_url,
        "REDIS_URL": valkey_server.connection_url,
        "STORE_URL": s3_url,
        "PERROQUET_REDIS__KEY_PREFIX": tmp_path.name,
        "PERROQUET_GENERATION__MODEL": "tiny",
        "PERROQUET_GENERATION__MAX_NEW_TOKENS": "8",
        "PERROQUET_GENERATION__DEVICE": "cpu",
        "PERROQUET_LOG__FORMAT": "json",
        "PERROQUET_PLAYGROUND__PORT": "0",
    }
    return variables, load_settings(variables, tmp_path / "none")


@pytest.fixture
def engine(settings):
    """An engine on the database that both hosts use, with the base in the common store."""
    _, known = settings
    engine = make_engine(known.database_url)
    yield engine
    engine.dispose()


def publish_base(engine, settings, tmp_path) -> None:
    store = ModelStore(settings.store_url, tmp_path / "operator", 10**9)
    stored = store.publish(save_tiny_gpt2(tmp_path / "tiny"), "models/tiny/1", {})
    add_version(engine, "tiny", store_path=stored.path, manifest_sha256=stored.manifest_sha256)


def ask(wire) -> None:
    wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}> {QUESTION}")


def answered(wire) -> int:
    """How many questions have their answer, in SQL and in the channel."""
    done = [job for job in jobs(wire, JobKind.GENERATE) if job.state == "succeeded"]
    shown = [
        message
        for message in wire.world.messages[cast.GENERAL].values()
        if message.get("message_reference") and message["author"]["id"] == cast.BOT_ID
    ]
    return min(len(done), len(shown))


async def test_a_host_chats_with_what_another_has_trained(settings, engine, tmp_path):
    variables, known = settings
    publish_base(engine, known, tmp_path)
    server = PlaygroundServer(known)
    await server.start()
    wire = SimpleNamespace(server=server, world=server.world, engine=engine, settings=known)
    hosts = Hosts(
        tmp_path,
        variables
        | {
            "PERROQUET_DISCORD__API_BASE": server.rest_base,
            "PERROQUET_DISCORD__GATEWAY_URL": server.gateway_url,
        },
    )

    async def until(condition, seconds=WAIT_SECONDS) -> None:
        for _ in range(seconds * 2):
            hosts.check()
            if condition():
                return
            await asyncio.sleep(0.5)
        pytest.fail(json.dumps(hosts.logs(), indent=1, ensure_ascii=False))

    try:
        await until(lambda: server.gateway.is_bot_online)
        ask(wire)
        await until(lambda: answered(wire) == 1)

        corpus = "".join(VOLIERE.read_text().splitlines(keepends=True)[:30]).encode()
        await start(wire, ("voliere.jsonl", corpus), name="Coco")
        await until(lambda: "ready to start" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Start")
        await until(lambda: "version 1" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Use here")
        ask(wire)
        await until(lambda: answered(wire) == 2)
    finally:
        codes = hosts.stop()
        await server.stop()
    assert codes == [0, 0, 0, 0]

    answers = jobs(wire, JobKind.GENERATE)
    (tuned,) = [version for version in versions(engine) if version.base_id is not None]
    assert [job.state for job in answers] == ["succeeded", "succeeded"]
    assert [job.payload["version_id"] == tuned.id for job in answers] == [False, True]
    assert fetched_models(tmp_path / "chatting") == {"tiny", "coco"}
    assert fetched_models(tmp_path / "training") == {"tiny"}
    assert not list(tmp_path.glob("*/data/store")), "the store is the bucket alone"
    judge_logs(hosts.logs(), [*answers, *jobs(wire, JobKind.FINETUNE)])


def versions(engine) -> list[Version]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Version)))


def fetched_models(host: Path) -> set[str]:
    """The models whose versions a host has fetched from the store."""
    names = (path.name.split("-") for path in (host / "data" / "cache" / "versions").iterdir())
    return {name[1] for name in names if name[0] == "models"}


def judge_logs(logs: dict[str, str], done: list[Job]) -> None:
    """Each job can be followed by its id through the processes; no words, no secrets."""
    for job in done:
        told = [name for name, text in logs.items() if job.id in text]
        assert len(told) >= 2, (job.kind, told)
    for name, text in logs.items():
        for line in text.splitlines():
            assert json.loads(line)["process"] in name, (name, line)
    everything = "\n".join(logs.values())
    assert "SecurityWarning" not in everything
    said = ("tournesol", "Coco n’a peur", "volière")
    for words in (*said, *SECRETS, "password"):
        assert not re.search(re.escape(words), everything, re.IGNORECASE), words
