"""Following what goes on for hours: a database that goes away meanwhile ends nothing."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from core.db.outage import is_away

T = TypeVar("T")


def patiently(read: Callable[[], T], pause_seconds: float) -> T:
    """What is read, once the database answers.

    Args:
        read: asks it.
        pause_seconds: between two tries.

    Raises:
        SQLAlchemyError: it answers, and refuses the question.
    """
    while True:
        try:
            return read()
        except SQLAlchemyError as exc:
            if not is_away(exc):
                raise
            time.sleep(pause_seconds)
