"""Which version answers where: the channel's choice, then the guild's, then the default."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.db.tables import Assignment, Model, Version


def resolve_version(
    session: Session, guild_id: int | None, channel_id: int | None, default_model: str
) -> str | None:
    """The id of the version that answers in this channel, or None where nothing is published.

    A retired choice is passed over, so that deleting a version never silences a channel.
    """
    in_channel = Assignment.channel_id == channel_id
    in_guild = (Assignment.guild_id == guild_id) & Assignment.channel_id.is_(None)
    for scope in (in_channel, in_guild):
        version_id = _newest_choice(session, scope)
        if version_id is not None and _is_offered(session, version_id, guild_id):
            return version_id
    return session.scalar(
        select(Version.id)
        .join(Model, Model.id == Version.model_id)
        .where(Model.guild_id.is_(None), Model.name == default_model, Version.retired_at.is_(None))
        .order_by(Version.number.desc())
        .limit(1)
    )


def _newest_choice(session: Session, scope: ColumnElement[bool]) -> str | None:
    return session.scalar(
        select(Assignment.version_id).where(scope).order_by(Assignment.id.desc()).limit(1)
    )


def _is_offered(session: Session, version_id: str, guild_id: int | None) -> bool:
    """Whether the version is alive, and its model the operator's or this guild's own."""
    query = (
        select(Version.id)
        .join(Model, Model.id == Version.model_id)
        .where(
            Version.id == version_id,
            Version.retired_at.is_(None),
            Model.guild_id.is_(None) | (Model.guild_id == guild_id),
        )
    )
    return session.scalar(query) is not None
