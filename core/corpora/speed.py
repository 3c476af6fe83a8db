"""How fast a guild's earlier fine-tunes ran, for an estimate of the next one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Job
from core.jobs.states import JobKind, JobState

_LOOKED_AT = 20


def measured_speed(
    session: Session, guild_id: int | None, base_version_id: str, method: str
) -> float | None:
    """Tokens a second of the newest comparable run; None where there was none.

    Args:
        session: an open transaction.
        guild_id: whose runs; those of others are behind the wall, however alike.
        base_version_id: what was trained.
        method: ``lora`` or ``full``.
    """
    rows = session.execute(
        select(Job.payload, Job.result)
        .where(
            Job.guild_id.is_not_distinct_from(guild_id),
            Job.kind == JobKind.FINETUNE,
            Job.state == JobState.SUCCEEDED,
        )
        .order_by(Job.id.desc())
        .limit(_LOOKED_AT)
    )
    for row in rows:
        metrics = (row.result or {}).get("metrics", {})
        is_alike = row.payload["base_version_id"] == base_version_id
        if is_alike and metrics.get("method") == method and metrics.get("train_seconds"):
            epochs = float(row.payload["options"].get("epochs", 3.0))
            share = metrics["steps"] / max(1, metrics["planned_steps"])
            return float(metrics["train_tokens"] * epochs * share / metrics["train_seconds"])
    return None
