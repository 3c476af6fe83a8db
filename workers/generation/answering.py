"""The work of a ``generate`` job: read the question, stream the answer, write it down."""

import hashlib
import threading
import time
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy.orm import Session

from core.conversations.answers import Question, load_question, write_answer
from core.db.desk import Desk
from core.errors import LeaseLostError, PerroquetError
from core.jobs.ledger import Claim
from core.monitoring.figures.generation import GENERATED_TOKENS
from core.monitoring.tracing import mark, step
from core.settings import ChatSettings, GenerationSettings
from core.transport.stream_writer import StreamWriter
from core.transport.streams import StreamEntry
from workers.generation.chat_format import BOT_NAME
from workers.generation.protocol import (
    EngineLostError,
    FinishReason,
    GenerationStream,
    Sampling,
    Standing,
    TokenLogprobs,
)
from workers.generation.serving import Ask, ModelPool, Responder
from workers.leases import HeldJob
from workers.runner import write_within_lease

log = structlog.get_logger(__name__)

# A small model that was taught little may have nothing to say to one question of five.
_TRIES = 4
_LOGPROBS = "logprobs"
# OpenAI's own figure for what is hardly possible; JSON has none for the logarithm of nothing.
_LEAST_LOGPROB = -9999.0


class EmptyAnswerError(PerroquetError):
    """The model ended its turn without a word."""

    code = "empty-answer"


class TooLateError(PerroquetError):
    """The time that an answer may take was over before its first word."""

    code = "too-late"


