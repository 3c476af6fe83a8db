"""Taking single versions of a guild's own models out of service."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.catalog.choices import visible_version
from core.catalog.registry import CatalogEntry
from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Version
from core.errors import InvalidInputError, NotFoundError


class VersionInUseError(InvalidInputError):
    """Another version is built on this one; ``data["model"]`` names it."""

    code = "version-in-use"


def retire_version(session: Session, guild_id: int, version_id: str) -> CatalogEntry:
    """Take one of a guild's own versions out of service. Where it answered, the next one does.

    Its files go later, with :func:`core.catalog.disposal.dead_paths`.

    Raises:
        NotFoundError: it is retired already, the operator's, or another guild's.
        VersionInUseError: a living version is built on it.
    """
    entry = visible_version(session, guild_id, version_id)
    if entry.guild_id != guild_id:
        raise NotFoundError("Only a server's own versions can be deleted.", version=version_id)
    built_on_it = session.scalar(
        select(Version.id)
        .where(Version.base_id == version_id, Version.retired_at.is_(None))
        .limit(1)
    )
    if built_on_it is not None:
        raise VersionInUseError(
            f"Another version is built on “{entry.model}” {entry.number}.", model=entry.model
        )
    count_changed(
        session, update(Version).where(Version.id == version_id).values(retired_at=epoch_now())
    )
    return entry
