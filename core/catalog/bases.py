"""What a fine-tune may be built on: whole models of the operator's and of the guild's own."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.tables import Model, Version
from core.errors import NotFoundError


@dataclass(frozen=True)
class Base:
    """The newest version of a whole model."""

    version_id: str
    model: str
    number: int


def list_bases(session: Session, guild_id: int | None) -> list[Base]:
    """The newest whole version of each model that a guild may see, by name, its own ones first."""
    newest = (
        select(Version.model_id, func.max(Version.number).label("number"))
        .where(Version.retired_at.is_(None), Version.base_id.is_(None))
        .group_by(Version.model_id)
        .subquery()
    )
    rows = session.execute(
        select(Version.id, Model.name, Version.number)
        .join(Model, Model.id == Version.model_id)
        .join(
            newest,
            (newest.c.model_id == Version.model_id) & (newest.c.number == Version.number),
        )
        .where(Model.guild_id.is_(None) | (Model.guild_id == guild_id))
        .order_by(Model.guild_id.is_(None), Model.name)
    )
    return [Base(*row) for row in rows]


def find_base(session: Session, guild_id: int | None, name: str) -> Base:
    """The base of a name, the guild's own before the operator's.

    Raises:
        NotFoundError: the guild sees no whole model of this name.
    """
    for base in list_bases(session, guild_id):
        if base.model == name:
            return base
    raise NotFoundError(f"There is no base model “{name}”.", model=name)


def is_shared_name(session: Session, name: str) -> bool:
    """Whether one of the operator's models has this name."""
    query = select(Model.id).where(Model.guild_id.is_(None), Model.name == name)
    return session.scalar(query) is not None
