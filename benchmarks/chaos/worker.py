"""The workers of the chaos run: real but for the model, whose words follow from the question."""

import os
import re
import signal
import threading
import time

from core.logging import configure_logging
from core.settings import load_settings
from workers.generation.protocol import Chunk, FinishReason, GenerationStream
from workers.generation.serving import Ask
from workers.generation.tasks import run_generation_worker

POISON = "poison"
_WORD_SECONDS = 0.25


def answer_to(question: str) -> str:
    """The one right answer to a question that ends in its number."""
    number = re.findall(r"\d+", question)[-1]
    return f"Seeds and fruit, and nuts on day {number}."


class SlowResponder:
    """Says its answer word by word, so that faults meet it half-way; dies of poison."""

    is_alive = True
    holds_weights = True

    def ask(self, ask: Ask) -> GenerationStream:
        """The answer to the last utterance, over two seconds."""
        question = ask.utterances[-1].text
        cancelled = threading.Event()
        stream = GenerationStream(cancelled.set)
        words = re.findall(r"\S+\s*", answer_to(question))
        arguments = (stream, words, cancelled, POISON in question)
        threading.Thread(target=_say, args=arguments, daemon=True).start()
        return stream

    def describe(self) -> dict[str, str | int]:
        """Nothing to tell."""
        return {"device": "none", "dtype": "none"}

    def close(self) -> None:
        """Nothing to free."""


def _say(
    stream: GenerationStream, words: list[str], cancelled: threading.Event, is_poison: bool
) -> None:
    for count, word in enumerate(words, 1):
        time.sleep(_WORD_SECONDS)
        if is_poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if cancelled.is_set():
            stream.put(Chunk("", count, FinishReason.CANCELLED))
            return
        stream.put(Chunk(word, count, FinishReason.STOP if count == len(words) else None))


def main() -> int:
    """Answer until SIGTERM."""
    settings = load_settings(os.environ)
    configure_logging(settings.log, process="generate")
    run_generation_worker(settings, lambda _weights: SlowResponder())
    return 0
