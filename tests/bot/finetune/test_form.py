"""The form of ``/finetune start``, and every option that the command takes."""

from core.jobs.states import JobKind
from playground import cast
from tests.bot.finetune.helpers import (
    ATTACHMENT,
    INTEGER,
    NUMBER,
    PAIRS,
    STRING,
    attach,
    corpora,
    jobs,
    open_command,
    open_form,
    send_form,
    start,
    title,
)
from tests.bot.wire import eventually


async def test_without_files_a_form_asks_for_everything(wire):
    async with wire.bot():
        options = [
            {"name": "epochs", "type": NUMBER, "value": 2.0},
            {"name": "prompts", "type": STRING, "value": "Who?"},
        ]
        form = await open_form(
            wire, lambda: open_command(wire, cast.CAMILLE, "finetune", "start", options)
        )
        files = attach(wire, cast.GENERAL, ("pairs.jsonl", PAIRS), ("more.jsonl", PAIRS))
        ids = [file["id"] for file in files]
        assert form["title"] == "Teach me from your own files"
        said = await send_form(
            wire, cast.CAMILLE, form, [ids, "Coco Gris", "Who are you?\nWhere?", True], files
        )
        assert "2 files" in said["content"]
        await eventually(lambda: "reading" in title(wire))
    (job,) = jobs(wire, JobKind.FINETUNE)
    assert job.payload["model"] == "coco-gris"
    assert job.payload["options"]["sample_prompts"] == ["Who are you?", "Where?"]
    assert job.payload["options"]["epochs"] == 2.0
    (validation,) = jobs(wire, JobKind.VALIDATE)
    assert [f["name"] for f in validation.payload["files"]] == ["pairs.jsonl", "more.jsonl"]


async def test_the_form_speaks_french_and_keeps_what_the_command_was_told(wire):
    async with wire.bot():
        (file,) = attach(wire, cast.GENERAL, ("pairs.jsonl", PAIRS))
        options = [{"name": "file", "type": ATTACHMENT, "value": file["id"]}]
        form = await open_form(
            wire,
            lambda: open_command(
                wire, cast.CAMILLE, "finetune", "start", options, attachments=[file], locale="fr"
            ),
        )
        assert [label["label"] for label in form["components"]] == [
            "Fichiers",
            "Nom du nouveau modèle",
            "Questions à poser avant et après",
            "J’ai les droits sur ces fichiers",
        ]
        said = await send_form(wire, cast.CAMILLE, form, [[], "Coco", "", True], locale="fr")
        assert "ton fichier" in said["content"]
    assert [f["name"] for f in jobs(wire, JobKind.VALIDATE)[0].payload["files"]] == ["pairs.jsonl"]


async def test_without_the_declaration_the_form_takes_nothing(wire, tmp_path):
    async with wire.bot():
        form = await open_form(wire, lambda: open_command(wire, cast.CAMILLE, "finetune", "start"))
        files = attach(wire, cast.GENERAL, ("pairs.jsonl", PAIRS))
        said = await send_form(
            wire, cast.CAMILLE, form, [[files[0]["id"]], "Coco", "", False], files
        )
        assert "who have the rights" in said["content"]
    assert jobs(wire, JobKind.FINETUNE) == []
    assert not (tmp_path / "store").exists()


async def test_every_option_reaches_the_run_and_its_validation(wire):
    async with wire.bot():
        pairs, own = attach(
            wire, cast.GENERAL, ("pairs.jsonl", PAIRS), ("judge.jsonl", PAIRS[:100])
        )
        values = {
            "method": (STRING, "full"),
            "epochs": (NUMBER, 1.5),
            "learning_rate": (NUMBER, 0.001),
            "block_size": (INTEGER, 128),
            "batch": (INTEGER, 8),
            "validation_percent": (INTEGER, 20),
            "patience": (INTEGER, 0),
            "seed": (INTEGER, 7),
            "validation_file": (ATTACHMENT, own["id"]),
        }
        options = [{"name": n, "type": kind, "value": v} for n, (kind, v) in values.items()]
        said = await start(wire, pairs, options=options, resolved=[own])
        assert "2 files" in said["content"]
    (job,), (validation,) = jobs(wire, JobKind.FINETUNE), jobs(wire, JobKind.VALIDATE)
    assert job.payload["options"] == {
        "method": "full",
        "epochs": 1.5,
        "learning_rate": 0.001,
        "block_size": 128,
        "batch_size": 8,
        "patience": 0,
        "seed": 7,
        "sample_prompts": [],
    }
    assert validation.payload["validation_share"] == 0.2
    assert [(f["name"], f["is_validation"]) for f in validation.payload["files"]] == [
        ("pairs.jsonl", False),
        ("judge.jsonl", True),
    ]
    assert len(corpora(wire)) == 1
