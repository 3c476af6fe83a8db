"""Who answers where, as admins choose it: in a channel or in a whole guild, and back again.

Choices are rows that are only added (:class:`core.db.tables.Assignment`); the newest of a scope is
in force. Every function here takes the guild that asks, and sees nothing beyond its wall.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.catalog.registry import CatalogEntry, list_versions
from core.db.tables import Assignment
from core.errors import InvalidInputError, NotFoundError


class NothingBeforeError(InvalidInputError):
    """Nothing was ever chosen there, so there is nothing to go back to."""

    code = "nothing-before"


@dataclass(frozen=True)
class Reach:
    """Where a choice holds: one channel of a guild, or the whole guild."""

    guild_id: int
    channel_id: int | None = None


def choose(session: Session, scope: Reach, version_id: str, chosen_by: int) -> CatalogEntry:
    """Have a version answer somewhere. The channel's row must be there.

    Returns:
        The version.

    Raises:
        NotFoundError: the guild sees no living version of this id.
    """
    entry = visible_version(session, scope.guild_id, version_id)
    _add(session, scope, version_id, chosen_by)
    return entry


def roll_back(session: Session, scope: Reach, chosen_by: int) -> CatalogEntry | None:
    """Take the newest choice of a scope back: what was chosen before it answers again.

    Done twice it takes itself back. Versions that were retired meanwhile are passed over.

    Returns:
        The version that is chosen now; None where the scope follows the next wider one again.

    Raises:
        NothingBeforeError: nothing was ever chosen there.
    """
    choices = session.scalars(
        select(Assignment.version_id).where(_of(scope)).order_by(Assignment.id.desc())
    ).all()
    if not choices:
        raise NothingBeforeError("Nothing was chosen here before.")
    living = {entry.version_id: entry for entry in list_versions(session, scope.guild_id)}
    before = next(
        (choice for choice in choices[1:] if choice != choices[0] and _may_answer(choice, living)),
        None,
    )
    _add(session, scope, before, chosen_by)
    return None if before is None else living[before]


def visible_version(session: Session, guild_id: int, version_id: str) -> CatalogEntry:
    """A living version that a guild may see.

    Raises:
        NotFoundError: there is none of this id, or it is another guild's.
    """
    for entry in list_versions(session, guild_id):
        if entry.version_id == version_id:
            return entry
    raise NotFoundError(f"There is no version {version_id}.", version=version_id)


def _may_answer(version_id: str | None, living: dict[str, CatalogEntry]) -> bool:
    return version_id is None or version_id in living


def _of(scope: Reach) -> ColumnElement[bool]:
    if scope.channel_id is None:
        return (Assignment.guild_id == scope.guild_id) & Assignment.channel_id.is_(None)
    return (Assignment.guild_id == scope.guild_id) & (Assignment.channel_id == scope.channel_id)


def _add(session: Session, scope: Reach, version_id: str | None, chosen_by: int) -> None:
    session.add(
        Assignment(
            guild_id=scope.guild_id,
            channel_id=scope.channel_id,
            version_id=version_id,
            chosen_by=chosen_by,
        )
    )
    session.flush()
