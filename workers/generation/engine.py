"""Continuous batching on one device: one thread, one step at a time, many requests in each."""

import itertools
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
import torch

from core.errors import PerroquetError
from workers.generation.adapter_bank import AdapterBank
from workers.generation.answer import Answer, begin, keep_reports, translate
from workers.generation.checking import check_request
from workers.generation.device import Flight
from workers.generation.loading import LoadedModel
from workers.generation.memory import is_out_of_memory
from workers.generation.prefixes import PrefixShelf
from workers.generation.protocol import (
    Chunk,
    EngineLostError,
    EngineStats,
    FinishReason,
    GenerationFailedError,
    GenerationRequest,
    GenerationStream,
)
from workers.generation.runners import choose_runner, ignore, nothing_is_left, working_on
from workers.generation.scheduler import Scheduler
from workers.generation.seating import Seating, spans_of
from workers.generation.sequences import Sequence, Work

log = structlog.get_logger(__name__)

# A cache grows by this many tokens at a time, and is copied then.
_BLOCK_TOKENS = 64
# Text is made of one token more at a time for so many answers, up to so many tokens.
_ROWS_PER_TOKEN, _TEXT_EVERY = 32, 8
# Deadlines are looked at so often.
_EXPIRING_SECONDS = 0.02
# A step of a processor must be short enough for answers to flow; one of a GPU is, however long.
_CPU_STEP_TOKENS, _GPU_STEP_TOKENS = 384, 8192


