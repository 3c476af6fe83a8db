"""``perroquet bench path``: the way of a message through bot, SQL, Redis, worker and back.

The real bot, the real upkeep and a real generation worker run as processes against SQLite and an
embedded Valkey; only the model is trivial (it says three words at once), so that what is left is
our own time. The playground runs here, without rate limits, and is both Discord and the members.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.trivial_model import prepare_database
from benchmarks.unbound import UNBOUND
from core.db.engines import make_engine
from core.embedded import EmbeddedValkey, free_port
from core.errors import ServiceUnavailableError
from core.settings import Settings, load_settings
from playground import cast
from playground.server import PlaygroundServer
from playground.world import Event

_P50_GOAL_MILLISECONDS = 10.0
_RATE_GOAL = 200.0
_READY_SECONDS = 60.0
_CHANNELS = 400
_ON_THEIR_WAY = 64
# As many as there are channels: a channel's first message makes its rows, which happens once.
_WARM_UP = _CHANNELS


class _Clock:
    """When each question was asked and when its first message and its final text stood there."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.placed: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self._question_of: dict[str, str] = {}

    def hear(self, event: Event) -> None:
        """Take an event of the playground."""
        if event.name not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            return
        data = event.data
        if data["author"]["id"] != cast.BOT_ID:
            return
        if event.name == "MESSAGE_CREATE" and data.get("message_reference"):
            question = data["message_reference"]["message_id"]
            self._question_of[data["id"]] = question
            self.placed[question] = time.perf_counter()
        if data["id"] in self._question_of and data["content"].endswith("fruit."):
            self.answered[self._question_of[data["id"]]] = time.perf_counter()


def run(*, quick: bool) -> dict[str, Any]:
    """Measure.

    Returns:
        ``figures`` and ``goals``. Latencies are of messages that come one by one; the rate is that
        of a burst over many channels, from the first question to the last final text.
    """
    with tempfile.TemporaryDirectory(prefix="perroquet-path-") as folder:
        return asyncio.run(
            _measure(Path(folder), single=60 if quick else 200, burst=600 if quick else 3000)
        )


async def _measure(folder: Path, *, single: int, burst: int) -> dict[str, Any]:
    base = {
        "PERROQUET_DATA_DIR": str(folder),
        "PERROQUET_PLAYGROUND__PORT": "0",
        "PERROQUET_LOG__LEVEL": "error",
        **UNBOUND,
    }
    server = PlaygroundServer(load_settings(base, folder / "none"), rate_limits=False)
    await server.start()
    channels = _make_channels(server)
    clock = _Clock()
    server.world.listen(clock.hear)
    first_tokens = folder / "first-tokens.jsonl"
    port = free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PERROQUET_", "DISCORD_"))},
        **base,
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "PERROQUET_DISCORD__API_BASE": server.rest_base,
        "PERROQUET_DISCORD__GATEWAY_URL": server.gateway_url,
        "BENCH_FIRST_TOKENS": str(first_tokens),
    }
    _prepare_database(load_settings(base, folder / "none"))
    try:
        with _processes(folder, port, environment) as running:
            await _until(lambda: server.gateway.is_bot_online, _READY_SECONDS, "The bot")
            await _ask_in_a_burst(server, clock, channels, _WARM_UP)
            asked = await _ask_one_by_one(server, clock, channels, single)
            before = _cpu_milliseconds(running)
            rate, answered = await _ask_in_a_burst(server, clock, channels, burst)
            after = _cpu_milliseconds(running)
    finally:
        await server.stop()
    cpu = {name: (after[name] - before[name]) / burst for name in after}
    return _report(clock, asked, first_tokens, rate, answered, burst, cpu)


async def _ask_one_by_one(
    server: PlaygroundServer, clock: _Clock, channels: list[str], count: int
) -> list[str]:
    questions = []
    for number in range(count):
        question = _ask(server, clock, channels[number % len(channels)])
        await _until(lambda q=question: q in clock.answered, 30, "An answer")
        questions.append(question)
    return questions


async def _ask_in_a_burst(
    server: PlaygroundServer, clock: _Clock, channels: list[str], count: int
) -> tuple[float, int]:
    """Ask as fast as answers come, with a bounded number on their way; returns messages/s."""
    started = time.perf_counter()
    before = len(clock.answered)
    for number in range(count):
        _ask(server, clock, channels[number % len(channels)])
        await asyncio.sleep(0)
        await _until(
            lambda n=number: n - (len(clock.answered) - before) < _ON_THEIR_WAY, 60, "An answer"
        )
    await _until(lambda: len(clock.answered) - before >= count, 120, "The last answer")
    return count / (time.perf_counter() - started), len(clock.answered) - before


