"""The course of a run, read back from what the trainer reported."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import JobEvent

EVALUATED = "evaluated"
CHECKPOINTED = "checkpointed"
TRAIN_POINTS = "train"


@dataclass(frozen=True)
class Curve:
    """Losses in nats a token, by step; each step once, in order.

    Attributes:
        train: of the steps themselves, thinned out.
        validation: of the evaluations; step 0 is the base.
    """

    train: tuple[tuple[int, float], ...] = ()
    validation: tuple[tuple[int, float], ...] = ()

    @property
    def best_step(self) -> int | None:
        """The step of the lowest validation loss."""
        if not self.validation:
            return None
        return min(self.validation, key=lambda point: point[1])[0]


def read_curve(session: Session, job_id: str) -> Curve:
    """The curve of a fine-tune so far. A run that went on from a checkpoint repeats steps; the
    newest word holds."""
    events = session.scalars(
        select(JobEvent.data)
        .where(JobEvent.job_id == job_id, JobEvent.type.in_((EVALUATED, CHECKPOINTED)))
        .order_by(JobEvent.id)
    )
    train: dict[int, float] = {}
    validation: dict[int, float] = {}
    for data in events:
        train.update(dict(data.get(TRAIN_POINTS, ())))
        if data.get("loss") is not None:
            validation[data["step"]] = data["loss"]
    return Curve(tuple(sorted(train.items())), tuple(sorted(validation.items())))
