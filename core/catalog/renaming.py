"""A guild's own model under another name; its versions and whoever chose them stay."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.catalog.bases import is_shared_name
from core.db.statements import count_changed
from core.db.tables import Model
from core.errors import InvalidInputError, NotFoundError


class NameTakenError(InvalidInputError):
    """Another model that the guild sees has this name; ``data["name"]`` is it."""

    code = "name-taken"


def rename_model(session: Session, guild_id: int, name: str, new_name: str) -> int:
    """Give one of a guild's own models another name.

    Args:
        session: an open transaction.
        guild_id: who asks.
        name: as it is called now.
        new_name: as models may be called.

    Returns:
        How many names changed: 1, or 0 where it is called so already.

    Raises:
        NotFoundError: the guild has no model of its own with this name.
        NameTakenError: it has one of the new name, or the operator has.
    """
    own = (Model.guild_id == guild_id, Model.name == name)
    if session.scalar(select(Model.id).where(*own)) is None:
        raise NotFoundError(f"This server has no model “{name}” of its own.", model=name)
    if name == new_name:
        return 0
    taken = select(Model.id).where(Model.guild_id == guild_id, Model.name == new_name)
    if is_shared_name(session, new_name) or session.scalar(taken) is not None:
        raise NameTakenError(f"There is a model “{new_name}” already.", name=new_name)
    return count_changed(session, update(Model).where(*own).values(name=new_name))