class ContinuousBatchingEngine:
    """Implements :class:`workers.generation.protocol.Engine` with a model of this process.

    Guarantees: a request's greedy text is what it would be alone; a request that breaks a step ends
    alone, with an error, and its neighbours go on; ``cancel`` takes effect before the next step.
    Not guaranteed: bitwise equal logits in different batches. How a prompt is parted rounds its
    attention by the last bit, and some devices' products depend on the batch's shape.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_batch_size: int = 16,
        cache_max_tokens: int = 32_768,
        step_max_tokens: int | None = None,
        cache_memory_share: float = 0.5,
        is_resident: bool | None = None,
        on_device_lost: Callable[[Exception], None] = ignore,
    ) -> None:
        """Args:
        loaded: the model.
        max_batch_size: answers in one step.
        cache_max_tokens: room for keys and values of all running answers.
        step_max_tokens: tokens computed in one step; None for what suits the device.
        cache_memory_share: of a GPU's memory that is free now, which the room may take.
        is_resident: whether the device keeps everything and steps overlap; None where it is a GPU.
        on_device_lost: called in the engine's thread when the device is broken for this process.
        """
        self._on_device_lost = on_device_lost
        self._loaded = loaded
        self._end_ids = loaded.end_ids
        self._vocabulary = int(loaded.model.config.get_text_config().vocab_size)
        self._prefixes = PrefixShelf()
        self._bank = AdapterBank(loaded.model, loaded.device, max_batch_size)
        self._reused_tokens = 0
        is_gpu = loaded.device.type == "cuda"
        self._runner = choose_runner(
            loaded,
            self._bank,
            is_resident=is_gpu if is_resident is None else is_resident,
            max_batch_size=max_batch_size,
            max_tokens=cache_max_tokens,
            memory_share=cache_memory_share,
            on_device_lost=on_device_lost,
        )
        capacity = self._runner.capacity_tokens or cache_max_tokens
        self.context_window = min(loaded.context_window, capacity)
        """Tokens that it can see: the model's, unless there is no room for as many."""
        self._seating = Seating(self._runner, self._bank, self._prefixes, max_batch_size)
        self._scheduler = Scheduler(
            max_batch_size,
            capacity,
            step_max_tokens or (_GPU_STEP_TOKENS if is_gpu else _CPU_STEP_TOKENS),
            _BLOCK_TOKENS,
        )
        # Steps that were launched and whose tokens nobody has seen.
        self._flight: tuple[Flight, list[Work]] | None = None
        self._answers: dict[int, Answer] = {}
        self._numbers = itertools.count()
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Held while a request is queued, so that none is queued after the last look.
        self._gate = threading.Lock()
        self._is_closed = False
        self._is_lost = False
        self._expiring_at, self._text_every = 0.0, 1
        self._steps = 0
        self._generated_tokens = 0
        self._publish_stats()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest) -> GenerationStream:
        """Queue a request.

        Raises:
            InvalidInputError: the prompt is empty, too long, or holds an id out of range.
            GenerationFailedError: the engine is closed.
            EngineLostError: it broke down.
        """
        max_new_tokens = self._check(request)
        number = next(self._numbers)
        cancel = partial(self._finish, number, FinishReason.CANCELLED)
        stream = GenerationStream(lambda: self._commands.put(cancel))
        if max_new_tokens == 0:
            stream.put(Chunk("", 0, FinishReason.LENGTH))
            return stream
        answer = begin(
            request, stream, self._loaded.tokenizer.backend_tokenizer, max_new_tokens, self._end_ids
        )
        sequence = answer.sequence(number, time.monotonic())
        with self._gate:
            self._refuse_if_closed()
            self._commands.put(lambda: self._join(answer, sequence))
        return stream

    def stats(self) -> EngineStats:
        """How busy it is; the numbers of a moment."""
        return self._stats

    @property
    def is_alive(self) -> bool:
        """Whether it takes requests."""
        return not self._is_closed

    def close(self) -> None:
        """End every answer with an error and free what is held."""
        self._is_closed = True
        self._commands.put(lambda: None)
        self._thread.join(30)
        self._bank.close()

    def _check(self, request: GenerationRequest) -> int:
        """How many tokens the answer may have; raises what ``submit`` raises."""
        self._refuse_if_closed()
        return check_request(
            request,
            context_window=self.context_window,
            vocabulary=self._vocabulary,
            fits=self._scheduler.fits,
        )

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise self._refusal()

    def _refusal(self) -> PerroquetError:
        if self._is_lost:
            return EngineLostError("The engine broke down.")
        return GenerationFailedError("The engine is closed.")

    def _join(self, answer: Answer, sequence: Sequence) -> None:
        self._answers[sequence.sequence_id] = answer
        self._scheduler.add(sequence)
        self._publish_stats()

    def _publish_stats(self) -> None:
        """Others read what was written here: what it is made of changes under their hands."""
        self._stats = EngineStats(
            self._scheduler.running,
            self._scheduler.waiting,
            self._scheduler.reserved_tokens,
            self._steps,
            self._generated_tokens,
            self._reused_tokens,
            self._scheduler.preemptions,
        )

    def _run(self) -> None:
        try:
            with working_on(self._loaded.device):
                self._loop()
        except torch.AcceleratorError as exc:
            self._on_device_lost(exc)
        finally:
            # Whatever ended the loop, nobody may wait for ever.
            with self._gate:
                self._is_lost, self._is_closed = not self._is_closed, True
            self._do_commands()
            for number in list(self._answers):
                self._fail(number, self._refusal())
            # What is kept and who keeps it know one another, and streams know the engine.
            self._flight = None
            self._prefixes.shrink(0)
            self._runner.yields(nothing_is_left)

    def _loop(self) -> None:
        while not self._is_closed:
            self._take_commands()
            self._expire(time.monotonic())
            if self._scheduler.is_overfull:
                # Who is computed anew must be known to its last token.
                self._settle()
            for sequence in self._scheduler.make_room():
                answer = self._answers[sequence.sequence_id]
                answer.cache = None
                self._seating.leave(answer)
            self._admit()
            self._publish_stats()
            work = self._scheduler.plan()
            if self._bank.in_use:
                work.sort(key=self._order_of)
            if work:
                self._step(work)
                self._steps += 1
            else:
                self._settle()

    def _expire(self, now: float) -> None:
        if now < self._expiring_at:
            return
        self._expiring_at = now + _EXPIRING_SECONDS
        for number in self._scheduler.expire(now):
            self._finish(number, FinishReason.DEADLINE)

    def _admit(self) -> None:
        """Let who waits join, with what is known of its prompt; kept prefixes yield the room."""
        for sequence in self._scheduler.admit():
            answer = self._answers[sequence.sequence_id]
            try:
                sequence.computed_tokens = self._seating.take(answer)
            except (RuntimeError, MemoryError) as exc:
                if isinstance(exc, torch.AcceleratorError):
                    raise
                self._fail(sequence.sequence_id, translate(exc))
                continue
            self._reused_tokens += sequence.computed_tokens
        scheduler = self._scheduler
        self._seating.keep_within(scheduler.capacity_tokens - scheduler.reserved_tokens)

    def _order_of(self, piece: Work) -> tuple[int, int]:
        return self._bank.order_of(self._answers[piece.sequence_id].adapter)

    def _take_commands(self) -> None:
        """Do what other threads asked for; wait for it where there is nothing else to do."""
        if not self._answers:
            self._commands.get()()
        self._do_commands()

    def _do_commands(self) -> None:
        while not self._commands.empty():
            self._commands.get()()

    def _step(self, work: list[Work]) -> None:
        """Launch a step, then see to what the one before has brought, while the device computes.

        Where the device is not ahead of us, the step lands at once.
        """
        launched = self._launch(work)
        self._settle()
        self._flight = launched
        if not self._runner.is_ahead:
            self._settle()

    def _launch(self, work: list[Work]) -> tuple[Flight, list[Work]] | None:
        """Begin to compute, and find the culprit where that fails.

        Nothing but the caches is changed before all is launched, and writing the same keys and
        values again is harmless, so after a failure each sequence is tried alone.
        """
        try:
            flight = self._runner.launch(spans_of(work, self._answers, self._scheduler))
        except torch.AcceleratorError:
            # The device's context is broken for good: no request of this process can go on. Running
            # out of memory is another error.
            raise
        except Exception as exc:  # noqa: BLE001 - the culprit is found, and gets the error
            # What is under way says who has ended meanwhile.
            self._settle()
            tokens = sum(piece[2] for piece in work)
            if is_out_of_memory(exc) and self._seating.make_do_with_less(self._scheduler, tokens):
                return None
            if len(work) == 1:
                self._fail(work[0].sequence_id, translate(exc))
                return None
            for piece in work:
                if piece.sequence_id in self._answers:
                    self._step([piece])
                    self._settle()
            return None
        return flight, self._launched(work)

    def _launched(self, work: list[Work]) -> list[Work]:
        """Note what is computed, or about to be; returns those for whom a token is chosen."""
        self._scheduler.recover()
        choosing, going_on = [], []
        for piece in work:
            if piece[3]:
                choosing.append(piece)
                answer = self._answers[piece[0]]
                answer.launched += 1
                # The last token of an answer is never computed itself.
                if answer.launched < answer.max_new_tokens:
                    going_on.append(piece[0])
        self._scheduler.computed(work)
        self._scheduler.sampled(going_on)
        return choosing

    def _settle(self) -> None:
        """Take in the tokens of the step under way, if there is one."""
        if self._flight is None:
            return
        (flight, work), self._flight = self._flight, None
        tokens = flight.land()
        keep_reports(flight.reports(), work, tokens, self._answers)
        if self._runner.is_ahead:
            # Many rows leave little time for each, and a few tokens take no longer than one.
            self._text_every = min(_TEXT_EVERY, 1 + len(tokens) // _ROWS_PER_TOKEN)
        answers, end_ids, every = self._answers, self._end_ids, self._text_every
        for piece, token in zip(work, tokens, strict=True):
            number = piece[0]
            answer = answers.get(number)
            # Who ended meanwhile has a token too much.
            if answer is None:
                continue
            nth = answer.generated + 1
            # Answers take turns, so that not all have text in the same step.
            is_text_due = nth >= answer.max_new_tokens or not (nth + number) % every
            if not (is_text_due or token is None or token in end_ids):
                answer.note(token)
                self._generated_tokens += 1
                continue
            try:
                self._accept(number, token)
            except Exception as exc:  # noqa: BLE001 - making text must harm nobody else
                self._fail(number, translate(exc))
        self._publish_stats()

    def _accept(self, number: int, token: int | None) -> None:
        if token is None:
            raise GenerationFailedError("The model's output is not a number.")
        answer = self._answers[number]
        self._generated_tokens += 1
        if token in self._end_ids:
            answer.note_end(token)
            self._finish(number, FinishReason.STOP)
            return
        answer.note(token)
        text = answer.read()
        if answer.text.is_stopped:
            self._finish(number, FinishReason.STOP, text)
        elif answer.generated >= answer.max_new_tokens:
            self._finish(number, FinishReason.LENGTH, text)
        elif text:
            answer.stream.put(answer.chunk(text))

    def _finish(self, number: int, reason: FinishReason, text: str = "") -> None:
        answer = self._answers.get(number)
        if answer is None:
            return
        try:
            text += answer.read()
            text += answer.text.flush()
        except Exception as exc:  # noqa: BLE001 - turning ids into text must harm nobody else
            self._fail(number, translate(exc))
            return
        if answer.text.is_stopped:
            reason = FinishReason.STOP
        del self._answers[number]
        self._seating.leave(answer)
        computed = self._scheduler.remove(number)
        if answer.cache is not None:
            self._prefixes.put(answer.token_ids[:computed], answer.cache, answer.owner)
        self._publish_stats()
        answer.stream.put(answer.chunk(text, reason))

    def _fail(self, number: int, error: PerroquetError) -> None:
        answer = self._answers.pop(number, None)
        if answer is None:
            return
        self._seating.leave(answer)
        self._scheduler.remove(number)
        self._publish_stats()
        answer.stream.put(answer.chunk("", FinishReason.ERROR, error))