class Answerer:
    """Answers claimed jobs with the models of a pool. Thread-safe; holds no state of a job."""

    def __init__(
        self,
        desk: Desk,
        pool: ModelPool,
        streams: StreamWriter,
        generation: GenerationSettings,
        chat: ChatSettings,
    ) -> None:
        self._desk = desk
        self._pool = pool
        self._streams = streams
        self._generation = generation
        self._chat = chat
        self._count_lock = threading.Lock()
        self._generated_tokens = 0

    @property
    def generated_tokens(self) -> int:
        """Tokens of answers so far, those under way among them."""
        return self._generated_tokens

    def brief(self, session: Session, claim: Claim) -> Question:
        """Read what a claimed job asks, in the transaction of its claim.

        Raises:
            NothingPublishedError, ForgottenError: there is nothing to answer, or nobody to do it.
        """
        return load_question(
            session,
            claim,
            max_messages=self._chat.history_max_messages,
            default_model=self._generation.model,
        )

    def answer(self, held: HeldJob) -> None:
        """Answer the question that ``brief`` read and end its job.

        A model that ends its turn without a word is asked again, and not to end there.

        Raises:
            PerroquetError: the answer cannot be made; the class says why.
            LeaseLostError, CancelledJobError, DrainedError: the job must stop.
        """
        question: Question = held.brief
        started = time.monotonic()
        try:
            with self._pool.using(question.weights, held.check) as responder:
                text, facts = self._generate(held, question, responder)
        except EngineLostError as exc:
            # It may be this job that broke it: let the reaper count, and set it apart in time.
            raise LeaseLostError("The engine broke down under this job.") from exc
        facts["seconds"] = round(time.monotonic() - started, 3)
        self._write(held, question, text, facts)

    def announce_end(self, claim: Claim) -> None:
        """Tell the bot process that the job has ended, so that it reads the end from SQL."""
        if claim.payload["stream"]:
            self._streams.write(
                claim.payload["stream"], StreamEntry(claim.job_id, claim.token, 0, "", is_end=True)
            )

    def _generate(
        self, held: HeldJob, question: Question, responder: Responder
    ) -> tuple[str, dict[str, Any]]:
        """Stream the answer; returns its text and figures about it."""
        ask = self._ask(held, question)
        for tries_left in reversed(range(_TRIES)):
            held.check()
            stream = responder.ask(ask)
            held.on_stop(stream.cancel)
            with step("generate", version=question.version_id):
                text, facts = self._relay(held, question, stream)
            is_silent = not text and facts.get("finish") == FinishReason.STOP
            if not is_silent or question.is_text or not tries_left:
                break
            log.info("silent", version=question.version_id, tokens=facts["tokens"])
            ask = replace(ask, sampling=_urged(ask.sampling, facts["tokens"]))
        return text, facts

    def _relay(
        self, held: HeldJob, question: Question, stream: GenerationStream
    ) -> tuple[str, dict[str, Any]]:
        """Pass the text on piece by piece; returns the whole of it and figures about it."""
        text = ""
        facts: dict[str, Any] = {"version_id": question.version_id}
        if stream.unread_tokens:
            facts["unread_tokens"] = stream.unread_tokens
        counted = 0
        logprobs: list[TokenLogprobs] = []
        try:
            for chunk in stream:
                held.check()
                self._count(chunk.token_count - counted)
                counted = chunk.token_count
                # The answer begins with its first word; what stands before it is never shown.
                # PostgreSQL keeps no NUL, which byte-level tokenizers can make.
                piece = chunk.text.replace("\0", "")
                piece = piece if text or question.is_text else piece.lstrip()
                if piece and not text:
                    mark("first words")
                if piece and question.stream:
                    self._streams.write(
                        question.stream,
                        StreamEntry(held.claim.job_id, held.claim.token, len(text), piece),
                    )
                text += piece
                logprobs += chunk.logprobs
                if chunk.finish is not None:
                    facts |= {"tokens": chunk.token_count, "finish": str(chunk.finish)}
        finally:
            stream.cancel()
        held.check()
        if question.sampling.get("logprobs") is not None:
            facts[_LOGPROBS] = [_plain(token) for token in logprobs]
        return text, facts

    def _count(self, tokens: int) -> None:
        with self._count_lock:
            self._generated_tokens += tokens
        GENERATED_TOKENS.inc(tokens)

    def _write(self, held: HeldJob, question: Question, text: str, facts: dict[str, Any]) -> None:
        text = text if question.is_text else text.strip()
        if not text and facts.get("finish") == FinishReason.DEADLINE:
            raise TooLateError("The answer did not begin in time.")
        if not text and not question.is_text:
            raise EmptyAnswerError("The model ended its turn without a word.")
        with step("write answer"):
            write_within_lease(
                self._desk,
                held,
                lambda session: write_answer(
                    session, held.claim, text, bot_name=BOT_NAME, facts=facts
                ),
            )
        # Which words they are is nobody's business but the asker's.
        facts.pop(_LOGPROBS, None)
        log.info("answered", version=question.version_id, **facts)

    def _ask(self, held: HeldJob, question: Question) -> Ask:
        claim = held.claim
        # Direct messages have no guild; each of their channels takes turns as one.
        flow = claim.channel_id if claim.guild_id is None else claim.guild_id
        return Ask(
            claim.job_id,
            question.utterances,
            self._sampling(held, question),
            question.weights,
            Standing(flow, claim.priority, self._generation.answer_max_seconds),
        )

    def _sampling(self, held: HeldJob, question: Question) -> Sampling:
        """The worker's defaults, overridden by the job's own, with a seed that the job keeps.

        A job that is started again on the same device then says the same words again, and the
        channel sees its text go on instead of change.
        """
        values: dict[str, Any] = {
            "max_new_tokens": self._generation.max_new_tokens,
            "temperature": self._generation.temperature,
            "top_p": self._generation.top_p,
            "top_k": self._generation.top_k,
            "repetition_penalty": self._generation.repetition_penalty,
            # A question's own words are what its answer is about.
            "penalise_prompt": False,
            "seed": _seed_of(held.claim.job_id),
            "stop": (),
        }
        values |= question.sampling
        return Sampling(**{**values, "stop": tuple(values["stop"])})


def _urged(sampling: Sampling, tokens: int) -> Sampling:
    """With other dice, and not to end where it has ended, at the last of so many ``tokens``."""
    seed = None if sampling.seed is None else sampling.seed + 1
    least = min(max(sampling.min_new_tokens, tokens), sampling.max_new_tokens)
    return replace(sampling, seed=seed, min_new_tokens=least)


def _plain(token: TokenLogprobs) -> dict[str, Any]:
    """As JSON has it, and as PostgreSQL can keep it, which is without NULs."""
    likeliest = [_named(name, value) for name, value in token.likeliest]
    return {**_named(token.token, token.logprob), "likeliest": likeliest}


def _named(token: str, logprob: float) -> dict[str, Any]:
    value = round(max(logprob, _LEAST_LOGPROB), 4)
    return {"token": token.replace("\0", ""), "logprob": value}


def _seed_of(job_id: str) -> int:
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4], "big")
