"""What a version was made from."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.catalog.registry import CatalogEntry, list_versions
from core.db.tables import Job, Version


def base_of(session: Session, guild_id: int, entry: CatalogEntry) -> CatalogEntry | None:
    """The living version that another was built on or began from, where the guild may see it.

    An adapter names its base; whole weights know theirs from the job that made them.
    """
    made = session.execute(
        select(Version.base_id, Job.payload)
        .outerjoin(Job, Job.id == Version.job_id)
        .where(Version.id == entry.version_id)
    ).one_or_none()
    if made is None:
        return None
    base_id = made.base_id or (made.payload or {}).get("base_version_id")
    living = list_versions(session, guild_id) if base_id is not None else []
    return next((base for base in living if base.version_id == base_id), None)
