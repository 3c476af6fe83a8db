"""Commands and buttons are acknowledged before SQL is asked, however slow it is; over the wire."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from core.db.desk import Desk
from playground import cast
from playground.interactions import LOADING
from tests.bot.finetune.helpers import (
    STRING,
    board,
    finish,
    open_command,
    press,
    started,
    title,
    use,
    whispers,
    work,
)
from tests.bot.wire import eventually
from tests.core.corpora.helpers import add_version

OWN = int(cast.PERROQUET_GUILD)


@pytest.fixture
def standstill(monkeypatch):
    """Within it no piece of work with the database gets on."""
    may_go_on = asyncio.Event()
    may_go_on.set()

    def waiting(method):
        async def wait(desk, work):
            await may_go_on.wait()
            return await method(desk, work)

        return wait

    for name in ("read", "write"):
        monkeypatch.setattr(Desk, name, waiting(getattr(Desk, name)))

    @asynccontextmanager
    async def stop():
        may_go_on.clear()
        try:
            yield
        finally:
            may_go_on.set()

    return stop


def string(name: str, value: str) -> dict:
    return {"name": name, "type": STRING, "value": value}


def said(wire) -> list[dict]:
    return list(wire.world.messages[cast.GENERAL].values())


async def ask_to_delete(wire) -> dict:
    return await use(wire, cast.CAMILLE, "models", "delete", [string("model", "coco")])


async def test_commands(wire, standstill):
    add_version(wire.engine, "coco", OWN)
    model = string("model", "coco")
    commands = {
        "list": [],
        "show": [model],
        "delete": [model],
        "rename": [model, string("name", "jaco")],
        "export": [string("model", "jaco")],
    }
    async with wire.bot():
        for path, options in commands.items():
            async with standstill():
                await open_command(wire, cast.CAMILLE, "models", path, options)
            await eventually(lambda: not any(m["flags"] & LOADING for m in said(wire)))


async def test_buttons_of_a_board(wire, standstill):
    async with wire.bot():
        finish(wire, work(wire, await started(wire)))
        await eventually(lambda: "version 1" in title(wire))
        done = board(wire)
        expected = {
            "Use here": "answers in this channel",
            "Download": "damaged or missing",
            "Discard": "for good",
        }
        for label, words in expected.items():
            async with standstill():
                await press(wire, cast.CAMILLE, done, label)
            await eventually(lambda words=words: words in said(wire)[-1]["content"])


async def test_the_button_that_deletes(wire, standstill):
    add_version(wire.engine, "coco", OWN)
    async with wire.bot():
        question = await ask_to_delete(wire)
        async with standstill():
            await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(lambda: "is deleted" in question["content"])


async def test_who_may_teach_no_more_deletes_no_more(wire):
    add_version(wire.engine, "coco", OWN)
    async with wire.bot():
        question = await ask_to_delete(wire)
        asked = question["content"]
        roles = wire.world.member(cast.PERROQUET_GUILD, cast.CAMILLE)["roles"]
        admin_roles, roles[:] = roles[:], []
        await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(lambda: "Manage Server" in whispers(wire, cast.CAMILLE)[-1])
        assert question["content"] == asked
        roles[:] = admin_roles
        await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(lambda: "is deleted" in question["content"])
