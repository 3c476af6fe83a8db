"""``/models`` over the wire."""

import pytest
from sqlalchemy.orm import Session

from core.catalog.resolution import resolve_version
from core.db.tables import Version
from playground import cast
from playground.interactions import AUTOCOMPLETE
from tests.bot.finetune.helpers import STRING, labels, make_metrics, press, text_of, use
from tests.bot.wire import eventually
from tests.core.corpora.helpers import add_version

OWN, OTHER = int(cast.PERROQUET_GUILD), int(cast.AVIARY_GUILD)


@pytest.fixture
async def wire(wire):
    default = resolve(wire, cast.RANDOM)
    wire.versions = {
        "default": default,
        "one": add_version(wire.engine, "coco", OWN, base_id=default),
        "two": add_version(wire.engine, "coco", OWN, base_id=default, metrics=make_metrics()),
        "secret": add_version(wire.engine, "secret", OTHER),
    }
    return wire


def resolve(wire, channel: str, guild: int = OWN) -> str:
    with Session(wire.engine) as session:
        return resolve_version(session, guild, int(channel), wire.settings.generation.model)


async def models(wire, path: str, user: str = cast.CAMILLE, **more) -> dict:
    """Use a command of ``/models``; options by name."""
    special = {key: more.pop(key) for key in ("channel", "locale") if key in more}
    options = [{"name": n, "type": STRING, "value": value} for n, value in more.items()]
    return await use(wire, user, "models", path, options, **special)


async def suggested(wire, path: str, typed: str, user: str, channel: str) -> list[dict]:
    seen = []
    wire.world.listen(lambda e: seen.append(e.data) if "AUTOCOMPLETE" in e.name else None)
    await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == "models")
    focused = [{"name": "model", "type": STRING, "value": typed, "focused": True}]
    nested = [{"name": path, "type": 1, "options": focused}]
    data = {"id": command["id"], "name": "models", "type": 1, "options": nested}
    wire.server.interactions.begin(AUTOCOMPLETE, user, channel, data, locale="fr")
    await eventually(lambda: bool(seen))
    return seen[0]["choices"]


async def test_the_list_shows_one_s_own_and_the_operator_s_and_who_answers(wire):
    async with wire.bot():
        said = await models(wire, "list")
        shown = text_of(said)
        assert said["flags"] & 64
        assert "coco · this server only: version 2 · perplexity 12.50\nversion 1" in shown
        assert f"{wire.settings.generation.model} · all servers" in shown
        assert "version 1 · **answers here**" in shown
        assert "secret" not in shown
        await models(wire, "use", model=wire.versions["two"])
        shown = text_of(await models(wire, "list", locale="fr"))
        assert "version 2 · perplexité 12,50 · **répond ici**" in shown


async def test_use_and_rollback_in_a_channel_and_on_the_server(wire):
    versions = wire.versions
    async with wire.bot():
        said = await models(wire, "use", model="coco 1")
        assert "**coco**, version 1, answers in this channel" in said["content"]
        assert not said["flags"] & 64, "everybody is told who answers now"
        await models(wire, "use", model=versions["two"])
        assert resolve(wire, cast.GENERAL) == versions["two"]
        assert resolve(wire, cast.RANDOM) == versions["default"]
        await models(wire, "rollback")
        assert resolve(wire, cast.GENERAL) == versions["one"]

        said = await models(wire, "use", model="coco", where="server")
        assert "answers on this server" in said["content"]
        assert resolve(wire, cast.RANDOM) == versions["two"]
        said = await models(wire, "rollback", where="server")
        assert "operator's default" in said["content"]
        assert resolve(wire, cast.RANDOM) == versions["default"]
        assert resolve(wire, cast.SALON, OTHER) == versions["default"]


async def test_there_is_nothing_to_go_back_to_where_nothing_was_chosen(wire):
    async with wire.bot():
        said = await models(wire, "rollback", locale="fr")
        assert "revenir en arrière" in said["content"]


async def test_show_says_what_a_version_is_made_of(wire):
    async with wire.bot():
        shown = text_of(await models(wire, "show", model="coco"))
        for fragment in (
            "coco, version 2",
            f"Built on: {wire.settings.generation.model} 1",
            "base 31.25 → new 12.50",
            "Method: LoRA",
            "12 min 34 s",
        ):
            assert fragment in shown


async def test_delete_asks_and_then_deletes_own_versions_only(wire):
    versions = wire.versions
    async with wire.bot():
        await models(wire, "use", model="coco 2", where="server")
        question = await models(wire, "delete", model="coco 2")
        assert labels(question) == ["Delete for good", "Keep it"]
        await press(wire, cast.CAMILLE, question, "Keep it")
        await eventually(lambda: "Nothing" in question["content"])
        question = await models(wire, "delete", model="coco 2")
        await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(lambda: "coco, version 2, is deleted" in question["content"])
        assert resolve(wire, cast.RANDOM) == versions["default"]
        question = await models(wire, "delete", model=versions["default"])
        await press(wire, cast.CAMILLE, question, "Delete for good")
        await eventually(
            lambda: any(text in question["content"] for text in ("no such", "no longer exists"))
        )
    with Session(wire.engine) as session:
        retired = {v.id for v in session.query(Version) if v.retired_at is not None}
    assert retired == {versions["two"]}


@pytest.mark.parametrize("path", ["use", "show", "delete"])
async def test_another_guild_s_versions_do_not_exist(wire, path):
    async with wire.bot():
        for wanted in (wire.versions["secret"], "secret", "secret 1"):
            said = await models(wire, path, model=wanted)
            assert said["content"] == "There is no such thing here."
    assert resolve(wire, cast.GENERAL) == wire.versions["default"]


async def test_suggestions_stay_within_the_wall_and_deletable_ones_are_own(wire):
    async with wire.bot():
        found = await suggested(wire, "use", "", cast.CAMILLE, cast.GENERAL)
        assert [choice["value"] for choice in found] == [
            wire.versions[name] for name in ("two", "one", "default")
        ]
        assert found[0]["name"] == "coco 2 · perplexité 12,50"
        found = await suggested(wire, "delete", "CO", cast.CAMILLE, cast.GENERAL)
        assert [choice["value"] for choice in found] == [
            wire.versions[name] for name in ("two", "one")
        ]
        found = await suggested(wire, "show", "", cast.BRUNO, cast.SALON)
        assert [choice["value"] for choice in found] == [
            wire.versions[name] for name in ("secret", "default")
        ]
        assert await suggested(wire, "use", "", cast.ALICE, cast.GENERAL) == []


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("list", {}),
        ("show", {"model": "coco"}),
        ("use", {"model": "coco"}),
        ("rollback", {}),
        ("delete", {"model": "coco"}),
    ],
)
async def test_members_may_do_none_of_it(wire, path, options):
    async with wire.bot():
        said = await models(wire, path, user=cast.ALICE, locale="fr", **options)
        assert "pas le droit" in said["content"]
        assert said["flags"] & 64


async def test_every_command_and_option_speaks_french(wire):
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == "models")
    assert int(command["default_member_permissions"]) == 1 << 5
    assert command["name_localizations"]["fr"] == "modèles"
    for sub in command["options"]:
        for part in (sub, *sub.get("options", [])):
            assert part["description_localizations"]["fr"], part["name"]
            assert part["name_localizations"]["fr"], part["name"]
