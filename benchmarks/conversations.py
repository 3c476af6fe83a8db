"""``perroquet bench conversations``: 64 and 512 people talk at once, on both databases.

The real bot, a real worker with a model that answers at once, and Valkey, against the playground
without rate limits. Each person asks in a channel of their own, and asks again as soon as the whole
answer stands there. Measured are the answers a second and the time from question to answer.
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

_SIZES = (64, 512)
_DATABASES = ("sqlite", "postgresql")
_SECONDS, _QUICK_SECONDS = 20.0, 6.0
_WARM_UP_SECONDS = 2.0
_ANSWER = "Seeds and fruit."


def run(*, quick: bool) -> dict[str, Any]:
    """Measure each size on each database.

    Returns:
        ``figures``: answers a second, and median, p95 and longest wait in seconds. No goals: it is
        the machine that decides.
    """
    seconds = _QUICK_SECONDS if quick else _SECONDS
    figures: dict[str, Any] = {}
    for database in _DATABASES:
        for size in _SIZES:
            found = asyncio.run(_measure(database, size, seconds))
            figures |= {f"{database}, {size} conversations: {k}": v for k, v in found.items()}
    return {"figures": figures, "goals": []}


@dataclass
class _Talk:
    """People who each ask again once they are answered."""

    server: PlaygroundServer
    size: int
    asked: dict[str, tuple[int, float]] = field(default_factory=dict)
    waits: list[tuple[float, float]] = field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        world = self.server.world
        for number in range(self.size):
            channel = cast.channel(str(5000 + number), cast.PERROQUET_GUILD, f"talk-{number}")
            world.channels[channel["id"]] = channel
        world.listen(self._see)

    def ask(self, number: int) -> None:
        text = f"<@{cast.BOT_ID}> what do parrots eat?"
        message = self.server.world.say(cast.ALICE, str(5000 + number), text)
        self.asked[message["id"]] = (number, time.perf_counter())

    def _see(self, event: Event) -> None:
        if event.name not in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            return
        question = (event.data.get("message_reference") or {}).get("message_id")
        if event.data["content"] != _ANSWER or question not in self.asked:
            return
        number, asked_at = self.asked.pop(question)
        now = time.perf_counter()
        self.waits.append((now, now - asked_at))
        if not self.is_over:
            # Not from within the telling of this event.
            asyncio.get_running_loop().call_soon(self.ask, number)


async def _measure(database: str, size: int, seconds: float) -> dict[str, float]:
    async with serving_house("benchmarks.path_worker", UNBOUND, database) as server:
        talk = _Talk(server, size)
        for number in range(size):
            talk.ask(number)
        await asyncio.sleep(_WARM_UP_SECONDS)
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        talk.is_over = True
        waits = [wait for at, wait in talk.waits if at > began]
        ended = time.perf_counter()
    if len(waits) < 2:
        return {"answers/s": round(len(waits) / (ended - began), 1)}
    return {
        "answers/s": round(len(waits) / (ended - began), 1),
        "median wait (s)": round(statistics.median(waits), 3),
        "p95 wait (s)": round(statistics.quantiles(waits, n=20)[18], 3),
        "longest wait (s)": round(max(waits), 3),
    }
