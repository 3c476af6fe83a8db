"""From the upload to Start, over the wire."""

import hashlib

import pytest
from sqlalchemy.orm import Session

from core.db.tables import Board
from core.jobs.states import JobKind
from playground import cast
from tests.bot.finetune.helpers import (
    PAIRS,
    attach,
    board,
    corpora,
    jobs,
    labels,
    press,
    press_id,
    refuse,
    start,
    text_of,
    title,
    uploads,
    validate,
    whispers,
)
from tests.bot.wire import eventually
from workers.finetuning.corpus.errors import CorpusError


@pytest.fixture
def wire_variables():
    return {"PERROQUET_FINETUNING__CORPUS_MAX_BYTES": str(2 * 2**20)}


async def test_an_upload_is_taken_in_whole_and_owed_its_reading(wire, tmp_path):
    async with wire.bot():
        large = b"x" * 700_000 + b"\n"
        said = await start(wire, ("pairs.jsonl", PAIRS), ("more.txt", large), name="Coco le Gris")
        assert "2 files" in said["content"]
        assert said["flags"] & 64
        await eventually(lambda: "reading the corpus" in title(wire))
    (finetune,), (validation,) = jobs(wire, JobKind.FINETUNE), jobs(wire, JobKind.VALIDATE)
    assert (finetune.state, validation.state) == ("validating", "queued")
    assert finetune.payload["model"] == "coco-le-gris"
    assert finetune.payload["base_name"] == wire.settings.generation.model
    assert finetune.payload["options"]["method"] == "lora"
    assert validation.dispatched_at is not None, "the hint went to its queue"
    (corpus,) = corpora(wire)
    assert corpus.rights_declared_at > 0
    assert (corpus.uploader_id, corpus.total_bytes) == (
        int(cast.CAMILLE),
        len(PAIRS) + len(large),
    )
    files = validation.payload["files"]
    assert [f["name"] for f in files] == ["pairs.jsonl", "more.txt"]
    assert files[1]["sha256"] == hashlib.sha256(large).hexdigest()
    kept = tmp_path / "store" / uploads(wire).path_of(corpus.id)
    assert [(kept / str(n)).read_bytes() for n in range(2)] == [PAIRS, large]


async def test_the_report_has_start_and_start_queues_the_job(wire):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        job_id = validate(wire)
        await eventually(lambda: "ready to start" in title(wire))
        report = board(wire)
        said = text_of(report)
        for fragment in (
            "`pairs.jsonl`",
            "1,200",
            "123,456",
            "French 92 %",
            "120 steps",
            "megabyte",
        ):
            assert fragment in said
        assert labels(report) == ["Start", "Cancel"]
        await press(wire, cast.CAMILLE, report, "Start")
        await eventually(lambda: "waiting for its turn" in title(wire))
    (finetune,) = jobs(wire, JobKind.FINETUNE)
    assert (finetune.id, finetune.state) == (job_id, "queued")
    assert finetune.dispatched_at is not None
    shown = [m for m in wire.world.messages[cast.GENERAL].values() if m["embeds"]]
    assert len(shown) == 1, "one message shows all of it"


async def test_buttons_outlive_a_restart_and_the_same_message_is_edited_on(wire):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
    before = board(wire)["id"]
    validate(wire)
    async with wire.bot():
        await eventually(lambda: "ready to start" in title(wire))
        assert board(wire)["id"] == before
    async with wire.bot():
        await press(wire, cast.CAMILLE, board(wire), "Start")
        await eventually(lambda: "waiting for its turn" in title(wire))
        assert board(wire)["id"] == before


async def test_a_bad_file_is_refused_with_file_line_and_reason_in_the_guild_s_language(wire):
    wire.world.guilds[cast.PERROQUET_GUILD]["preferred_locale"] = "fr"
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "lis le corpus" in title(wire))
        refuse(wire, CorpusError("long-line", file="pairs.jsonl", line=7, limit=4096))
        await eventually(lambda: "pas marché" in title(wire))
        said = text_of(board(wire))
        assert "`pairs.jsonl`, ligne 7" in said
        assert "4\u202f096 caractères" in said
        assert labels(board(wire)) == []
    with Session(wire.engine) as session:
        assert session.query(Board).one().closed_at is not None


@pytest.mark.parametrize(
    ("guild", "admin", "told"),
    [
        ("en-US", "fr", "Il sera en anglais, la langue de ce serveur ; `/perroquet langue`"),
        ("fr", "en-GB", "It will be in French, the language of this server; `/perroquet language`"),
        ("fr", "fr", ""),
    ],
)
async def test_an_admin_of_another_language_is_told_in_which_the_report_will_be(
    wire, guild, admin, told
):
    wire.world.guilds[cast.PERROQUET_GUILD]["preferred_locale"] = guild
    async with wire.bot():
        said = (await start(wire, ("pairs.jsonl", PAIRS), locale=admin))["content"]
        assert told in said
        assert ("/perroquet" in said) == bool(told)


