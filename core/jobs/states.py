"""Kinds and states of jobs, named as OpenAI's fine-tuning objects name them."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job does; also the name of the Celery queue that carries its hint."""

    GENERATE = "generate"
    FINETUNE = "finetune"
    # Reads an upload before its fine-tune may start; needs a CPU only.
    VALIDATE = "validate"


class JobState(StrEnum):
    """Where a job stands. The last three are final."""

    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self in FINAL_STATES


class JobWish(StrEnum):
    """What somebody wishes of a job that is not to be cancelled."""

    # Leave at a checkpoint, and wait until the wish is taken back.
    PAUSE = "pause"
    # End early, with the best so far as the result.
    STOP = "stop"


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
