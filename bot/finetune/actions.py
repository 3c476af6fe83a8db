"""What can be done to a fine-tune with a button, and how a button says so."""

import re
from enum import StrEnum

from core.ids import ID_PATTERN


class Action(StrEnum):
    """One button each; the value is part of its custom id, so it stays for good."""

    START = "start"
    CANCEL = "cancel"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    USE_HERE = "here"
    USE_ON_SERVER = "server"
    COMPARE = "compare"
    DOWNLOAD = "download"
    DISCARD = "discard"


CUSTOM_ID = re.compile(
    rf"finetune:(?P<action>{'|'.join(Action)}):(?P<job_id>{ID_PATTERN.strip('^$')})"
)


def custom_id(action: Action, job_id: str) -> str:
    """The custom id of a button: it alone tells what is to be done, after a restart too."""
    return f"finetune:{action}:{job_id}"
