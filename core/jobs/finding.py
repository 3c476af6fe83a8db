"""Which jobs a question is about, as the statement that finds a page of them.

Every question names whose jobs it may see. A guild is a condition of each statement, so that what
belongs to another guild is as if it did not exist; :data:`ALL_GUILDS` is for the operator.

Lists are paged by the last id seen instead of an offset, so that page 1000 costs what page 1 costs.
Where a list is filtered by state or kind, each pair of them is read from its own stretch of an
index, and the newest of all stretches make the page: a filter that matches one job in a million
finds it without reading the million. A filter by model has no index: it looks through a bounded
stretch of jobs, and the page after goes on from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, or_, select, union_all
from sqlalchemy.orm import Session

from core.db.tables import Job, Model, Version
from core.ids import first_id, last_id
from core.jobs.states import JobKind, JobState


class _Wall(Enum):
    ALL_GUILDS = "all guilds"


ALL_GUILDS = _Wall.ALL_GUILDS
# None would be too easy to pass by mistake: it is what Discord says of a direct message.
Scope = int | Literal[_Wall.ALL_GUILDS]

# So many jobs a filter by model looks through for one page.
LOOK_BACK = 20_000
# Ids are made by the clocks of hosts, times of creation by the database's.
_CLOCK_SLACK_SECONDS = 3600.0


@dataclass(frozen=True)
class Filters:
    """Which jobs are wanted; None wants all.

    Attributes:
        state, kind: of the job.
        member_id: who asked for it.
        model: the name of the model that answered, or that a fine-tune makes.
        since: submitted at this time or later, in seconds since 1970 UTC.
        id_prefix: the first characters of the id.
    """

    state: JobState | None = None
    kind: JobKind | None = None
    member_id: int | None = None
    model: str | None = None
    since: float | None = None
    id_prefix: str = ""


def within(scope: Scope) -> tuple[ColumnElement[bool], ...]:
    """The wall as conditions on jobs: for statements that change them, too."""
    return () if scope is ALL_GUILDS else (Job.guild_id == scope,)


@dataclass(frozen=True)
class Search:
    """How a page is found.

    ``query`` gives its rows; None where nothing can match. ``floor`` is the oldest job that it
    looks at, where there may be more before it; None where it looks at all.
    """

    query: Select[Any] | None
    floor: str | None


def plan_page(
    session: Session,
    scope: Scope,
    filters: Filters,
    limit: int,
    before: str | None,
    look_back: int = LOOK_BACK,
) -> Search:
    """The statement that finds a page.

    Args:
        session: an open transaction.
        scope: whose jobs.
        filters: which of them.
        limit: how many at the most.
        before: only jobs with lower ids.
        look_back: how many jobs a filter by model looks through.
    """
    bounds = [*within(scope), *_bounds(filters, before)]
    wanted = _wanted_models(session, scope, filters)
    if wanted == {}:
        return Search(None, None)
    if filters.member_id is not None:
        return Search(_of_one_member(filters, bounds, wanted, limit), None)
    floor = None
    if wanted:
        floor = session.scalar(
            select(Job.id).where(*bounds).order_by(Job.id.desc()).offset(look_back - 1).limit(1)
        )
        bounds += [] if floor is None else [Job.id >= floor]
    if filters.state or filters.kind or wanted:
        stretches = [[*bounds, *pair] for pair in _pairs(filters, wanted)]
        return Search(_merge(stretches, limit).where(*within(scope)), floor)
    return Search(_newest(bounds, limit), None)


COLUMNS = (
    Job.id,
    Job.kind,
    Job.state,
    Job.guild_id,
    Job.channel_id,
    Job.requester_id,
    Job.payload,
    Job.result,
    Job.created_at,
    Job.started_at,
    Job.finished_at,
    Job.error_code,
    Job.cancel_requested,
    Job.wish,
)
_Conditions = list[ColumnElement[bool]]


def _newest(conditions: _Conditions, limit: int) -> Select[Any]:
    return select(*COLUMNS).where(*conditions).order_by(Job.id.desc()).limit(limit)


def _of_one_member(
    filters: Filters,
    bounds: _Conditions,
    wanted: dict[JobKind, ColumnElement[bool]] | None,
    limit: int,
) -> Select[Any]:
    """One person's jobs are few enough to look at each."""
    conditions = [*bounds, Job.requester_id == filters.member_id, *_of_models(wanted)]
    if filters.state:
        conditions.append(Job.state == filters.state)
    if filters.kind:
        conditions.append(Job.kind == filters.kind)
    return _newest(conditions, limit)


def _merge(stretches: list[_Conditions], limit: int) -> Select[Any]:
    """The newest jobs of several stretches of an index."""
    parts = [
        select(select(Job.id).where(*stretch).order_by(Job.id.desc()).limit(limit).subquery().c.id)
        for stretch in stretches
    ]
    newest = union_all(*parts).subquery()
    ids = select(newest.c.id).order_by(newest.c.id.desc()).limit(limit).subquery()
    return select(*COLUMNS).join(ids, ids.c.id == Job.id).order_by(Job.id.desc())


def _pairs(
    filters: Filters, wanted: dict[JobKind, ColumnElement[bool]] | None
) -> Iterator[_Conditions]:
    """Each state and kind that a filter lets through, as conditions."""
    for state in JobState:
        for kind in JobKind if wanted is None else wanted:
            if filters.state in (None, state) and filters.kind in (None, kind):
                is_pair = [Job.state == state, Job.kind == kind]
                yield is_pair if wanted is None else [*is_pair, wanted[kind]]


def _bounds(filters: Filters, before: str | None) -> Iterator[ColumnElement[bool]]:
    if before is not None:
        yield Job.id < before
    if filters.since is not None:
        yield Job.id >= first_id(filters.since - _CLOCK_SLACK_SECONDS)
        yield Job.created_at >= filters.since
    if filters.id_prefix:
        yield Job.id >= filters.id_prefix
        yield Job.id <= last_id(filters.id_prefix)


def _of_models(wanted: dict[JobKind, ColumnElement[bool]] | None) -> _Conditions:
    if wanted is None:
        return []
    return [or_(*(and_(Job.kind == kind, is_of_model) for kind, is_of_model in wanted.items()))]


def _wanted_models(
    session: Session, scope: Scope, filters: Filters
) -> dict[JobKind, ColumnElement[bool]] | None:
    """By kind, what makes a job one of the wanted model; None where any is wanted."""
    if filters.model is None:
        return None
    wanted: dict[JobKind, ColumnElement[bool]] = {
        JobKind.FINETUNE: Job.payload["model"].as_string() == filters.model
    }
    versions = session.execute(
        select(Version.id, Version.created_at)
        .join(Model, Model.id == Version.model_id)
        .where(Model.name == filters.model, *visible_models(scope))
    ).all()
    if versions:
        born = min(version.created_at for version in versions) - _CLOCK_SLACK_SECONDS
        wanted[JobKind.GENERATE] = and_(
            Job.id >= first_id(born),
            Job.payload["version_id"].as_string().in_([version.id for version in versions]),
        )
    if filters.kind is not None:
        wanted = {kind: found for kind, found in wanted.items() if kind is filters.kind}
    return wanted


def visible_models(scope: Scope | None) -> tuple[ColumnElement[bool], ...]:
    """The models that a guild may know of, the operator's and its own, as conditions.

    Without a guild they are the operator's.
    """
    if scope is ALL_GUILDS:
        return ()
    return (or_(Model.guild_id.is_(None), Model.guild_id == scope),)
