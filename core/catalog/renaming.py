"""A guild's own model under another name; its versions and whoever chose them stay.

So do its fine-tunes: one that is under way, or that may be retried, carries the model's name in its
payload, and would otherwise end as the first version of a second model under the old name.
"""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.catalog.bases import is_shared_name
from core.db.statements import count_changed
from core.db.tables import Job, Model
from core.errors import InvalidInputError, NotFoundError
from core.jobs.states import JobKind, JobState


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
    _rename_runs(session, guild_id, name, new_name)
    return count_changed(session, update(Model).where(*own).values(name=new_name))


def name_of_run(session: Session, job_id: str) -> str:
    """What the model of a fine-tune is called now; no renaming comes before the transaction ends.

    The payload of its claim has the name of when it was claimed, which may be hours ago.

    Raises:
        NotFoundError: there is no such job.
    """
    payload = session.scalar(select(Job.payload).where(Job.id == job_id).with_for_update())
    if payload is None:
        raise NotFoundError(f"There is no fine-tune {job_id}.", job=job_id)
    return str(payload["model"])


def _rename_runs(session: Session, guild_id: int, name: str, new_name: str) -> None:
    """Have all fine-tunes that may still make a version of the model make it under the new name."""
    runs = session.scalars(
        select(Job)
        .where(
            Job.guild_id == guild_id,
            Job.kind == JobKind.FINETUNE,
            # A failed or cancelled one can be retried, with its payload as it is.
            Job.state != JobState.SUCCEEDED,
            Job.payload["model"].as_string() == name,
        )
        .with_for_update()
    )
    for run in runs.all():
        run.payload = {**run.payload, "model": new_name}
    session.flush()
