import asyncio

import discord
import pytest
from sqlalchemy import delete

from bot.catalogue import Catalogue
from bot.jobs.servers import ServerNames
from bot.jobs.watches import TooManyWatchesError, Watched, Watches
from core.db.desk import Desk
from core.db.tables import Job
from core.jobs.finding import ALL_GUILDS
from core.jobs.states import JobState
from tests.bot.wire import eventually
from tests.core.jobs.jobs_of_guilds import add_job, bring_to, run


class NoGuilds:
    """A client that hears no server."""

    def get_guild(self, guild_id: int, /) -> None:
        return None


class Screen:
    """A message, and how often it was edited."""

    def __init__(self) -> None:
        self.shown: list[discord.Embed] = []

    async def __call__(self, *, embed: discord.Embed) -> None:
        self.shown.append(embed)


@pytest.fixture
async def make_watches(engine):
    desk = Desk(engine)
    desk.start()
    made = []

    def make(**options):
        watches = Watches(
            Catalogue.load(), desk, ServerNames(NoGuilds()), poll_seconds=0.02, **options
        )
        made.append(watches)
        return watches

    yield make
    for watches in made:
        await watches.close()
    desk.close()


async def begin(watches, job_id):
    watched, screen = Watched(ALL_GUILDS, job_id, "en"), Screen()
    watches.begin(watched, watches.draw(watched, await watches.read(watched)), screen)
    return screen


async def test_what_does_not_change_is_not_edited(make_watches, engine):
    job_id = add_job(engine)
    screen = await begin(make_watches(), job_id)
    await asyncio.sleep(0.2)
    assert screen.shown == []
    run(engine, bring_to, job_id, JobState.FAILED)
    await eventually(lambda: len(screen.shown) == 1)
    await asyncio.sleep(0.1)
    assert len(screen.shown) == 1
    assert screen.shown[0].footer.text == "No longer kept up to date"


async def test_a_watch_says_so_when_its_time_is_over(make_watches, engine):
    screen = await begin(make_watches(last_seconds=0.1), add_job(engine))
    await eventually(lambda: bool(screen.shown))
    assert [embed.footer.text for embed in screen.shown] == ["No longer kept up to date"]


async def test_a_watch_outlives_a_database_that_is_away(make_watches, engine):
    job_id = add_job(engine)
    screen = await begin(make_watches(), job_id)
    rename(engine, "jobs", "gone")
    await asyncio.sleep(0.1)
    rename(engine, "gone", "jobs")
    run(engine, bring_to, job_id, JobState.CANCELLED)
    await eventually(lambda: bool(screen.shown))


async def test_a_watch_ends_with_a_job_that_is_forgotten(make_watches, engine):
    job_id = add_job(engine)
    watches = make_watches()
    screen = await begin(watches, job_id)
    run(engine, lambda session: session.execute(delete(Job).where(Job.id == job_id)))
    await eventually(lambda: not watches._tasks)
    assert screen.shown == []


async def test_a_process_keeps_only_so_many(make_watches, engine, monkeypatch):
    monkeypatch.setattr("bot.jobs.watches._MOST_WATCHES", 5)
    job_id = add_job(engine)
    watches = make_watches()
    for _ in range(5):
        watches.check_room()
        await begin(watches, job_id)
    with pytest.raises(TooManyWatchesError):
        watches.check_room()
    await watches.close()
    watches.check_room()


def rename(engine, before, after):
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")
