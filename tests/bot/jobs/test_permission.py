"""/jobs over the wire: what everybody else than an admin of the server does not see or do."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.conversations.places import Place, open_place
from core.db.tables import Job
from core.jobs.states import JobKind, JobState
from playground import cast
from tests.bot.finetune.helpers import press, whispers
from tests.bot.jobs.helpers import suggested, text_of, use
from tests.bot.wire import eventually
from tests.core.jobs.jobs_of_guilds import OTHER_GUILD, add_job, run

ON_ONE_JOB = ("show", "watch", "cancel", "retry")


def rows(wire):
    """Every job as it stands, so that a test can tell that nothing changed."""
    with Session(wire.engine) as session:
        return session.execute(
            select(Job.id, Job.state, Job.cancel_requested).order_by(Job.id)
        ).all()


@pytest.mark.parametrize("command", ON_ONE_JOB)
async def test_another_guild_s_admin_gets_nothing_with_any_identifier(wire, command):
    ids = [
        add_job(wire.engine, state, kind, model="secret-model")
        for state in JobState
        for kind in JobKind
    ]
    before = rows(wire)
    async with wire.bot():
        for job_id in [*ids, "0" * 20, "' OR 1=1 --", "%"]:
            said = await use(wire, cast.BRUNO, "jobs", command, channel=cast.SALON, job=job_id)
            assert said["content"].startswith("There is no such job here.")
            assert said["embeds"] == []
            # Nor with words that only the application's owner may use.
            said = await use(
                wire, cast.BRUNO, "jobs", command, channel=cast.SALON, job=job_id, scope="all"
            )
            assert said["content"].startswith("Only the owner of this application")
        assert await suggested(wire, cast.BRUNO, "jobs", command, "job", channel=cast.SALON) == []
        assert (
            await suggested(
                wire, cast.BRUNO, "jobs", command, "job", channel=cast.SALON, scope="all"
            )
            == []
        )
    assert rows(wire) == before


async def test_another_guild_s_admin_lists_nothing(wire):
    ids = [add_job(wire.engine, state, model="secret-model") for state in JobState]
    async with wire.bot():
        for options in (
            {},
            *({"state": str(state)} for state in JobState),
            {"model": "secret-model"},
        ):
            said = await use(wire, cast.BRUNO, "jobs", "list", channel=cast.SALON, **options)
            assert "No jobs found" in text_of(said)
            assert not any(job_id in repr(said) for job_id in ids)


@pytest.mark.parametrize("command", ON_ONE_JOB)
async def test_who_does_not_manage_the_server_gets_nothing(wire, command):
    job_id = add_job(wire.engine, member=int(cast.ALICE))
    before = rows(wire)
    async with wire.bot():
        for scope, words in (({}, "pas le droit"), ({"scope": "all"}, "Seul le propriétaire")):
            said = await use(wire, cast.ALICE, "jobs", command, job=job_id, locale="fr", **scope)
            assert words in said["content"]
            assert said["embeds"] == []
        said = await use(wire, cast.ALICE, "jobs", "list")
        assert "may not" in said["content"]
        assert await suggested(wire, cast.ALICE, "jobs", command, "job") == []
    assert rows(wire) == before


async def test_who_may_not_look_any_more_leafs_no_further(wire):
    for _ in range(12):
        add_job(wire.engine)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "list")
        before = text_of(said)
        await press(wire, cast.ALICE, said, "Older")
        await eventually(lambda: "may not" in "".join(whispers(wire, cast.ALICE)))
        assert text_of(said) == before
        await press(wire, cast.CAMILLE, said, "Older")
        await eventually(lambda: "Page 2" in text_of(said))


async def test_the_owner_of_the_application_sees_every_guild_and_only_if_asked_to(wire):
    foreign = add_job(wire.engine, guild_id=OTHER_GUILD)
    unheard = 2900
    run(wire.engine, open_place, Place(3900, unheard, "guild"))
    elsewhere = add_job(wire.engine, JobState.SUCCEEDED, guild_id=unheard)
    async with wire.bot():
        said = await use(wire, cast.CAMILLE, "jobs", "list", scope="all")
        assert f"Volière `{foreign}`" in text_of(said)
        assert f"`{unheard}` `{elsewhere}`" in text_of(said)
        said = await use(wire, cast.CAMILLE, "jobs", "list")
        assert text_of(said).endswith("No jobs found.\nPage 1")
        said = await use(wire, cast.CAMILLE, "jobs", "show", job=foreign)
        assert "no such job" in said["content"]
        said = await use(wire, cast.CAMILLE, "jobs", "show", job=foreign, scope="all")
        assert "Server: Volière" in text_of(said)
        ended = add_job(wire.engine, JobState.SUCCEEDED)
        assert "Server:" not in text_of(await use(wire, cast.CAMILLE, "jobs", "show", job=ended))
        assert await suggested(wire, cast.CAMILLE, "jobs", "cancel", "job", scope="all") == [
            foreign
        ]
        for command in ("show", "watch"):
            said = await use(wire, cast.CAMILLE, "jobs", command, job=ended)
            assert "generate-host-1" not in repr(said)
            said = await use(wire, cast.CAMILLE, "jobs", command, job=ended, scope="all")
            assert "Worker: `generate-host-1`" in text_of(said)
        said = await use(wire, cast.CAMILLE, "jobs", "cancel", job=foreign, scope="all")
        assert "is cancelled" in said["content"]
    with Session(wire.engine) as session:
        assert session.scalar(select(func.count()).where(Job.state == "cancelled")) == 1


async def test_the_commands_are_for_those_who_manage_the_server_in_both_languages(wire):
    async with wire.bot():
        await eventually(lambda: bool(wire.world.commands))
    for name, french in (("jobs", "tâches"), ("status", "état")):
        command = next(c for c in wire.world.commands if c["name"] == name)
        assert int(command["default_member_permissions"]) == 1 << 5
        assert command["name_localizations"]["fr"] == french
    jobs = next(c for c in wire.world.commands if c["name"] == "jobs")
    assert {o["name"] for o in jobs["options"]} == {"list", *ON_ONE_JOB}
    for part in jobs["options"]:
        for option in (part, *part["options"]):
            assert option["description_localizations"]["fr"], option["name"]
            assert option["name_localizations"]["fr"], option["name"]
