"""What the end of a trainer's process means for its job."""

import structlog

from core.errors import CancelledJobError, LeaseLostError, PerroquetError
from workers.finetuning.supervisor import Outcome
from workers.leases import DrainedError, HeldJob

log = structlog.get_logger(__name__)


class TrainingFailedError(PerroquetError):
    """The trainer ended without a model. ``code`` is the trainer's own where it has one."""

    code = "training-failed"


def check_outcome(held: HeldJob, outcome: Outcome) -> None:
    """Go on where the run went to its end.

    Raises:
        TrainingFailedError: the trainer said why it could not go on.
        LeaseLostError, CancelledJobError, DrainedError: the job must stop.
    """
    held.check()
    if outcome.ending == "finished":
        return
    if outcome.ending == "cancelled":
        raise CancelledJobError("The run was cancelled.")
    if outcome.ending == "paused":
        raise DrainedError("The run was paused at a checkpoint.")
    if outcome.ending == "failed":
        error = TrainingFailedError(outcome.event["message"], **outcome.event["data"])
        error.code = outcome.event["code"]  # type: ignore[misc]  # the trainer's own code
        raise error
    # Killed from outside, perhaps for memory: the reaper counts it as a crash.
    log.warning("trainer_died", exit_code=outcome.exit_code)
    raise LeaseLostError(f"The trainer died with exit code {outcome.exit_code}.")
