"""Taking versions out of service: single ones of a guild's own models, or a whole model.

Their files go later, with :func:`core.catalog.disposal.dead_paths`.
"""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.catalog.choices import visible_version
from core.catalog.registry import CatalogEntry, list_versions
from core.db.clock import epoch_now
from core.db.statements import count_changed
from core.db.tables import Job, Version
from core.errors import InvalidInputError, NotFoundError
from core.jobs.states import FINAL_STATES, JobKind, JobState

_OPEN = [state for state in JobState if state not in FINAL_STATES]


class VersionInUseError(InvalidInputError):
    """Another version is built on this one; ``data["model"]`` names it."""

    code = "version-in-use"


class VersionInTrainingError(InvalidInputError):
    """A fine-tune is under way on it; ``data["job"]`` is its job, ``data["model"]`` its model."""

    code = "version-in-training"


def retire_version(session: Session, guild_id: int, version_id: str) -> CatalogEntry:
    """Take one of a guild's own versions out of service. Where it answered, the next one does.

    Raises:
        NotFoundError: it is retired already, the operator's, or another guild's.
        VersionInUseError: a living version is built on it.
        VersionInTrainingError: a fine-tune that has not ended names it as its base.
    """
    entry = visible_version(session, guild_id, version_id)
    if entry.guild_id != guild_id:
        raise NotFoundError("Only a server's own versions can be deleted.", version=version_id)
    _retire(session, [version_id], entry.model)
    return entry


def retire_model(session: Session, model: str, guild_id: int | None) -> list[str]:
    """Take all versions of a model out of service.

    Returns:
        Their store paths, whose files can now go.

    Raises:
        NotFoundError: there is no such model.
        VersionInUseError: a version of another model is built on it.
        VersionInTrainingError: a fine-tune that has not ended is built on it.
    """
    entries = [
        entry
        for entry in list_versions(session, guild_id)
        if entry.model == model and entry.guild_id == guild_id
    ]
    if not entries:
        raise NotFoundError(f"There is no model “{model}”.", model=model)
    _retire(session, [entry.version_id for entry in entries], model)
    return [entry.store_path for entry in entries]


def _retire(session: Session, ids: Collection[str], model: str) -> None:
    meant = Version.id.in_(ids)
    # Whoever registers a version that is built on one of these waits here, or is waited for.
    session.scalars(select(Version.id).where(meant).with_for_update()).all()
    _refuse_built_on(session, ids, model)
    _refuse_in_training(session, ids, model)
    count_changed(session, update(Version).where(meant).values(retired_at=epoch_now()))


def _refuse_built_on(session: Session, ids: Collection[str], model: str) -> None:
    built_on_it = session.scalar(
        select(Version.id)
        .where(Version.base_id.in_(ids), Version.id.not_in(ids), Version.retired_at.is_(None))
        .limit(1)
    )
    if built_on_it is not None:
        raise VersionInUseError(
            f"“{model}” is the base of a fine-tuned version; remove that first.", model=model
        )


def _refuse_in_training(session: Session, ids: Collection[str], model: str) -> None:
    training = session.execute(
        select(Job.id, Job.payload)
        .where(
            Job.kind == JobKind.FINETUNE,
            Job.state.in_(_OPEN),
            Job.payload["base_version_id"].as_string().in_(ids),
        )
        .limit(1)
    ).first()
    if training is not None:
        raise VersionInTrainingError(
            f"“{model}” is the base of the fine-tune {training.id}, which has not ended; cancel "
            "that first or wait for it.",
            job=training.id,
            model=training.payload["model"],
        )
