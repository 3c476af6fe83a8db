"""Comparing, renaming and exporting versions, by command and from a board."""

import asyncio
import functools
import hashlib
import json

import numpy as np
from safetensors.numpy import load, save
from sqlalchemy.orm import Session

from core.catalog.registry import list_versions
from core.db.tables import Message
from core.jobs.states import JobKind
from playground import cast
from tests.bot.finetune.helpers import (
    STRING,
    board,
    finish,
    jobs,
    open_command,
    open_form,
    press,
    send_form,
    started,
    text_of,
    title,
    use,
    work,
)
from tests.bot.wire import eventually
from tests.core.corpora.helpers import add_version

OWN, OTHER = int(cast.PERROQUET_GUILD), int(cast.AVIARY_GUILD)


def default_version(wire) -> str:
    with Session(wire.engine) as session:
        return list_versions(session)[0].version_id


def add_adapter(wire, tmp_path, guild: int = OWN, rows: int = 100) -> str:
    """A version of ``coco`` whose files lie in the store as the model store writes them."""
    files = {
        "adapter_model.safetensors": save({"lora": np.ones((rows, 256), np.float32)}),
        "adapter_config.json": b'{"peft_type": "LORA"}',
        "README.md": b"# coco",
        "tokenizer.json": b"{}" * 1000,
    }
    folder = tmp_path / "store" / "models" / f"coco-{guild}-{rows}"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    listed = {
        n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()
    }
    manifest = json.dumps({"format": 1, "files": listed, "metadata": {}}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return add_version(
        wire.engine,
        "coco",
        guild,
        base_id=default_version(wire),
        store_path=f"models/{folder.name}",
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
    )


async def models(wire, path: str, user: str = cast.CAMILLE, **options) -> dict:
    given = [{"name": n, "type": STRING, "value": value} for n, value in options.items()]
    return await use(wire, user, "models", path, given)


async def compare(wire, begin, question: str, answers: tuple[str, str]) -> dict:
    """Open the form, ask, and answer both jobs as their worker would."""
    form = await open_form(wire, begin)
    asking = asyncio.create_task(send_form(wire, cast.CAMILLE, form, [question]))
    ids = await wire.queued(2)
    for job_id, answer in zip(ids, answers, strict=True):
        assert wire.answer(job_id, answer) == [question]
    return await asking


async def test_both_answers_stand_side_by_side_and_belong_to_no_conversation(wire, tmp_path):
    version = add_adapter(wire, tmp_path)
    async with wire.bot():

        async def begin():
            options = [{"name": "model", "type": STRING, "value": "coco"}]
            await open_command(wire, cast.CAMILLE, "models", "compare", options)

        said = await compare(wire, begin, "Who are you?", ("A model.", "*Coco*!"))
        assert said["flags"] & 64
        fields = said["embeds"][0]["fields"]
        default = wire.settings.generation.model
        assert [(f["name"], f["value"]) for f in fields] == [
            (f"{default} 1", "A model."),
            ("coco 1", "\\*Coco\\*!"),
        ]
        assert all(f["inline"] for f in fields)
        assert "Who are you?" in said["embeds"][0]["title"]
        first, second = jobs(wire, JobKind.GENERATE)
        assert first.payload["version_id"] == default_version(wire)
        assert second.payload["version_id"] == version
        assert first.payload["sampling"] == second.payload["sampling"], "the same chance for both"
        # What is said next in the channel knows nothing of it.
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}> Hello!")
        (job_id,) = await wire.queued()
        assert wire.answer(job_id, "Hi.") == ["Hello!"]
        # The asker's words go when the asker wants them forgotten.
        question = await use(wire, cast.CAMILLE, "forget", "me", [])
        await press(wire, cast.CAMILLE, question, "Forget it")
        await eventually(lambda: "3 messages" in question["content"])
    with Session(wire.engine) as session:
        assert "Who are you?" not in [m.content for m in session.query(Message)]


async def test_a_comparison_says_why_one_of_the_two_does_not_answer(wire, tmp_path):
    from core.errors import StoreError

    add_adapter(wire, tmp_path)
    async with wire.bot():
        options = [
            {"name": "model", "type": STRING, "value": "coco"},
            {"name": "with", "type": STRING, "value": "coco 1"},
        ]
        form = await open_form(
            wire, lambda: open_command(wire, cast.CAMILLE, "models", "compare", options)
        )
        asking = asyncio.create_task(send_form(wire, cast.CAMILLE, form, ["Hm?"]))
        first, second = await wire.queued(2)
        wire.answer(first, "Yes.")
        wire.refuse(second, StoreError("gone"))
        said = await asking
    answered, failed = said["embeds"][0]["fields"]
    assert answered["value"] == "Yes."
    assert "damaged or missing" in failed["value"]


