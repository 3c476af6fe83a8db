"""/jobs over the wire: what an admin sees and does."""

import re

from core.db.clock import epoch_now
from core.jobs.events import record
from core.jobs.ledger import report_progress, succeed
from core.jobs.presence import announce
from core.jobs.states import JobKind, JobState
from playground import cast
from tests.bot.finetune.helpers import make_metrics, press
from tests.bot.jobs.helpers import answers, bring, suggested, text_of, use
from tests.bot.wire import eventually
from tests.core.corpora.helpers import add_version
from tests.core.jobs.jobs_of_guilds import GUILD, OTHER_GUILD, add_job, run
from tests.workers.ledger_helpers import claim_job, read_job, set_job
from workers.generation.answering import EmptyAnswerError

EPHEMERAL = 64


async def test_a_list_is_leafed_through_with_buttons(wire):
    ids = [add_job(wire.engine) for _ in range(23)]
    foreign = add_job(wire.engine, guild_id=OTHER_GUILD)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "list")
        assert said["flags"] & EPHEMERAL
        first = text_of(said)
        assert "Page 1" in first
        assert len(set(re.findall(r"^⏳ <t:\d+:R> · .*`\w+`$", first, re.MULTILINE))) == 10
        seen = [job_id for job_id in ids if job_id in first]
        assert len(seen) == 10
        for number in (2, 3):
            await press(wire, cast.CAMILLE, said, "Older")
            await eventually(lambda n=number: f"Page {n}" in text_of(said))
            seen += [job_id for job_id in ids if job_id in text_of(said)]
        assert sorted(seen) == sorted(ids)
        buttons = {b["label"]: b["disabled"] for b in said["components"][0]["components"]}
        assert buttons == {"Newer": False, "Older": True}
        await press(wire, cast.CAMILLE, said, "Newer")
        await eventually(lambda: "Page 2" in text_of(said))
        assert foreign not in text_of(said)


async def test_a_list_is_narrowed_by_every_option(wire):
    version = add_version(wire.engine, "coco", GUILD)
    old = add_job(wire.engine, member=int(cast.ALICE))
    set_job(wire.engine, old, created_at=epoch_now() - 7200)
    failed = add_job(wire.engine, JobState.FAILED, member=int(cast.BRUNO))
    tune = add_job(wire.engine, kind=JobKind.FINETUNE, model="dodo")
    answer = add_job(wire.engine, version_id=version)
    async with wire.bot():
        for options, expected in (
            ({"state": "failed"}, {failed}),
            ({"since": "7j"}, {old, failed, tune, answer}),
            ({"kind": "finetune"}, {tune}),
            ({"model": "coco"}, {answer}),
            ({"since": "1h"}, {failed, tune, answer}),
            ({"since": "2020-01-01", "state": "queued"}, {old, tune, answer}),
        ):
            said = text_of(await use(wire, cast.CAMILLE, "jobs", "list", **options))
            assert {i for i in (old, failed, tune, answer) if i in said} == expected, options
        # All of it is on one page, so there is nothing to leaf to.
        assert (await use(wire, cast.CAMILLE, "jobs", "list"))["components"] == []
        said = await use(wire, cast.CAMILLE, "jobs", "list", since="whenever", locale="fr")
        assert "ce moment" in said["content"]
        assert await suggested(wire, cast.CAMILLE, "jobs", "list", "model", typed="CO") == ["coco"]
        assert await suggested(wire, cast.ALICE, "jobs", "list", "model") == []
        salon = {"channel": cast.SALON}
        assert await suggested(wire, cast.BRUNO, "jobs", "list", "model", **salon) == []


async def test_a_list_of_one_member_s_jobs(wire):
    from playground.interactions import COMMAND
    from tests.bot.jobs.helpers import USER, make_data

    alices = add_job(wire.engine, member=int(cast.ALICE))
    brunos = add_job(wire.engine, member=int(cast.BRUNO))
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
        option = {"name": "member", "type": USER, "value": cast.ALICE}
        data = make_data(wire, ("jobs", "list"), [option])
        data["resolved"] = {"users": {cast.ALICE: wire.world.users[cast.ALICE]}}
        pending = wire.server.interactions.begin(
            COMMAND, cast.CAMILLE, cast.GENERAL, data, locale="en-US"
        )
        await eventually(lambda: answers(wire, cast.GENERAL, pending) != [])
        said = text_of(answers(wire, cast.GENERAL, pending)[-1])
    assert alices in said
    assert brunos not in said


