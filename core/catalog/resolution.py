"""Which version answers where: the channel's choice, its parent's, the guild's, the default."""

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from core.db.statements import run
from core.db.tables import Assignment, Channel, Model, Version

_CHANNEL_ID = bindparam("channel_id", type_=Assignment.channel_id.type)
_PARENT_ID = select(Channel.parent_id).where(Channel.id == _CHANNEL_ID).scalar_subquery()
_GUILD_ID = bindparam("guild_id", type_=Assignment.guild_id.type)

_BASE = aliased(Version)
# It lives, and so does what it is built on.
_IS_WHOLE = Version.retired_at.is_(None) & or_(
    Version.base_id.is_(None),
    exists().where(_BASE.id == Version.base_id, _BASE.retired_at.is_(None)),
)


def _chosen(scope: ColumnElement[bool]) -> ScalarSelect[str]:
    """The newest choice of a scope, if its version is whole and may answer in this guild."""
    newest = (
        select(Assignment.version_id)
        .where(scope)
        .order_by(Assignment.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(Version.id)
        .join(Model, Model.id == Version.model_id)
        .where(
            Version.id == newest,
            _IS_WHOLE,
            Model.guild_id.is_(None) | (Model.guild_id == _GUILD_ID),
        )
        .scalar_subquery()
    )


_NEWEST_DEFAULT = (
    select(Version.id)
    .join(Model, Model.id == Version.model_id)
    .where(
        Model.guild_id.is_(None),
        Model.name == bindparam("default_model"),
        _IS_WHOLE,
    )
    .order_by(Version.number.desc())
    .limit(1)
    .scalar_subquery()
)
_RESOLVE = select(
    func.coalesce(
        _chosen(Assignment.channel_id == _CHANNEL_ID),
        _chosen(Assignment.channel_id == _PARENT_ID),
        _chosen((Assignment.guild_id == _GUILD_ID) & Assignment.channel_id.is_(None)),
        _NEWEST_DEFAULT,
    )
)


def resolve_version(
    session: Session, guild_id: int | None, channel_id: int | None, default_model: str
) -> str | None:
    """The id of the version that answers in this channel, or None where nothing is published.

    A thread without a choice of its own follows the channel that it stands in.
    A retired choice is passed over, so that deleting a version never silences a channel.
    """
    found: str | None = run(
        session,
        _RESOLVE,
        guild_id=guild_id,
        channel_id=channel_id,
        default_model=default_model,
    ).scalar_one()
    return found
