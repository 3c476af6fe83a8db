"""A worker that is real but for its model, which answers so many at a time and takes its time.

``BENCH_ANSWER_SECONDS`` is how long an answer takes; half a second by default.
"""

import os
import threading
import time
from collections.abc import Hashable

from benchmarks.fair_turns import FairTurns
from core.logging import configure_logging
from core.settings import load_settings
from workers.generation.protocol import Chunk, FinishReason, GenerationStream
from workers.generation.serving import Ask
from workers.generation.tasks import run_generation_worker

_WORDS = ("Seeds ", "and ", "fruit.")
_VARIABLE = "BENCH_ANSWER_SECONDS"


class BatchingResponder:
    """Answers at most ``places`` at a time, each over ``seconds``, in turns as the engine does."""

    is_alive = True
    holds_weights = True

    def __init__(self, places: int, seconds: float) -> None:
        self._turns = FairTurns(places)
        self._seconds = seconds

    def ask(self, ask: Ask) -> GenerationStream:
        """Three words, evenly over the time."""
        stream = GenerationStream(lambda: None)
        arguments = (stream, ask.standing.flow)
        threading.Thread(target=self._say, args=arguments, daemon=True).start()
        return stream

    def describe(self) -> dict[str, str | int]:
        """Nothing to tell."""
        return {"device": "none", "dtype": "none"}

    def close(self) -> None:
        """Nothing to free."""

    def _say(self, stream: GenerationStream, flow: Hashable) -> None:
        with self._turns.turn(flow, lambda: None):
            for count, word in enumerate(_WORDS, 1):
                time.sleep(self._seconds / len(_WORDS))
                stream.put(Chunk(word, count, FinishReason.STOP if count == len(_WORDS) else None))


if __name__ == "__main__":
    settings = load_settings(os.environ)
    configure_logging(settings.log, process="generate")
    seconds = float(os.environ.get(_VARIABLE, "0.5"))
    responder = BatchingResponder(settings.generation.max_batch_size, seconds)
    run_generation_worker(settings, lambda _weights: responder)