async def test_a_job_is_shown_with_its_timeline_its_place_and_its_error(wire):
    failed = add_job(wire.engine, JobState.FAILED)
    add_job(wire.engine)
    waiting = add_job(wire.engine)
    async with wire.bot():
        said = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=waiting))
        assert "In the queue: " in said
        assert " of 2" in said
        said = await use(wire, cast.CAMILLE, "jobs", "show", job=failed)
        assert said["flags"] & EPHEMERAL
        told = text_of(said)
        for words in ("requested", "taken by a worker · attempt 1", "I cannot use that"):
            assert words in told
        french = await use(wire, cast.CAMILLE, "jobs", "show", job=failed, locale="fr")
        assert "prise par un ouvrier" in text_of(french)
        assert "échouée" in text_of(french)


async def test_a_timeline_says_the_day_wherever_the_time_alone_would_not(wire):
    job_id = add_job(wire.engine, JobState.FAILED)
    day = 86_400
    times = {"created_at": 40 * day, "started_at": 41 * day, "finished_at": 41 * day + 60}
    set_job(wire.engine, job_id, **times)
    async with wire.bot():
        told = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=job_id))
    asked, taken, ended = times.values()
    assert f"<t:{asked}:d> <t:{asked}:T> requested" in told
    assert f"<t:{taken}:d> <t:{taken}:T> taken by a worker" in told
    assert f"\n<t:{ended}:T> failed" in told


async def test_an_answer_is_shown_with_its_length_its_speed_and_its_end(wire):
    job_id = add_job(wire.engine)
    facts = {"text": "Seeds.", "tokens": 120, "seconds": 4.0, "finish": "length"}
    run(wire.engine, succeed, claim_job(wire.engine, job_id), facts)
    async with wire.bot():
        told = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=job_id))
        assert "Answer: 120 tokens in 4.0 s (30.0 tokens/s)" in told
        assert "Ended: at the longest length" in told
        assert "Seeds." not in told
        told = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=job_id, locale="fr"))
        assert "Réponse: 120 jetons en 4,0 s (30,0 jetons/s)" in told
        assert "Fin: à la longueur maximale" in told


async def test_a_waiting_job_says_when_it_is_likely_to_begin(wire):
    add_job(wire.engine, JobState.SUCCEEDED, JobKind.FINETUNE)
    run(wire.engine, announce, "finetune-a", "finetune", {})
    running = add_job(wire.engine, kind=JobKind.FINETUNE)
    report = {"step": 1, "steps": 9, "seconds_left": 600}
    run(wire.engine, report_progress, claim_job(wire.engine, running), report)
    waiting = add_job(wire.engine, kind=JobKind.FINETUNE)
    async with wire.bot():
        told = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=waiting))
        assert "Expected start: in about 10 min" in told
        told = text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=waiting, locale="fr"))
        assert "Début prévu: dans 10 min environ" in told


async def test_a_fine_tune_is_shown_with_its_course_and_what_it_reached(wire):
    job_id = add_job(wire.engine, kind=JobKind.FINETUNE)
    taken = claim_job(wire.engine, job_id)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "show", job=job_id)
        assert said["attachments"] == []
        curve = {"step": 10, "loss": 2.5, "perplexity": 12.2, "train": [(5, 2.9), (10, 2.6)]}
        run(wire.engine, record, job_id, "evaluated", **curve)
        run(wire.engine, succeed, taken, {"metrics": make_metrics()})
        said = await use(wire, cast.CAMILLE, "jobs", "show", job=job_id)
    assert "base 31.25 → new 12.50" in text_of(said)
    (picture,) = said["attachments"]
    assert picture["content_type"] == "image/png"
    assert said["embeds"][0]["image"]["url"].endswith(picture["filename"])


async def test_what_a_member_was_told_is_not_shown(wire):
    job_id = add_job(wire.engine, JobState.SUCCEEDED)
    async with wire.bot():
        for command in ("show", "watch"):
            said = await use(wire, cast.CAMILLE, "jobs", command, job=job_id)
            assert "what a member was told" not in repr(said)


async def test_a_watched_message_follows_its_job_to_the_end(wire):
    job_id = add_job(wire.engine, kind=JobKind.FINETUNE, model="coco")
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "watch", job=job_id)
        assert "Kept up to date" in text_of(said)
        taken = claim_job(wire.engine, job_id, "finetune-host-1")
        await eventually(lambda: "State: running" in text_of(said))
        measuring = {"measured_tokens": 300, "tokens_to_measure": 900}
        run(wire.engine, report_progress, taken, measuring)
        await eventually(lambda: "33 % · 300/900" in text_of(said))
        progress = {"step": 3, "steps": 9, "loss": 1.23456, "seconds_left": 61}
        run(wire.engine, report_progress, taken, progress)
        await eventually(lambda: "`████░░░░░░░░` 33 % · 3/9" in text_of(said))
        assert "loss 1.235" in text_of(said)
        assert "1 min 1 s" in text_of(said)
        assert "Model: `coco`" in text_of(said)
        assert re.search("Worker: `finetune-[0-9a-f]{6}`", text_of(said))
        await use(wire, cast.CAMILLE, "jobs", "cancel", job=job_id)
        await eventually(lambda: "State: stopping" in text_of(said))
        from core.jobs.ledger import confirm_cancel

        run(wire.engine, confirm_cancel, taken)
        await eventually(lambda: "State: cancelled" in text_of(said))
        assert "No longer kept" in text_of(said)
        assert "3/9" in text_of(said)
        assert "1 min 1 s" not in text_of(said)


