"""``/jobs``: admins list, show, watch, cancel and retry what their server asked for."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.catalogue import Catalogue, locale_code
from bot.jobs.course import add_course
from bot.jobs.pages import JobPages
from bot.jobs.permission import Doorkeeper, think
from bot.jobs.servers import ServerNames
from bot.jobs.steering import JobSteering
from bot.jobs.suggesting import ALL, ANY, OPEN, Suggester, find_jobs, find_retryable
from bot.jobs.watches import Watched, Watches
from bot.translation import text
from core.db.desk import Desk
from core.jobs.finding import Filters
from core.jobs.since import parse_since
from core.jobs.states import JobKind, JobState
from core.steering.actions import AlreadyRetriedError

_OPTIONS = ("job", "state", "kind", "member", "model", "since", "scope")
_CHOICES = list[app_commands.Choice[str]]


def make_jobs_cog(
    catalogue: Catalogue,
    desk: Desk,
    doorkeeper: Doorkeeper,
    names: ServerNames,
    suggester: Suggester,
    steering: JobSteering,
    watches: Watches,
) -> commands.Cog:
    """The cog; a function, because discord.py reads descriptions when the class is made."""
    labels = {option: text(catalogue, f"option-jobs-{option}-name") for option in _OPTIONS}
    hints = {option: text(catalogue, f"option-jobs-{option}") for option in _OPTIONS}

    def options(*used: str) -> tuple[dict[str, app_commands.locale_str], ...]:
        return {name: labels[name] for name in used}, {name: hints[name] for name in used}

    list_names, list_hints = options("state", "kind", "member", "model", "since", "scope")
    job_names, job_hints = options("job", "scope")
    scopes = [app_commands.Choice(name=text(catalogue, "jobs-scope-all"), value=ALL)]
    states = [
        app_commands.Choice(name=text(catalogue, f"job-state-{state}"), value=str(state))
        for state in JobState
    ]
    kinds = [
        app_commands.Choice(name=text(catalogue, f"job-kind-{kind}"), value=str(kind))
        for kind in JobKind
    ]

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    class JobsCog(
        commands.GroupCog,
        group_name=text(catalogue, "command-jobs-name"),
        group_description=text(catalogue, "command-jobs"),
    ):
        """What an admin asks of the ledger. Every answer is for the asker's eyes only."""

        @app_commands.command(
            name=text(catalogue, "command-jobs-list-name"),
            description=text(catalogue, "command-jobs-list"),
        )
        @app_commands.rename(**list_names)
        @app_commands.describe(**list_hints)
        @app_commands.choices(state=states, kind=kinds, scope=scopes)
        async def list_(
            self,
            interaction: discord.Interaction,
            state: str | None = None,
            kind: str | None = None,
            member: discord.User | None = None,
            model: str | None = None,
            since: str | None = None,
            scope: str | None = None,
        ) -> None:
            """Show a page of jobs, with buttons to leaf through the others."""
            await think(interaction)
            filters = make_filters(state, kind, member, model, since)
            locale = locale_code(str(interaction.locale))
            pages = JobPages(
                catalogue, desk, doorkeeper, names, locale, filters, wants_all=scope == ALL
            )
            embed = await pages.draw(interaction)
            view = pages if pages.are_several else None
            await interaction.edit_original_response(embed=embed, view=view)

        @app_commands.command(
            name=text(catalogue, "command-jobs-show-name"),
            description=text(catalogue, "command-jobs-show"),
        )
        @app_commands.rename(**job_names)
        @app_commands.describe(**job_hints)
        @app_commands.choices(scope=scopes)
        async def show(
            self, interaction: discord.Interaction, job: str, scope: str | None = None
        ) -> None:
            """Show one job with its timeline."""
            await think(interaction)
            watched = await watched_by(interaction, job, scope)
            detail = await watches.read(watched)
            embed = watches.draw(watched, detail, is_over=True).remove_footer()
            files = await add_course(catalogue, desk, watched.locale, detail, embed)
            await interaction.edit_original_response(embed=embed, attachments=files)

        @app_commands.command(
            name=text(catalogue, "command-jobs-watch-name"),
            description=text(catalogue, "command-jobs-watch"),
        )
        @app_commands.rename(**job_names)
        @app_commands.describe(**job_hints)
        @app_commands.choices(scope=scopes)
        async def watch(
            self, interaction: discord.Interaction, job: str, scope: str | None = None
        ) -> None:
            """Show one job, and keep the message current."""
            await think(interaction)
            watched = await watched_by(interaction, job, scope)
            watches.check_room()
            detail = await watches.read(watched)
            embed = watches.draw(watched, detail)
            await interaction.edit_original_response(embed=embed)
            if not detail.summary.state.is_final:
                watches.begin(watched, embed, interaction.edit_original_response)

        @app_commands.command(
            name=text(catalogue, "command-jobs-cancel-name"),
            description=text(catalogue, "command-jobs-cancel"),
        )
        @app_commands.rename(**job_names)
        @app_commands.describe(**job_hints)
        @app_commands.choices(scope=scopes)
        async def cancel(
            self, interaction: discord.Interaction, job: str, scope: str | None = None
        ) -> None:
            """Cancel what waits, or ask what runs to stop."""
            await think(interaction)
            watched = await watched_by(interaction, job, scope)
            state = await steering.cancel(watched.scope, job)
            key = f"jobs-cancel-{state}" if state in _CANCEL_SAID else "jobs-cancel-ended"
            await interaction.edit_original_response(content=catalogue.say(watched.locale, key))

        @app_commands.command(
            name=text(catalogue, "command-jobs-retry-name"),
            description=text(catalogue, "command-jobs-retry"),
        )
        @app_commands.rename(**job_names)
        @app_commands.describe(**job_hints)
        @app_commands.choices(scope=scopes)
        async def retry(
            self, interaction: discord.Interaction, job: str, scope: str | None = None
        ) -> None:
            """Do again what failed or was cancelled."""
            await think(interaction)
            watched = await watched_by(interaction, job, scope)
            try:
                new_id = await steering.retry(watched.scope, job, asked_by=interaction.user.id)
                sentence = catalogue.say(watched.locale, "jobs-retried", job=new_id)
            except AlreadyRetriedError as exc:
                sentence = catalogue.say(watched.locale, "jobs-retried-already", **exc.data)
            await interaction.edit_original_response(content=sentence)

    async def watched_by(
        interaction: discord.Interaction, job_id: str, scope: str | None
    ) -> Watched:
        allowed = await doorkeeper.scope_of(interaction, wants_all=scope == ALL)
        return Watched(allowed, job_id.strip(), locale_code(str(interaction.locale)))

    _let_suggest(JobsCog.list_, "model", suggester.models)
    _let_suggest(JobsCog.show, "job", partial(suggester.jobs, find=partial(find_jobs, states=ANY)))
    _let_suggest(JobsCog.watch, "job", partial(suggester.jobs, find=partial(find_jobs, states=ANY)))
    _let_suggest(
        JobsCog.cancel, "job", partial(suggester.jobs, find=partial(find_jobs, states=OPEN))
    )
    _let_suggest(JobsCog.retry, "job", partial(suggester.jobs, find=find_retryable))
    return JobsCog()


_CANCEL_SAID = (JobState.CANCELLED, JobState.RUNNING)


def _let_suggest(
    command: app_commands.Command[Any, ..., Any],
    option: str,
    suggest: Callable[[discord.Interaction, str], Awaitable[_CHOICES]],
) -> None:
    @command.autocomplete(option)
    async def complete(interaction: discord.Interaction, current: str) -> _CHOICES:
        return await suggest(interaction, current)


def make_filters(
    state: str | None,
    kind: str | None,
    member: discord.abc.User | None,
    model: str | None,
    since: str | None,
) -> Filters:
    """The options of a list as filters.

    Raises:
        SinceError: ``since`` is no time.
    """
    return Filters(
        state=JobState(state) if state else None,
        kind=JobKind(kind) if kind else None,
        member_id=member.id if member else None,
        model=model,
        since=parse_since(since, time.time()) if since else None,
    )
