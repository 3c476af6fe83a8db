"""The jobs and models that a command suggests while somebody types."""

import time
from collections.abc import Callable, Iterable

import discord
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.catalogue import Catalogue, locale_code
from bot.finetune.wording import clipped, duration
from bot.jobs.drawing import say_kind, say_state
from bot.jobs.permission import Doorkeeper, NotOwnerError
from core.catalog.registry import list_versions
from core.db.desk import Desk
from core.jobs.finding import ALL_GUILDS, Filters, Scope
from core.jobs.queries import JobSummary, list_jobs
from core.jobs.states import FINAL_STATES, JobState
from core.steering.actions import retryable_among

_MOST_CHOICES = 25
_LOOKED_THROUGH = 100
_LABEL_CHARACTERS = 100

OPEN = tuple(state for state in JobState if state not in FINAL_STATES)
ANY = (None,)
# What the option ``scope`` holds where all guilds are meant.
ALL = "all"

Finder = Callable[[Session, Scope], list[JobSummary]]


class Suggester:
    """Suggests only what its asker may see; whoever may see nothing is suggested nothing.

    Why that is so is said by the command itself.
    """

    def __init__(self, catalogue: Catalogue, desk: Desk, doorkeeper: Doorkeeper) -> None:
        self._catalogue = catalogue
        self._desk = desk
        self._doorkeeper = doorkeeper

    async def jobs(
        self, interaction: discord.Interaction, typed: str, find: Finder
    ) -> list[app_commands.Choice[str]]:
        """The jobs of those that are found that fit what was typed."""
        try:
            scope = await self._scope_of(interaction)
            jobs = await self._desk.read(lambda session: find(session, scope))
        except (app_commands.AppCommandError, NotOwnerError, SQLAlchemyError):
            return []
        locale = locale_code(str(interaction.locale))
        fitting = choose(self._catalogue, locale, jobs, typed)
        return [app_commands.Choice(name=name, value=job_id) for name, job_id in fitting]

    async def models(
        self, interaction: discord.Interaction, typed: str
    ) -> list[app_commands.Choice[str]]:
        """The models of the asker's guild and of the operator that fit what was typed."""
        try:
            scope = await self._scope_of(interaction)
            models = await self._desk.read(lambda session: find_models(session, scope))
        except (app_commands.AppCommandError, NotOwnerError, SQLAlchemyError):
            return []
        fitting = [model for model in models if typed.lower() in model.lower()]
        return [
            app_commands.Choice(name=model[:_LABEL_CHARACTERS], value=model)
            for model in fitting[:_MOST_CHOICES]
        ]

    async def _scope_of(self, interaction: discord.Interaction) -> Scope:
        wants_all = getattr(interaction.namespace, "scope", None) == ALL
        return await self._doorkeeper.scope_of(interaction, wants_all=wants_all)


def find_jobs(
    session: Session, scope: Scope, states: Iterable[JobState | None]
) -> list[JobSummary]:
    """The newest jobs in any of these states (None is all), the newest first."""
    found: list[JobSummary] = []
    for state in states:
        page = list_jobs(session, scope, Filters(state=state), limit=_LOOKED_THROUGH)
        found += page.jobs
    return sorted(found, key=lambda job: job.id, reverse=True)


def find_retryable(session: Session, scope: Scope) -> list[JobSummary]:
    """The newest jobs that ended badly and can be tried again, the newest first."""
    found = find_jobs(session, scope, (JobState.FAILED, JobState.CANCELLED))
    retryable = retryable_among(session, scope, {job.id for job in found})
    return [job for job in found if job.id in retryable]


def choose(
    catalogue: Catalogue, locale: str, jobs: list[JobSummary], typed: str
) -> list[tuple[str, str]]:
    """Labels and ids of the jobs that contain every word that was typed."""
    words = typed.lower().split()
    labelled = ((label(catalogue, locale, job), job.id) for job in jobs)
    fitting = [pair for pair in labelled if all(word in pair[0].lower() for word in words)]
    return fitting[:_MOST_CHOICES]


def label(catalogue: Catalogue, locale: str, job: JobSummary) -> str:
    """A job in one line of plain text: its id first, for who types that."""
    age = duration(max(0.0, time.time() - job.created_at))
    parts = (job.id, say_kind(catalogue, locale, job), say_state(catalogue, locale, job), job.model)
    return clipped(" · ".join(part for part in (*parts, age) if part), _LABEL_CHARACTERS)


def find_models(session: Session, scope: Scope) -> list[str]:
    """The names of the models that somebody of this scope may know of."""
    guild_id = None if scope is ALL_GUILDS else scope
    return list(dict.fromkeys(entry.model for entry in list_versions(session, guild_id)))