async def test_a_waiting_job_is_cancelled_and_tried_again(wire):
    job_id = add_job(wire.engine)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "cancel", job=job_id)
        assert "is cancelled" in said["content"]
        assert read_job(wire.engine, job_id).state == "cancelled"
        said = await use(wire, cast.CAMILLE, "jobs", "cancel", job=job_id)
        assert "is cancelled" in said["content"]
        said = await use(wire, cast.CAMILLE, "jobs", "retry", job=job_id)
        (new_id,) = await wire.queued()
        assert new_id in said["content"]
        assert said["flags"] & EPHEMERAL
        # Its hint went to its queue at once.
        await eventually(lambda: read_job(wire.engine, new_id).dispatched_at is not None)
        said = await use(wire, cast.CAMILLE, "jobs", "retry", job=job_id)
        assert "already" in said["content"]
        assert new_id in said["content"]
        bring(wire, new_id, JobState.SUCCEEDED)
        said = await use(wire, cast.CAMILLE, "jobs", "retry", job=new_id, locale="fr")
        assert "qu’une tâche échouée ou annulée" in said["content"]
        said = await use(wire, cast.CAMILLE, "jobs", "cancel", job=new_id)
        assert "already ended" in said["content"]


async def test_suggestions_are_of_the_guild_and_of_what_the_command_can_do(wire):
    waiting = add_job(wire.engine)
    failed = add_job(wire.engine, JobState.FAILED)
    done = add_job(wire.engine, JobState.SUCCEEDED, kind=JobKind.FINETUNE, model="coco")
    foreign = add_job(wire.engine, guild_id=OTHER_GUILD)
    # What cannot be tried again: an upload that could not be read, and who waited for it.
    unread = add_job(wire.engine, JobState.FAILED, JobKind.VALIDATE, model="dodo")
    waited = add_job(wire.engine, JobState.FAILED, JobKind.FINETUNE, model="dodo")
    async with wire.bot():
        boss = cast.CAMILLE
        assert await suggested(wire, boss, "jobs", "show", "job") == [
            waited, unread, done, failed, waiting,
        ]  # fmt: skip
        assert await suggested(wire, boss, "jobs", "cancel", "job") == [waiting]
        assert await suggested(wire, boss, "jobs", "retry", "job") == [failed]
        assert await suggested(wire, boss, "jobs", "watch", "job", typed="Coco done") == [done]
        assert await suggested(wire, boss, "jobs", "show", "job", typed=failed) == [failed]
        assert await suggested(wire, boss, "jobs", "show", "job", typed=foreign) == []
        salon = {"channel": cast.SALON}
        assert await suggested(wire, cast.BRUNO, "jobs", "show", "job", **salon) == [foreign]


async def test_an_answer_that_failed_is_tried_again_in_the_same_message(wire):
    wire.publish_model()
    async with wire.bot():
        wire.world.say(cast.ALICE, cast.GENERAL, f"<@{cast.BOT_ID}> what do parrots eat?")
        (job_id,) = await wire.queued()
        wire.refuse(job_id, EmptyAnswerError("nothing"))
        await eventually(lambda: "nothing to say" in "".join(wire.said_by_bot()))
        await use(wire, cast.CAMILLE, "jobs", "retry", job=job_id)
        (new_id,) = await wire.queued()
        assert wire.answer(new_id, "Seeds and fruit.") == ["what do parrots eat?"]
        await eventually(lambda: "Seeds and fruit." in wire.said_by_bot())
    assert "nothing to say" not in "".join(wire.said_by_bot())


async def test_a_database_that_is_away_is_told_in_time(wire, tmp_path):
    job_id = add_job(wire.engine)
    async with wire.bot():
        await use(wire, cast.CAMILLE, "jobs", "list")
        with wire.engine.connect() as connection:
            connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
            connection.commit()
        for command in (("list",), ("show",)):
            options = {"job": job_id} if command == ("show",) else {}
            said = await use(wire, cast.CAMILLE, "jobs", *command, **options)
            assert "Part of me is down" in said["content"]
        assert await suggested(wire, cast.CAMILLE, "jobs", "show", "job") == []
        assert "Part of me is down" in (await use(wire, cast.CAMILLE, "status"))["content"]
