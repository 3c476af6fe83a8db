"""The worker of ``perroquet bench path``: real but for the model, which says three words."""

import os

from core.logging import configure_logging
from core.settings import load_settings
from workers.generation.protocol import Chunk, FinishReason, GenerationStream
from workers.generation.serving import Ask
from workers.generation.tasks import run_generation_worker

_WORDS = ("Seeds ", "and ", "fruit.")


class TrivialResponder:
    """Answers everybody alike, without a model."""

    is_alive = True
    holds_weights = True

    def ask(self, ask: Ask) -> GenerationStream:
        """Three chunks, there at once."""
        del ask
        stream = GenerationStream(lambda: None)
        for count, word in enumerate(_WORDS, 1):
            stream.put(Chunk(word, count, FinishReason.STOP if count == len(_WORDS) else None))
        return stream

    def describe(self) -> dict[str, str | int]:
        """Nothing to tell."""
        return {"device": "none", "dtype": "none"}

    def close(self) -> None:
        """Nothing to free."""


if __name__ == "__main__":
    settings = load_settings(os.environ)
    configure_logging(settings.log, process="generate")
    run_generation_worker(settings, lambda _weights: TrivialResponder())
