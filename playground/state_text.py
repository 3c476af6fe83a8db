"""The playground's state as text."""

import json
from collections.abc import Iterator
from typing import Any


def written(state: dict[str, Any]) -> Iterator[str]:
    """The state as JSON, message by message, so that other threads have their turn in between."""
    small = {key: value for key, value in state.items() if key != "messages"}
    yield json.dumps(small)[:-1] + ', "messages": {'
    for number, (channel_id, messages) in enumerate(state["messages"].items()):
        yield f"{', ' if number else ''}{json.dumps(channel_id)}: ["
        for place, message in enumerate(messages):
            yield f"{', ' if place else ''}{json.dumps(message)}"
        yield "]"
    yield "}}"
