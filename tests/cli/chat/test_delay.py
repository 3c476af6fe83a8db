"""What the terminal says of an answer that has no words yet."""

import asyncio
from contextlib import suppress

import pytest

from cli.chat.command import say_standing
from cli.chat.running import Running
from cli.chat.terminal import CONVERSATION_CHANNEL, open_terminal
from core.jobs.presence import announce
from core.jobs.standing import Standing
from core.jobs.states import JobState
from core.settings import ChatSettings, RedisSettings, Settings
from tests.core.corpora.helpers import run


async def standing_of_a_question(running) -> Standing:
    told: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
    async with open_terminal(running, CONVERSATION_CHANNEL) as terminal:
        asking = asyncio.create_task(terminal.ask("Hello?", lambda _: None, told.set_result))
        standing = await told
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    return standing


async def test_the_terminal_learns_what_an_answer_waits_for(engine, valkey):
    redis = RedisSettings(url=valkey.url, key_prefix=valkey.key_prefix)
    settings = Settings(redis=redis, chat=ChatSettings(delayed_after_seconds=0.1))
    running = Running(settings, engine, lambda: None)
    assert await standing_of_a_question(running) == Standing(JobState.QUEUED, 0, is_attended=False)
    run(engine, announce, "w", "generate", {})
    assert await standing_of_a_question(running) == Standing(JobState.QUEUED, 0, is_attended=True)


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (Standing(JobState.QUEUED, 2, is_attended=False), "No worker is there"),
        (Standing(JobState.QUEUED, 2, is_attended=True), "Waiting its turn, 2 before it"),
        (Standing(JobState.RUNNING, 0, is_attended=True), "Still thinking"),
    ],
)
def test_a_person_reads_why(standing, said):
    assert say_standing(standing).startswith(said)