def _ask(server: PlaygroundServer, clock: _Clock, channel: str) -> str:
    text = f"<@{cast.BOT_ID}> what do parrots eat?"
    # The clock starts before the message does.
    started = time.perf_counter()
    question: str = server.world.say(cast.ALICE, channel, text)["id"]
    clock.asked[question] = started
    return question


def _make_channels(server: PlaygroundServer) -> list[str]:
    ids = [str(4000 + number) for number in range(_CHANNELS)]
    for channel_id in ids:
        channel = cast.channel(channel_id, cast.PERROQUET_GUILD, f"bench-{channel_id}")
        server.world.channels[channel_id] = channel
    return ids


def _prepare_database(settings: Settings) -> None:
    engine = make_engine(settings.database_url)
    prepare_database(engine, settings.generation.model)
    engine.dispose()


@contextmanager
def _processes(
    folder: Path, port: int, environment: dict[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    commands = {
        "Valkey": EmbeddedValkey(folder / "valkey", port).prepare(),
        "worker": [sys.executable, "-m", "benchmarks.path_worker"],
        "upkeep": [sys.executable, "-m", "workers.main", "upkeep"],
        "bot": [sys.executable, "-m", "benchmarks.path_bot"],
    }
    with (folder / "processes.log").open("wb") as log:
        running = {
            name: subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
            for name, command in commands.items()
        }
    try:
        yield running
    finally:
        for process in reversed(running.values()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cpu_milliseconds(running: dict[str, subprocess.Popen[bytes]]) -> dict[str, float]:
    """The processor time that each process has used, this one (Discord and the members) too."""
    pids = {name: process.pid for name, process in running.items()} | {"Discord": os.getpid()}
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    used = {}
    for name, pid in pids.items():
        # proc(5): after the name in parentheses, the 12th and 13th fields are utime and stime.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) * tick
    return used


async def _until(condition: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceUnavailableError(
                f"{what} did not come within {seconds:.0f} s; is the machine busy with other work?",
                service="benchmark",
            )
        await asyncio.sleep(0.001)


def _report(
    clock: _Clock,
    asked: list[str],
    first_tokens: Path,
    rate: float,
    answered: int,
    burst: int,
    cpu: dict[str, float],
) -> dict[str, Any]:
    milliseconds = {
        "to first message in the channel": [
            (clock.placed[q] - clock.asked[q]) * 1000 for q in asked
        ],
        "to final text in the channel": [
            (clock.answered[q] - clock.asked[q]) * 1000 for q in asked
        ],
        "gateway event to first token at the bot": _first_token_times(first_tokens, len(asked)),
    }
    figures: dict[str, Any] = {
        f"{name}, {label} (ms)": round(value, 2)
        for name, values in milliseconds.items()
        for label, value in (
            ("p50", statistics.median(values)),
            ("p99", statistics.quantiles(values, n=100)[98]),
        )
    }
    figures |= {"messages/s": round(rate, 1), "asked in the burst": burst, "answered": answered}
    figures |= {f"CPU a message, {name} (ms)": round(value, 2) for name, value in cpu.items()}
    p50 = figures["gateway event to first token at the bot, p50 (ms)"]
    return {
        "figures": figures,
        "goals": [
            _goal(
                "gateway event to first token, p50",
                p50,
                "ms",
                _P50_GOAL_MILLISECONDS,
                is_met=p50 < _P50_GOAL_MILLISECONDS,
            ),
            _goal(
                "throughput", round(rate, 1), "messages/s", _RATE_GOAL, is_met=rate >= _RATE_GOAL
            ),
        ],
    }


def _first_token_times(file: Path, count: int) -> list[float]:
    """The bot's own times, of the messages that came one by one: after the warm-up, before the
    burst."""
    lines = file.read_text(encoding="utf-8").splitlines()
    times = [float(json.loads(line)["milliseconds"]) for line in lines]
    return times[_WARM_UP : _WARM_UP + count]


def _goal(name: str, value: float, unit: str, goal: float, *, is_met: bool) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "met": is_met}
