"""What an engine is, for those who use one: a request goes in, a stream of text comes out.

Nothing here knows torch, so a second implementation (a server elsewhere) fits behind it.
"""

import queue
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from core.errors import InvalidInputError, PerroquetError

_MAX_STOP_STRINGS = 256
_MAX_PRESENCE = 2.0
_MAX_LOGPROBS = 20


class GenerationFailedError(PerroquetError):
    """The engine could not go on with this request."""

    code = "internal"


class EngineLostError(PerroquetError):
    """The engine broke down under this request and perhaps because of it; another may do better."""

    code = "engine-lost"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the names and meanings are those of ``transformers``.

    ``temperature`` 0 means greedy; ``top_k`` 0 means no bound; ``seed`` None means a random one.
    Without ``penalise_prompt`` the repetition penalty counts the answer's own tokens alone.
    ``presence_penalty``, which ``transformers`` lacks, is OpenAI's: it is taken from the logit of
    every token that the answer has already. With ``logprobs`` each token comes with its log
    probability and those of so many of the likeliest; None asks for none.

    Raises:
        InvalidInputError: a value is out of range; ``data["field"]`` names it.
    """

    max_new_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    penalise_prompt: bool = True
    presence_penalty: float = 0.0
    seed: int | None = None
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": self.max_new_tokens >= 0,
            "min_new_tokens": 0 <= self.min_new_tokens <= self.max_new_tokens,
            "temperature": self.temperature >= 0,
            "top_p": 0 <= self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": self.repetition_penalty > 0,
            "presence_penalty": -_MAX_PRESENCE <= self.presence_penalty <= _MAX_PRESENCE,
            "logprobs": self.logprobs is None or 0 <= self.logprobs <= _MAX_LOGPROBS,
        }
        for field, is_in_range in ranges.items():
            if not is_in_range:
                raise InvalidInputError(
                    f"Sampling: {field} = {getattr(self, field)} is out of range.", field=field
                )
        if len(self.stop) > _MAX_STOP_STRINGS:
            raise InvalidInputError(
                f"Sampling: {len(self.stop)} stop strings are more than {_MAX_STOP_STRINGS}.",
                field="stop",
            )

    def with_stops(self, stops: tuple[str, ...]) -> "Sampling":
        """The same with further stop strings; empty ones and repeated ones are left out.

        Raises:
            InvalidInputError: there are too many.
        """
        return replace(self, stop=tuple(dict.fromkeys(s for s in (*self.stop, *stops) if s)))


@dataclass(frozen=True, eq=False)
class Adapter:
    """A version over an engine's base, under the name that tells it from every other."""

    name: str


@dataclass(frozen=True)
class Standing:
    """Where a request stands among others.

    Attributes:
        flow: turns are taken among flows; a guild is one.
        priority: of two requests of a flow, the lower goes first.
        max_seconds: how long the answer may take from now, waiting included; it then ends with
            what there is. None: as long as it takes.
    """

    flow: Hashable = None
    priority: int = 0
    max_seconds: float | None = None


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to make. ``prompt_ids`` are token ids of the engine's own tokenizer."""

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling
    adapter: Adapter | None = None
    standing: Standing = Standing()


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


class TokenLogprobs(NamedTuple):
    """How likely the model held a token: natural logarithms before temperature and penalties.

    ``likeliest`` are tokens and theirs, the likeliest first. A token is given as its text, which is
    broken where a character is made of several.
    """

    token: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...] = ()


class Chunk(NamedTuple):
    """A piece of an answer: whole characters, and how many tokens were made so far.

    ``logprobs`` are of the tokens since the last chunk, where they were asked for.
    """

    text: str
    token_count: int
    finish: FinishReason | None = None
    error: PerroquetError | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()


class GenerationStream:
    """The answer as it comes. One thread iterates; any thread may cancel."""

    unread_tokens = 0
    """Of a text's beginning, which the model was not shown; who makes the prompt says so."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
        self._cancel = cancel

    def put(self, chunk: Chunk) -> None:
        """Hand over a piece; for engines."""
        self._chunks.put(chunk)

    def cancel(self) -> None:
        """End the answer within a step; a last chunk says so. Harmless once it has ended."""
        self._cancel()

    def take(self) -> Chunk | None:
        """What has come and was not read, as one chunk; None where nothing has.

        For who looks after many streams at once. A chunk with an ``error`` is the last.
        """
        if self._chunks.empty():
            return None
        chunk = self._chunks.get()
        while chunk.finish is None and not self._chunks.empty():
            chunk = _joined(chunk, self._chunks.get())
        return chunk

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks up to and with the one that has a ``finish``; those that wait come as one.

        Raises:
            PerroquetError: the engine failed this request.
        """
        chunk = None
        while chunk is None or chunk.finish is None:
            chunk = self._chunks.get()
            while chunk.finish is None and chunk.error is None and not self._chunks.empty():
                # Only this thread takes, so what is there stays there.
                chunk = _joined(chunk, self._chunks.get())
            if chunk.error is None:
                yield chunk
                continue
            if chunk.text:
                yield chunk._replace(error=None, finish=None)
            raise chunk.error


def _joined(first: Chunk, second: Chunk) -> Chunk:
    return second._replace(text=first.text + second.text, logprobs=first.logprobs + second.logprobs)


@dataclass(frozen=True)
class EngineStats:
    """How busy an engine is.

    Attributes:
        running: answers being made.
        waiting: requests that have not begun.
        cached_tokens: room in the KV cache that was given to those who run.
        steps: forward passes so far.
        generated_tokens: tokens of answers so far.
        reused_tokens: tokens of prompts so far that were known from earlier ones.
        preemptions: how often an answer gave its room back and was computed anew later.
    """

    running: int
    waiting: int
    cached_tokens: int
    steps: int
    generated_tokens: int
    reused_tokens: int = 0
    preemptions: int = 0


class Engine(Protocol):
    """Answers many requests at once."""

    def submit(self, request: GenerationRequest) -> GenerationStream:
        """Queue a request.

        Raises:
            InvalidInputError: the prompt is empty, too long, or holds an id out of range.
        """
        ...

    def stats(self) -> EngineStats:
        """How busy it is."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether it takes requests; an engine that broke down or was closed never does again."""
        ...

    def close(self) -> None:
        """End every answer with an error and free what is held."""
        ...
