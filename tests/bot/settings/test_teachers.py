"""A role that may teach, chosen by those who manage the server; and what is taken back."""

import pytest
from sqlalchemy.orm import Session

from core.conversations.places import guild_locales, teacher_roles
from core.jobs.states import JobKind
from playground import cast
from tests.bot.finetune.helpers import (
    PAIRS,
    ROLE,
    STRING,
    board,
    jobs,
    press,
    start,
    title,
    use,
    validate,
)
from tests.bot.wire import eventually

ROLE_ID = "2002"
GUILD = int(cast.PERROQUET_GUILD)


@pytest.fixture
async def wire(wire):
    guild = wire.world.guilds[cast.PERROQUET_GUILD]
    guild["roles"].append({**guild["roles"][0], "id": ROLE_ID, "name": "Teachers"})
    alice = next(m for m in guild["members"] if m["user"]["id"] == cast.ALICE)
    alice["roles"].append(ROLE_ID)
    return wire


async def choose_teachers(wire, user: str = cast.CAMILLE, role: str = ROLE_ID, **more) -> dict:
    chosen = wire.world.guilds[cast.PERROQUET_GUILD]["roles"][-1]
    options = [{"name": "role", "type": ROLE, "value": role}] if role else []
    roles = {chosen["id"]: chosen}
    return await use(wire, user, "perroquet", "teachers", options, roles=roles, **more)


async def test_who_has_the_role_may_teach_and_choose_and_others_may_not(wire):
    async with wire.bot():
        refused = await start(wire, ("pairs.jsonl", PAIRS), user=cast.ALICE)
        assert "may not" in refused["content"]
        said = await choose_teachers(wire)
        assert f"<@&{ROLE_ID}>" in said["content"]
        assert "Integrations" in said["content"]
        taken = await start(wire, ("pairs.jsonl", PAIRS), user=cast.ALICE)
        assert "your file" in taken["content"]
        await eventually(lambda: "reading" in title(wire))
        validate(wire)
        await eventually(lambda: "ready" in title(wire))
        await press(wire, cast.ALICE, board(wire), "Start")
        await eventually(lambda: "waiting" in title(wire))
        listed = await use(wire, cast.ALICE, "models", "list", [])
        assert listed["embeds"]
        refused = await start(wire, ("pairs.jsonl", PAIRS), user=cast.BRUNO)
        assert "may not" in refused["content"]
    assert jobs(wire, JobKind.FINETUNE)[0].state == "queued"


async def test_the_role_is_taken_back_by_undo_and_by_leaving_it_out(wire):
    async with wire.bot():
        said = await choose_teachers(wire, locale="fr")
        assert "peuvent maintenant" in said["content"]
        await press(wire, cast.CAMILLE, said, "Rétablir", locale="fr")
        await eventually(lambda: "Seuls" in said["content"])
        assert roles(wire) == {}
        await choose_teachers(wire)
        assert roles(wire) == {GUILD: int(ROLE_ID)}
        said = await choose_teachers(wire, role="")
        assert "Only those who manage" in said["content"]
        assert roles(wire) == {}


async def test_a_role_is_chosen_by_nobody_but_who_manages_the_server(wire):
    async with wire.bot():
        refused = await choose_teachers(wire, user=cast.ALICE)
        assert "may not" in refused["content"]
    assert roles(wire) == {}


async def test_the_language_of_a_server_is_taken_back(wire):
    async with wire.bot():
        options = [{"name": "language", "type": STRING, "value": "Français"}]
        said = await use(wire, cast.CAMILLE, "perroquet", "language", options)
        assert locales(wire) == {GUILD: "fr"}
        await press(wire, cast.CAMILLE, said, "Rétablir")
        await eventually(lambda: "English" in said["content"])
        assert said["components"] == []
        again = [{"name": "language", "type": STRING, "value": "English"}]
        said = await use(wire, cast.CAMILLE, "perroquet", "language", again)
        assert said["components"] == [], "nothing was changed, so nothing is taken back"
    assert locales(wire) == {GUILD: "en"}


def roles(wire) -> dict[int, int]:
    with Session(wire.engine) as session:
        return teacher_roles(session)


def locales(wire) -> dict[int, str]:
    with Session(wire.engine) as session:
        found = guild_locales(session)
        return {guild: found[guild] for guild in (GUILD,)}
