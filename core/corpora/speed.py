"""How fast a fine-tune is likely to run: as a guild's earlier ones, else as its device allows."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import Job
from core.jobs.presence import alive
from core.jobs.states import JobKind, JobState

_LOOKED_AT = 20
# What two cores, and what GPUs of today, sustain in training. See docs/log.md.
_CPU_FLOPS, _GPU_FLOPS = 2e11, 1e14
# For each parameter and token: forward two, backward as many for the states and for the weights,
# which an adapter's base does without.
_FLOPS = {"lora": 4, "full": 6}

# Until it can learn: importing, reading the base.
_START_SECONDS = 20
# A rule of thumb knows of an idle machine; others that share it, or a slower one, take it further.
_MOST_SLOWER = 8


def expected_seconds(plan: dict[str, Any], speed: float, *, is_rough: bool) -> tuple[float, float]:
    """How long a run takes at least and at most; the same where the speed was measured.

    Args:
        plan: of the run, as validation made it.
        speed: tokens a second.
        is_rough: by a rule of thumb, which knows the steps alone. What was measured was measured
            over evaluations and samples, too.
    """
    tokens = plan["tokens"] * plan.get("epochs", 3.0) + plan.get("judging_before_and_after", 0)
    if not is_rough:
        seconds = _START_SECONDS + tokens / speed
        return seconds, seconds
    seconds = (tokens + plan.get("judging_between_steps", 0)) / speed
    return _START_SECONDS + seconds, _MOST_SLOWER * (_START_SECONDS + seconds)


def measured_speed(
    session: Session, guild_id: int | None, base_version_id: str, method: str
) -> float | None:
    """Tokens a second of the newest comparable run, its evaluations and samples being part of the
    time; None where there was none.

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
        # Runs of before the trainer chose their epochs told of none.
        is_told = metrics.get("train_seconds") and metrics.get("epochs")
        if is_alike and metrics.get("method") == method and is_told:
            epochs = metrics["epochs"]
            share = metrics["steps"] / max(1, metrics["planned_steps"])
            return float(metrics["train_tokens"] * epochs * share / metrics["train_seconds"])
    return None


def rough_speed(session: Session, plan: dict[str, Any], method: str) -> float | None:
    """Tokens a second by a rule of thumb, where nothing was measured yet.

    Args:
        session: an open transaction.
        plan: of the run; ``parameters`` are those of its base.
        method: ``lora`` or ``full``.

    Returns:
        None where nobody who trains says what they compute on, or the base is not known so well.
    """
    parameters = plan.get("parameters")
    devices = {
        str(worker.info["device"])
        for worker in alive(session)
        if worker.kind == JobKind.FINETUNE and "device" in worker.info
    }
    if not parameters or not devices:
        return None
    flops = _CPU_FLOPS if devices == {"cpu"} else _GPU_FLOPS
    return flops / (_FLOPS[method] * float(parameters))
