"""The bot of ``perroquet bench path``: the real one, with a stop-watch around two of its calls."""

import json
import os
import time
from pathlib import Path
from typing import Any

from bot.chat.cog import ChatCog
from bot.chat.intake import ChatIntake
from bot.chat.limits import Place
from bot.chat.live_reply import LiveReply
from bot.main import run_bot
from core import loops
from core.logging import configure_logging
from core.settings import load_settings
from core.transport.streams import StreamEntry

_VARIABLE = "BENCH_FIRST_TOKENS"


def watch(file: Path) -> None:
    """Write, for each message, the time from its gateway event to the first token of its answer."""
    heard: dict[int, float] = {}
    asked: dict[str, float] = {}
    on_message, take, feed = ChatCog.on_message, ChatIntake.take, LiveReply.feed

    async def timed_on_message(self: Any, message: Any) -> None:
        heard[message.id] = time.perf_counter()
        await on_message(self, message)

    async def timed_take(
        self: Any, message: Any, text: str, locale: str, place: Place
    ) -> str | None:
        job_id = await take(self, message, text, locale, place)
        if job_id is not None:
            asked[job_id] = heard.pop(message.id)
        return job_id

    def timed_feed(self: Any, entry: StreamEntry) -> None:
        started = asked.pop(entry.job_id, None)
        if started is not None:
            milliseconds = (time.perf_counter() - started) * 1000
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"milliseconds": milliseconds}) + "\n")
        feed(self, entry)

    ChatCog.on_message = timed_on_message  # type: ignore[method-assign]
    ChatIntake.take = timed_take  # type: ignore[method-assign]
    LiveReply.feed = timed_feed  # type: ignore[method-assign]
    # A listener is found by what discord.py hung onto the function.
    for name, value in vars(on_message).items():
        setattr(timed_on_message, name, value)


if __name__ == "__main__":
    watch(Path(os.environ.pop(_VARIABLE)))
    settings = load_settings(os.environ)
    configure_logging(settings.log, process="bot")
    loops.run(run_bot(settings))
