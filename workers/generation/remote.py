"""The way out: answers from any server that speaks OpenAI's protocol (vLLM, SGLang, others).

One thread runs an event loop for all answers of a server; each answer is a task in it, so that
``cancel`` closes the connection at once and the server stops computing.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from core.conversations.utterances import TEXT
from core.errors import PerroquetError, ServiceUnavailableError
from core.settings import RemoteSettings
from workers.generation.errors import ModelUnreadableError
from workers.generation.messages import Turn, clean_name, messages_of
from workers.generation.protocol import (
    Chunk,
    FinishReason,
    GenerationFailedError,
    GenerationStream,
    Sampling,
    TokenLogprobs,
)
from workers.generation.serving import Ask

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = structlog.get_logger(__name__)

_CONNECT_SECONDS = 5.0
_RETRIES = 2
# A careful guess: no tokenizer of the server's is at hand, and French has about three and a half.
_CHARACTERS_A_TOKEN = 3
# What servers answer to a prompt beyond the model's window, whose length was only guessed here.
_TOO_LONG = re.compile(r"context|too long|maximum.*length|max_model_len", re.IGNORECASE)
# Reasons that servers give where nothing is finished.
_BROKEN_OFF = {"abort", "error"}
# The server's tokenizer knows these as ends of turns, whoever wrote them.
_CONTROL = re.compile(
    r"<(?=[|｜][^|｜<>\s]{1,40}[|｜]>|/?s>|(?:bos|eos|pad|unk|mask)>|[a-z]+_of_[a-z]+>"
    r"|[a-z]+_token>|</?sys>>)"
    r"|\[(?=/?(?:inst|system_prompt|available_tools|tool_calls|tool_results|tool_content|think"
    r"|args|call_id|img)\])",
    re.IGNORECASE,
)


class RemoteResponder:
    """Implements :class:`workers.generation.serving.Responder` with a server elsewhere.

    A base answers under ``settings.model``; an adapter over it under its own name, which is its
    path in the model store (vLLM: ``--lora-modules PATH=FOLDER``).
    """

    is_alive = True
    holds_weights = False

    def __init__(self, settings: RemoteSettings, base: str, persona: str) -> None:
        """Args:
        settings: where the server is.
        base: the model's name on the server unless the settings give one.
        persona: what the model is told of itself.

        Raises:
            ModelUnreadableError: the client is not installed.
        """
        self._settings = settings
        self._model = settings.model or base
        self._persona = persona
        self._client = _make_client(settings)
        self._running = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()

    def ask(self, ask: Ask) -> GenerationStream:
        """Begin an answer; what the server refuses comes as the stream's error."""
        model = ask.weights.store_path if ask.weights.base_path else self._model
        stream = GenerationStream(lambda: self._soon(cancel))
        answer = _Answer(
            self._client,
            model,
            ask,
            stream,
            self._messages(ask),
            is_extended=self._settings.is_extended,
        )
        future = asyncio.run_coroutine_threadsafe(self._follow(answer), self._loop)

        def cancel() -> None:
            answer.end(FinishReason.CANCELLED)
            future.cancel()

        return stream

    def describe(self) -> dict[str, str | int]:
        """Where the server is, never how to sign in."""
        return {"device": self._settings.url, "dtype": "remote", "running": self._running}

    def close(self) -> None:
        """End every answer."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _soon(self, call: Callable[[], None]) -> None:
        # A loop that is closed has ended every answer.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    async def _follow(self, answer: "_Answer") -> None:
        self._running += 1
        try:
            await answer.follow()
        finally:
            self._running -= 1

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _messages(self, ask: Ask) -> list[dict[str, str]]:
        turns = [Turn(u.role, clean_name(u.name), _defused(u.text)) for u in ask.utterances]
        room = self._settings.context_window
        tokens = room - min(ask.sampling.max_new_tokens, room // 2)
        system = [{"role": "system", "content": self._persona}] if self._persona else []
        kept = _newest(turns, tokens * _CHARACTERS_A_TOKEN - len(self._persona))
        return [*system, *messages_of(kept)]


class _Answer:
    """One answer on its way. Lives in the loop's thread."""

    def __init__(
        self,
        client: "AsyncOpenAI",
        model: str,
        ask: Ask,
        stream: GenerationStream,
        messages: list[dict[str, str]],
        *,
        is_extended: bool,
    ) -> None:
        self._is_extended = is_extended
        self._client = client
        self._model = model
        self._ask = ask
        self._stream = stream
        self._messages = messages
        first = ask.utterances[0]
        # A text to go on with is no conversation.
        self._text = _defused(first.text) if first.role == TEXT else None
        self._tokens = 0
        self._is_ended = False

    async def follow(self) -> None:
        """Pass the server's words on until a last chunk has said how it ended."""
        try:
            async with asyncio.timeout(self._ask.standing.max_seconds):
                finish = await self._read()
        except TimeoutError:
            finish = FinishReason.DEADLINE
        except asyncio.CancelledError:
            # Who cancelled the answer itself has ended it already.
            self.end(FinishReason.ERROR, GenerationFailedError("The engine is closed."))
            raise
        except PerroquetError as exc:
            self.end(FinishReason.ERROR, exc)
            return
        except Exception as exc:
            log.exception("remote_answer_failed", request_id=self._ask.request_id)
            self.end(FinishReason.ERROR, GenerationFailedError(f"{type(exc).__name__}."))
            return
        self.end(finish)

    def end(self, finish: FinishReason, error: PerroquetError | None = None) -> None:
        """Say how it ended; only the first time counts."""
        if self._is_ended:
            return
        self._is_ended = True
        self._stream.put(Chunk("", self._tokens, finish, error))

    async def _read(self) -> FinishReason:
        import openai

        while True:
            try:
                return await self._read_once()
            except openai.BadRequestError as exc:
                if self._tokens or not _TOO_LONG.search(exc.message) or not self._shorten():
                    raise GenerationFailedError("The model server refused the request.") from exc
            except openai.NotFoundError as exc:
                raise ModelUnreadableError(
                    f"The model server has no model “{self._model}”.", model=self._model
                ) from exc
            except (openai.AuthenticationError, openai.PermissionDeniedError) as exc:
                raise ServiceUnavailableError(
                    "The model server refuses the key; check generation.remotes.",
                    service="model server",
                ) from exc
            except openai.APIError as exc:
                raise ServiceUnavailableError(
                    f"The model server cannot answer ({type(exc).__name__}).",
                    service="model server",
                ) from exc

    def _shorten(self) -> bool:
        """Leave out the older half of the conversation; False where only the question is left."""
        system = [m for m in self._messages if m["role"] == "system"]
        said = self._messages[len(system) :]
        if self._text is not None or len(said) < 2:
            return False
        kept = said[(len(said) + 1) // 2 :]
        # Roles alternate, and the last message is the user's.
        self._messages = [*system, *(kept if kept[0]["role"] == "user" else kept[1:])]
        return True

    async def _read_once(self) -> FinishReason:
        # The client's types are one class for each role; these are plain JSON.
        if self._text is None:
            create: Any = self._client.chat.completions.create
            given: dict[str, Any] = {"messages": self._messages}
        else:
            create, given = self._client.completions.create, {"prompt": self._text}
        response = await create(model=self._model, stream=True, **given, **self._options())
        finish: str | None = None
        async with response:
            async for event in response:
                for choice in event.choices:
                    text = (choice.delta.content if self._text is None else choice.text) or ""
                    logprobs = self._logprobs_of(choice.logprobs)
                    # A token that is no whole character has no text yet.
                    if text or logprobs:
                        # Servers send a token an event, or a few where they are hurried.
                        self._tokens += max(1, len(logprobs))
                        self._stream.put(Chunk(text, self._tokens, logprobs=logprobs))
                    finish = choice.finish_reason or finish
        if finish is None or finish in _BROKEN_OFF:
            raise GenerationFailedError("The model server broke off its answer.")
        return FinishReason.LENGTH if finish == "length" else FinishReason.STOP

    def _logprobs_of(self, said: Any) -> tuple[TokenLogprobs, ...]:
        """A conversation's tokens come as objects, a text's as columns."""
        most = self._ask.sampling.logprobs
        if said is None or most is None:
            return ()
        if self._text is None:
            return tuple(
                TokenLogprobs(
                    token.token,
                    token.logprob,
                    _likeliest(((o.token, o.logprob) for o in token.top_logprobs or ()), most),
                )
                for token in said.content or ()
            )
        tokens = said.tokens or []
        others = said.top_logprobs or [None] * len(tokens)
        return tuple(
            TokenLogprobs(token, value, _likeliest((beside or {}).items(), most))
            for token, value, beside in zip(tokens, said.token_logprobs or (), others, strict=True)
        )

    def _options(self) -> dict[str, Any]:
        sampling = self._ask.sampling
        options: dict[str, Any] = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            options["seed"] = sampling.seed
        if sampling.presence_penalty:
            options["presence_penalty"] = sampling.presence_penalty
        if sampling.logprobs is not None and self._text is not None:
            options["logprobs"] = sampling.logprobs
        elif sampling.logprobs is not None:
            options |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if stops := [stop for stop in sampling.stop if stop]:
            options["stop"] = stops
        if self._is_extended and (beyond := _beyond(sampling)):
            options["extra_body"] = beyond
        return options


def _beyond(sampling: Sampling) -> dict[str, Any]:
    """What OpenAI's own server does not know, where it differs from what is usual."""
    options: dict[str, tuple[Any, Any]] = {
        "top_k": (sampling.top_k, 0),
        "min_p": (sampling.min_p, 0.0),
        "min_tokens": (sampling.min_new_tokens, 0),
        "repetition_penalty": (sampling.repetition_penalty, 1.0),
    }
    return {name: value for name, (value, usual) in options.items() if value != usual}


def _likeliest(others: Iterable[tuple[str, float]], most: int) -> tuple[tuple[str, float], ...]:
    """Some servers put the chosen token first, or beside as many others as were asked for."""
    return tuple(sorted(others, key=lambda other: other[1], reverse=True)[:most])


def _make_client(settings: RemoteSettings) -> "AsyncOpenAI":
    try:
        from openai import AsyncOpenAI, Timeout
    except ImportError as exc:
        raise ModelUnreadableError(
            "A model is set to answer from a server; install perroquet[remote] for that."
        ) from exc
    return AsyncOpenAI(
        base_url=settings.url,
        # The client insists on a key; servers without one ignore it.
        api_key=settings.api_key.get_secret_value() or "none",
        timeout=Timeout(settings.silence_seconds, connect=_CONNECT_SECONDS),
        max_retries=_RETRIES,
    )


def _newest(turns: list[Turn], characters: int) -> list[Turn]:
    """The newest turns of so many characters, at least the last; its end where it is too long."""
    *_, last = turns
    kept = [Turn(last.role, last.name, last.text[-max(1, characters) :])]
    for turn in reversed(turns[:-1]):
        characters -= len(kept[0].text)
        if len(turn.text) > characters:
            break
        kept.insert(0, turn)
    return kept


def _defused(text: str) -> str:
    """A member's words in which nothing is a control token any more."""
    return _CONTROL.sub(lambda found: found.group() + " ", text)
