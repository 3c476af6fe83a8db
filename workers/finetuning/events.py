"""What a run tells its supervisor, one JSON object a line.

Every event has ``event`` and ``time`` (seconds from the epoch). The events and their fields:

- ``measured``: ``measured_tokens``, ``tokens_to_measure``: of the base, before anything is learnt.
- ``started``: ``step`` (of the checkpoint it goes on from, else 0), ``steps``, ``epochs``,
  ``rows``, ``tokens`` (one pass), ``block_size``, ``batch_size``, ``micro_batch_size``,
  ``device``, ``dtype``, ``trainable``, ``parameters``.
- ``step``: ``step``, ``steps``, ``epoch``, ``loss`` (nats a token), ``learning_rate``,
  ``gradient_norm``, ``tokens_per_second``, ``seconds_left``.
- ``evaluated``: ``step``, ``loss``, ``perplexity``, ``is_best``; ``step`` 0 is the base.
- ``sampled``: ``step``, ``samples``: a list of ``prompt`` and ``text``.
- ``checkpointed``: ``step``, ``folder``.
- ``shrunk``: ``micro_batch_size``, ``accumulation``, ``gradient_checkpointing``: memory ran out.
- ``finished``: ``folder``, ``metrics``.
- ``paused``: ``step``. ``cancelled``: ``step``.
- ``failed``: ``code``, ``message``, ``data``.
"""

import json
import math
import time
from collections.abc import Callable
from typing import Any, TextIO

Event = dict[str, Any]
Emit = Callable[..., None]
NAMES = frozenset(
    {
        "measured",
        "started",
        "step",
        "evaluated",
        "sampled",
        "checkpointed",
        "shrunk",
        "finished",
        "paused",
        "cancelled",
        "failed",
    }
)


class EventWriter:
    """Writes events as JSON lines, each flushed at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one event. A reader that is gone is no reason to stop training."""
        line = json.dumps({"event": event, "time": time.time(), **_finite(fields)})
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            return


def parse_event(line: str) -> Event | None:
    """The event of a line; None for anything else that found its way into the stream."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("event") in NAMES else None


def _finite(value: Any) -> Any:
    """JSON knows no infinity; null stands for what is no number."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
