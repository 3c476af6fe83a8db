"""Texts to go on with, outside of any conversation: the operator's own, from a shell."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core.jobs.ledger import NewJob, submit
from core.jobs.states import JobKind

_OPERATOR = 0


@dataclass(frozen=True)
class NewText:
    """What is to be written.

    Attributes:
        prompt: how the text begins; empty lets the model begin.
        version_id: who writes.
        sampling: overrides the worker's defaults, by the engine's names.
    """

    prompt: str
    version_id: str
    sampling: dict[str, Any]


def submit_text(session: Session, new: NewText) -> str:
    """Write the job; returns its id. Its result's ``text`` is what follows the prompt."""
    payload = {
        "prompt": new.prompt,
        "version_id": new.version_id,
        "sampling": new.sampling,
        # Nobody watches it grow.
        "stream": "",
    }
    return submit(session, NewJob(JobKind.GENERATE, _OPERATOR, payload))