async def test_cancel_before_the_report_keeps_nothing(wire, tmp_path):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Cancel")
        await eventually(lambda: "cancelled" in title(wire))
    assert corpora(wire) == []
    assert [f for f in (tmp_path / "store").rglob("*") if f.is_file()] == []
    assert {job.state for job in jobs(wire, JobKind.VALIDATE)} == {"cancelled"}


async def test_who_may_not_manage_the_server_neither_starts_nor_presses(wire):
    async with wire.bot():
        refused = await start(wire, ("pairs.jsonl", PAIRS), user=cast.ALICE)
        assert "may not" in refused["content"]
        assert jobs(wire, JobKind.FINETUNE) == []
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        validate(wire)
        await eventually(lambda: "ready" in title(wire))
        await press(wire, cast.ALICE, board(wire), "Start", locale="fr")
        await eventually(lambda: "pas le droit" in "".join(whispers(wire, cast.ALICE)))
    assert jobs(wire, JobKind.FINETUNE)[0].state == "validating"


async def test_a_button_carried_into_another_guild_finds_nothing(wire):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        job_id = validate(wire)
        await eventually(lambda: "ready" in title(wire))
        copy = wire.world.post(
            cast.SALON,
            cast.BOT_ID,
            "forged",
            components=board(wire)["components"],
        )
        for action in ("start", "cancel"):
            await press_id(wire, cast.BRUNO, copy, f"finetune:{action}:{job_id}")
        await eventually(lambda: len(whispers(wire, cast.BRUNO, cast.SALON)) == 2)
        assert "no longer exists" in whispers(wire, cast.BRUNO, cast.SALON)[0]
    assert jobs(wire, JobKind.FINETUNE)[0].state == "validating"


async def test_without_the_rights_nothing_is_downloaded(wire, tmp_path):
    async with wire.bot():
        said = await start(wire, ("pairs.jsonl", PAIRS), rights=False, locale="fr")
        assert "droits" in said["content"]
        assert labels(said) == ["J’ai les droits sur ces fichiers"]
    assert jobs(wire, JobKind.FINETUNE) == []
    assert not (tmp_path / "store").exists()