async def test_what_answers_too_late_is_not_worked_on_in_vain(wire, tmp_path, monkeypatch):
    monkeypatch.setattr("bot.models.comparer._PATIENCE_SECONDS", 0.1)
    add_adapter(wire, tmp_path)
    async with wire.bot():
        options = [{"name": "model", "type": STRING, "value": "coco"}]
        form = await open_form(
            wire, lambda: open_command(wire, cast.CAMILLE, "models", "compare", options)
        )
        said = await send_form(wire, cast.CAMILLE, form, ["Hm?"])
    assert [f["value"] for f in said["embeds"][0]["fields"]] == [
        "no answer in time; the workers are busy"
    ] * 2
    asked = jobs(wire, JobKind.GENERATE)
    assert [job.state for job in asked] == ["cancelled"] * 2
    assert [job.payload["stream"] for job in asked] == ["", ""], "nobody watches them grow"


async def test_what_has_no_base_or_is_another_guild_s_is_not_compared(wire):
    add_version(wire.engine, "alone", OWN)
    add_version(wire.engine, "secret", OTHER)
    async with wire.bot():
        for name in ("alone", "secret"):
            options = [{"name": "model", "type": STRING, "value": name}]
            form = await open_form(
                wire,
                functools.partial(open_command, wire, cast.CAMILLE, "models", "compare", options),
            )
            said = await send_form(wire, cast.CAMILLE, form, ["Hm?"])
            assert "no such thing" in said["content"]
        said = await models(wire, "compare", user=cast.ALICE, model="alone")
        assert "may not" in said["content"]
    assert jobs(wire, JobKind.GENERATE) == []


async def test_a_board_compares_with_the_base_and_downloads(wire):
    async with wire.bot():
        job_id = await started(wire)
        finish(wire, work(wire, job_id))
        await eventually(lambda: "version 1" in title(wire))
        done = board(wire)
        said = await compare(
            wire,
            lambda: press(wire, cast.CAMILLE, done, "Compare"),
            "Who are you?",
            ("A model.", "Coco!"),
        )
        assert "coco 1: Coco!" in text_of(said)
        await press(wire, cast.CAMILLE, done, "Download")
        whispered = wire.world.messages[cast.GENERAL].values()
        await eventually(lambda: any("damaged or missing" in m["content"] for m in whispered))


async def test_an_export_is_what_was_published_and_loads_elsewhere(wire, tmp_path):
    add_adapter(wire, tmp_path)
    async with wire.bot():
        said = await models(wire, "export", model="coco")
    assert "**coco**, version 1" in said["content"]
    assert said["flags"] & 64
    names = [a["filename"] for a in said["attachments"]]
    assert names == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    content = wire.world.files[said["attachments"][2]["url"].removeprefix(wire.server.base)]
    weights = load(content[0])
    assert weights["lora"].dtype == np.float32


async def test_weights_that_do_not_fit_are_rounded_and_larger_ones_are_refused(wire, tmp_path):
    async with wire.bot():
        # The playground takes uploads of 25 MiB; a row has a KiB.
        add_adapter(wire, tmp_path, rows=40_000)
        said = await models(wire, "export", model="coco 1")
        assert "rounded to 16 bits" in said["content"]
        add_adapter(wire, tmp_path, rows=60_000)
        said = await models(wire, "export", model="coco 2")
        assert "larger than an upload here" in said["content"]
        assert said["attachments"] == []


async def test_a_damaged_file_and_the_operator_s_models_are_not_handed_on(wire, tmp_path):
    add_adapter(wire, tmp_path)
    (tmp_path / "store" / "models" / f"coco-{OWN}-100" / "README.md").write_bytes(b"# other")
    async with wire.bot():
        said = await models(wire, "export", model="coco")
        assert "damaged or missing" in said["content"]
        said = await models(wire, "export", model=wire.settings.generation.model)
        assert "no such thing" in said["content"]


async def test_a_model_is_renamed_and_answers_on(wire, tmp_path):
    version = add_adapter(wire, tmp_path)
    add_version(wire.engine, "other", OWN)
    add_version(wire.engine, "secret", OTHER)
    default = wire.settings.generation.model
    async with wire.bot():
        await models(wire, "use", model="coco")
        said = await models(wire, "rename", model="coco", name="Le Perroquet Gris")
        assert "coco is now called le-perroquet-gris" in said["content"]
        for taken in ("other", default):
            said = await models(wire, "rename", model="le-perroquet-gris", name=taken)
            assert "of that name already" in said["content"]
        assert (
            "called secret"
            in (await models(wire, "rename", model=version, name="secret"))["content"]
        ), "names of other servers are free"
        said = await models(wire, "rename", model="secret", name="♥")
        assert "at least one letter" in said["content"]
        said = await models(wire, "rename", model=default, name="mine")
        assert "no such thing" in said["content"]
        listed = text_of(await models(wire, "list"))
        assert "secret · this server only: version 1 · **answers here**" in listed
