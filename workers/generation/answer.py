"""What the engine holds of a request while it lives, and what it says where one cannot go on."""

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from tokenizers import Tokenizer

from core.errors import PerroquetError
from workers.generation.adapters import AdapterKey, LoraAdapter
from workers.generation.attention import KeyValueCache
from workers.generation.errors import let_go
from workers.generation.logprobs import Report
from workers.generation.memory import is_out_of_memory
from workers.generation.protocol import (
    Chunk,
    FinishReason,
    GenerationFailedError,
    GenerationRequest,
    GenerationStream,
    TokenLogprobs,
)
from workers.generation.sampling import SamplingState
from workers.generation.sequences import Sequence, Work
from workers.generation.text_stream import TextStream


@dataclass
class Answer:
    """A request with everything that belongs to it while it lives."""

    request: GenerationRequest
    stream: GenerationStream
    token_ids: list[int]
    text: TextStream
    sampling: SamplingState
    cache: KeyValueCache | None
    max_new_tokens: int
    generated: int = 0
    # Tokens that are chosen or about to be; those that were launched and have not landed count.
    launched: int = 0
    # The newest tokens, whose text nobody has seen.
    unread: list[int] = field(default_factory=list)
    # How likely tokens were, where that is asked: as the device says it, and in words.
    reports: list[tuple[int, Report]] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    # Its place among those who run; its adapter has a slot on the device as long as it has one.
    seat: int | None = None

    @property
    def max_tokens(self) -> int:
        """Prompt and answer together, as long as it may become."""
        return len(self.request.prompt_ids) + self.max_new_tokens

    def note(self, token: int) -> None:
        """It is one token longer."""
        self.note_end(token)
        self.token_ids.append(token)
        self.unread.append(token)

    def note_end(self, token: int) -> None:
        """A token was chosen that is no part of the text."""
        self.generated += 1
        self.sampling.accept(token)

    def chunk(
        self, text: str, finish: FinishReason | None = None, error: PerroquetError | None = None
    ) -> Chunk:
        """A piece of it, with what was kept for that."""
        logprobs = tuple(self.logprobs)
        self.logprobs.clear()
        return Chunk(text, self.generated, finish, error, logprobs)

    def read(self) -> str:
        """The text of the newest tokens, as far as it is certain."""
        name = self.text.name
        for token, report in self.reports:
            likeliest = tuple((name(other), value) for other, value in report.likeliest)
            self.logprobs.append(TokenLogprobs(name(token), report.logprob, likeliest))
        self.reports.clear()
        if not self.unread:
            return ""
        text = self.text.push(*self.unread)
        self.unread.clear()
        return text

    def sequence(self, number: int, now: float) -> Sequence:
        """The same in integers, for the scheduler."""
        standing = self.request.standing
        return Sequence(
            number,
            len(self.request.prompt_ids),
            self.max_tokens,
            flow=standing.flow,
            priority=standing.priority,
            deadline=now + (standing.max_seconds or math.inf),
        )

    @cached_property
    def adapter(self) -> LoraAdapter | None:
        """Whose products are added to its rows; None for the base alone."""
        adapter = self.request.adapter
        assert adapter is None or isinstance(adapter, LoraAdapter)  # noqa: S101 - checked
        return adapter

    @property
    def owner(self) -> AdapterKey | None:
        """Whose keys and values are of use to it."""
        return self.adapter.key if self.adapter else None


def begin(
    request: GenerationRequest,
    stream: GenerationStream,
    tokenizer: Tokenizer,
    max_new_tokens: int,
    end_ids: frozenset[int],
) -> Answer:
    """An answer that has not begun; without a seed it gets one."""
    sampling = request.sampling
    if sampling.seed is None:
        sampling = replace(sampling, seed=secrets.randbits(32))
    penalised: tuple[int, ...] = ()
    if sampling.penalise_prompt and sampling.repetition_penalty != 1.0:
        # Not the end tokens behind each turn of a prompt: that would be to ask never to end.
        penalised = tuple(token for token in request.prompt_ids if token not in end_ids)
    return Answer(
        request,
        stream,
        list(request.prompt_ids),
        TextStream(tokenizer, sampling.stop),
        SamplingState(sampling, penalised, max_new_tokens, end_ids),
        None,
        max_new_tokens,
    )


def keep_reports(
    reports: Mapping[int, Report],
    work: Iterable[Work],
    tokens: Iterable[int | None],
    answers: Mapping[int, Answer],
) -> None:
    """Keep how likely a step's tokens were with those answers that ask for it.

    Args:
        reports: by place in ``work``.
        work: the pieces whose next tokens these are.
        tokens: in the order of ``work``.
        answers: those that go on, by number.
    """
    if not reports:
        return
    for row, (piece, token) in enumerate(zip(work, tokens, strict=True)):
        answer = answers.get(piece[0])
        if answer is not None and token is not None and row in reports:
            answer.reports.append((token, reports[row]))


def translate(exc: Exception) -> PerroquetError:
    """An error of torch or the model as the request's own, which holds nothing of the engine."""
    let_go(exc)
    if isinstance(exc, PerroquetError):
        return exc
    if is_out_of_memory(exc):
        error = GenerationFailedError("The device is out of memory.")
    else:
        error = GenerationFailedError(f"{type(exc).__name__} in the model.")
    error.__cause__ = exc
    return error
