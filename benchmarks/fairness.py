"""``perroquet bench fairness``: what a guild that asks a hundred times more does to another's wait.

The real bot, a real worker and Valkey against the playground; the worker's model answers sixteen
at a time and takes half a second for each. A quiet guild asks one question after the other, first
alone, then beside a loud one that asks a hundred times as often, with the bounds of the settings
and without any. Measured is the time from the question to its whole answer in the channel.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving_house import serving_house
from benchmarks.unbound import UNBOUND
from playground import cast
from playground.server import PlaygroundServer
from playground.world import Event

_GOAL_TIMES = 2.0
_TIMES_MORE = 100
_QUESTIONS, _QUICK_QUESTIONS = 30, 10
_PAUSE_SECONDS = 1.0
_ANSWER = "Seeds and fruit."
_PATIENCE_SECONDS = 120.0
_CHANNELS, _MEMBERS = 50, 500


def run(*, quick: bool) -> dict[str, Any]:
    """Measure with and without the bounds of members and guilds.

    Returns:
        ``figures`` with the median waits in seconds, and the goal for the bounds of the settings.
    """
    count = _QUICK_QUESTIONS if quick else _QUESTIONS
    figures: dict[str, Any] = {}
    for name, settings in (("bounds of the settings", {}), ("no bounds", UNBOUND)):
        figures |= {f"{name}: {k}": v for k, v in asyncio.run(_measure(count, settings)).items()}
    times = figures["bounds of the settings: times the wait alone"]
    goal = {
        "name": "the quiet guild's median wait beside a loud one, by that alone",
        "value": times,
        "unit": "times",
        "goal": _GOAL_TIMES,
        "met": times <= _GOAL_TIMES,
    }
    return {"figures": figures, "goals": [goal]}


@dataclass
class _Guilds:
    """Asks, and notes when whole answers appear."""

    server: PlaygroundServer
    asked: dict[str, float] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    loud: int = 0

    def __post_init__(self) -> None:
        world = self.server.world
        for number in range(_CHANNELS):
            channel = cast.channel(str(5000 + number), cast.PERROQUET_GUILD, f"loud-{number}")
            world.channels[channel["id"]] = channel
        guild = world.guilds[cast.PERROQUET_GUILD]
        alice = world.member(cast.PERROQUET_GUILD, cast.ALICE)
        for number in range(_MEMBERS):
            user = {**world.users[cast.ALICE], "id": str(6000 + number), "username": f"m{number}"}
            world.users[user["id"]] = user
            guild["members"].append({**alice, "user": user})
        world.listen(self._see)

    async def ask_quietly(self, count: int) -> float:
        """One question after the other; returns the median wait in seconds."""
        waits = []
        for _ in range(count):
            question = self._say(cast.BRUNO, cast.SALON)
            deadline = time.perf_counter() + _PATIENCE_SECONDS
            # The channel is looked at.
            while question not in self.waits and time.perf_counter() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            waits.append(self.waits.get(question, _PATIENCE_SECONDS))
            await asyncio.sleep(_PAUSE_SECONDS)
        return statistics.median(waits)

    async def ask_loudly(self, every_seconds: float) -> None:
        """Ask for ever, as many members would."""
        while True:
            self._say(str(6000 + self.loud % _MEMBERS), str(5000 + self.loud % _CHANNELS))
            self.loud += 1
            await asyncio.sleep(every_seconds)

    def _say(self, member: str, channel: str) -> str:
        text = f"<@{cast.BOT_ID}> what do parrots eat?"
        message = self.server.world.say(member, channel, text)
        self.asked[message["id"]] = time.perf_counter()
        return str(message["id"])

    def _see(self, event: Event) -> None:
        if event.name not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            return
        question = (event.data.get("message_reference") or {}).get("message_id")
        if event.data["content"] == _ANSWER and question in self.asked:
            now = time.perf_counter()
            self.waits.setdefault(question, now - self.asked[question])


async def _measure(count: int, variables: dict[str, str]) -> dict[str, Any]:
    async with serving_house("benchmarks.batching_worker", variables) as server:
        guilds = _Guilds(server)
        await guilds.ask_quietly(2)
        alone = await guilds.ask_quietly(count)
        loud = asyncio.create_task(guilds.ask_loudly((alone + _PAUSE_SECONDS) / _TIMES_MORE))
        before = len(guilds.waits)
        began = time.perf_counter()
        try:
            beside = await guilds.ask_quietly(count)
        finally:
            loud.cancel()
        seconds = time.perf_counter() - began
    return {
        "wait alone (s)": round(alone, 3),
        "wait beside the loud guild (s)": round(beside, 3),
        "times the wait alone": round(beside / alone, 2),
        "questions of the loud guild": guilds.loud,
        "its questions a second": round(guilds.loud / seconds, 1),
        "answers in all": len(guilds.waits) - before,
    }
