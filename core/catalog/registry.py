"""Models and versions as rows: what there is, and who may see it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.statements import insert_missing
from core.db.tables import Model, Version
from core.errors import NotFoundError
from core.ids import new_id
from core.jobs.finding import Scope, visible_models


@dataclass(frozen=True)
class StoredVersion:
    """Where a version lies and what was measured of it."""

    store_path: str
    manifest_sha256: str
    total_bytes: int
    metrics: dict[str, Any]
    base_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """One version of a model, as people are shown it."""

    version_id: str
    model: str
    number: int
    guild_id: int | None
    source: str
    store_path: str
    total_bytes: int
    metrics: dict[str, Any]
    created_at: float


def register_version(
    session: Session, *, model: str, guild_id: int | None, source: str, stored: StoredVersion
) -> str:
    """Add a version under a model's name, which is made where it is new; returns its id.

    Raises:
        NotFoundError: what it is built on was retired.
    """
    if stored.base_id is not None:
        _hold_living(session, stored.base_id)
    model_id = _open_model(session, model, guild_id, source)
    newest = session.scalar(select(func.max(Version.number)).where(Version.model_id == model_id))
    version_id = new_id()
    session.add(
        Version(
            id=version_id,
            model_id=model_id,
            number=(newest or 0) + 1,
            base_id=stored.base_id,
            job_id=stored.job_id,
            store_path=stored.store_path,
            manifest_sha256=stored.manifest_sha256,
            total_bytes=stored.total_bytes,
            metrics=stored.metrics,
        )
    )
    session.flush()
    return version_id


def list_versions(session: Session, scope: Scope | None = None) -> list[CatalogEntry]:
    """The living versions of the operator's models and of one guild's own, by name and number.

    Args:
        session: an open transaction.
        scope: the guild; None for the operator's models alone, or those of all guilds.
    """
    rows = session.execute(
        select(Version, Model)
        .join(Model, Model.id == Version.model_id)
        .where(Version.retired_at.is_(None), *visible_models(scope))
        .order_by(Model.name, Model.guild_id.is_not(None), Model.guild_id, Version.number)
    )
    return [
        CatalogEntry(
            version.id,
            model.name,
            version.number,
            model.guild_id,
            model.source,
            version.store_path,
            version.total_bytes,
            version.metrics,
            version.created_at,
        )
        for version, model in rows
    ]


def _hold_living(session: Session, version_id: str) -> None:
    """Keep a version from being retired before the transaction ends."""
    living = select(Version.id).where(Version.id == version_id, Version.retired_at.is_(None))
    if session.scalar(living.with_for_update(read=True)) is None:
        raise NotFoundError("The base model of this version is gone.", version=version_id)


def _open_model(session: Session, name: str, guild_id: int | None, source: str) -> str:
    query = select(Model.id).where(
        Model.name == name, Model.guild_id.is_not_distinct_from(guild_id)
    )
    found = session.scalar(query)
    if found is None:
        insert_missing(session, Model.id, id=new_id(), name=name, guild_id=guild_id, source=source)
        found = session.scalars(query).one()
    return found