async def test_rights_declared_with_the_button_take_in_the_files_that_were_sent(wire):
    async with wire.bot():
        said = await start(wire, ("pairs.jsonl", PAIRS), ("more.txt", PAIRS), rights=False)
        button = said["components"][0]["components"][0]["custom_id"]
        await press_id(wire, cast.ALICE, said, button)
        await eventually(lambda: "may not" in "".join(whispers(wire, cast.ALICE)))
        assert jobs(wire, JobKind.FINETUNE) == []
        await press(wire, cast.CAMILLE, said, "I have the rights to these files")
        await eventually(lambda: "your 2 files" in "".join(whispers(wire, cast.CAMILLE)))
        await eventually(lambda: labels(said) == [])
        await eventually(lambda: "reading" in title(wire))
    (validation,) = jobs(wire, JobKind.VALIDATE)
    assert [f["name"] for f in validation.payload["files"]] == ["pairs.jsonl", "more.txt"]
    (corpus,) = corpora(wire)
    assert corpus.rights_declared_at > 0


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("foreign", "is not hosted by Discord"),
        ("gone", "was deleted"),
        ("declared", "more than the 2 MiB"),
        ("larger-than-declared", "more than the 2 MiB"),
        ("together", "more than the 2 MiB"),
        ("name", "at least one letter"),
        ("taken", "operator's models"),
        ("base", "no base model “dodo”"),
    ],
)
async def test_what_cannot_be_taken_in_is_refused_and_nothing_is_kept(
    wire, tmp_path, case, sentence
):
    limit = 2 * 2**20
    more = {}
    async with wire.bot():
        (first,) = attach(wire, cast.GENERAL, ("a.txt", b"x" * 1000))
        files = [first]
        if case == "foreign":
            files.append({**first, "id": "1", "url": "http://127.0.0.1:9/attachments/1/2/a.txt"})
        elif case == "gone":
            files += attach(wire, cast.GENERAL, ("b.txt", b"y"))
            del wire.world.files[files[1]["url"].removeprefix(wire.server.base)]
        elif case == "declared":
            files = [{**first, "size": limit + 1}]
        elif case == "larger-than-declared":
            files += attach(wire, cast.GENERAL, ("b.txt", b"y" * (limit + 1)))
            files[1] = {**files[1], "size": 10}
        elif case == "together":
            files = attach(
                wire, cast.GENERAL, ("b.txt", b"y" * (limit // 2)), ("c.txt", b"z" * limit)
            )
            files = [{**file, "size": 1} for file in files]
        else:
            names = {"name": "♥", "taken": wire.settings.generation.model, "base": "coco"}
            more["name"] = names[case]
            if case == "base":
                more["options"] = [{"name": "base", "type": 3, "value": "dodo"}]
        said = await start(wire, *files, **more)
        assert sentence in said["content"]
    assert jobs(wire, JobKind.FINETUNE) == []
    assert corpora(wire) == []
    assert [f for f in (tmp_path / "store").rglob("*") if f.is_file()] == []


async def test_a_server_that_leaves_too_many_open_takes_no_more_in(wire):
    async with wire.bot():
        for number in range(5):
            said = await start(wire, ("pairs.jsonl", PAIRS), name=f"coco {number}")
            assert "your file" in said["content"]
        refused = await start(wire, ("pairs.jsonl", PAIRS))
        assert "5 fine-tunes" in refused["content"]
        elsewhere = await start(wire, ("pairs.jsonl", PAIRS), user=cast.BRUNO, channel=cast.SALON)
        assert "your file" in elsewhere["content"]
        await eventually(lambda: "reading" in title(wire))
        await press(wire, cast.CAMILLE, board(wire), "Cancel")
        await eventually(lambda: "cancelled" in title(wire))
        said = await start(wire, ("pairs.jsonl", PAIRS))
        assert "your file" in said["content"]


async def test_a_channel_the_bot_may_not_write_in_is_refused_at_once(wire):
    wire.world.forbidden_channels.add(cast.GENERAL)
    async with wire.bot():
        refused = await start(wire, ("pairs.jsonl", PAIRS))
        assert "may not post here" in refused["content"]
    assert jobs(wire, JobKind.FINETUNE) == []


async def test_bases_are_suggested_within_the_wall(wire):
    from playground.interactions import AUTOCOMPLETE
    from tests.core.corpora.helpers import add_version

    add_version(wire.engine, "volière", int(cast.AVIARY_GUILD))
    add_version(wire.engine, "coco", int(cast.PERROQUET_GUILD))
    seen = []
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
        wire.world.listen(
            lambda event: seen.append(event.data) if "AUTOCOMPLETE" in event.name else None
        )
        command = next(c for c in wire.world.commands if c["name"] == "finetune")
        focused = [{"name": "base", "type": 3, "value": "o", "focused": True}]
        data = {
            "id": command["id"],
            "name": "finetune",
            "type": 1,
            "options": [{"name": "start", "type": 1, "options": focused}],
        }
        for count, user in enumerate((cast.CAMILLE, cast.ALICE), start=1):
            wire.server.interactions.begin(AUTOCOMPLETE, user, cast.GENERAL, data, locale="en-US")
            await eventually(lambda n=count: len(seen) == n)
    values = [choice["value"] for choice in seen[0]["choices"]]
    assert values == ["coco", wire.settings.generation.model]
    assert seen[1]["choices"] == [], "members have nothing to choose from"


async def test_the_command_is_for_those_who_manage_the_server(wire):
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
    command = next(c for c in wire.world.commands if c["name"] == "finetune")
    assert int(command["default_member_permissions"]) == 1 << 5
    assert command["name_localizations"]["fr"] == "affiner"
    assert [one["name"] for one in command["options"]] == ["start", "search"]
    for option in [option for one in command["options"] for option in one["options"]]:
        assert option["description_localizations"]["fr"], option["name"]
        assert 0 < len(option["name_localizations"]["fr"]) <= 32, option["name"]
        assert max(map(len, option["description_localizations"].values())) <= 100


async def test_a_board_that_cannot_be_shown_lets_nothing_wait_for_ever(wire):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        wire.world.forbidden_channels.add(cast.GENERAL)
        validate(wire)
        await eventually(lambda: jobs(wire, JobKind.FINETUNE)[0].state == "cancelled")


async def test_a_board_that_was_deleted_comes_back_with_its_next_phase(wire):
    async with wire.bot():
        await start(wire, ("pairs.jsonl", PAIRS))
        await eventually(lambda: "reading" in title(wire))
        wire.world.delete(cast.GENERAL, board(wire)["id"])
        validate(wire)
        await eventually(lambda: "ready to start" in title(wire))
        assert labels(board(wire)) == ["Start", "Cancel"]
