"""How an answer takes its place among those who run, and leaves it."""

import heapq
from collections.abc import Iterable, Mapping

import structlog
import torch

from workers.generation.adapter_bank import AdapterBank
from workers.generation.adapters import LoraAdapter
from workers.generation.answer import Answer
from workers.generation.attention import KeyValueCache
from workers.generation.device import Runner, Span
from workers.generation.memory import is_out_of_memory
from workers.generation.prefixes import PrefixShelf
from workers.generation.scheduler import Scheduler
from workers.generation.sequences import Work

log = structlog.get_logger(__name__)

# Of the room that nobody needs, for what is only kept.
_KEPT_EIGHTHS = 6


def spans_of(
    work: Iterable[Work], answers: Mapping[int, Answer], scheduler: Scheduler
) -> list[Span]:
    """What a runner is to compute; each cache gets the room for it.

    Raises:
        RuntimeError: the device has no room.
    """
    spans = []
    for number, start, count, is_sampling in work:
        answer = answers[number]
        cache, seat = answer.cache, answer.seat
        assert cache is not None  # noqa: S101 - who runs has one
        assert seat is not None  # noqa: S101 - and this too
        end = start + count
        if end > cache.reserved_tokens:
            cache.reserve(scheduler.room_tokens(number))
        spans.append(
            Span(
                cache,
                answer.token_ids[start:end],
                start,
                is_sampling,
                answer.sampling,
                answer.launched,
                seat,
                answer.adapter,
            )
        )
    return spans


class Seating:
    """Gives each who runs a seat, a slot for its adapter and what is kept of its beginning.

    Used by the engine's thread alone.
    """

    def __init__(
        self, runner: Runner, bank: AdapterBank, prefixes: PrefixShelf, max_batch_size: int
    ) -> None:
        self._runner = runner
        self._bank = bank
        self._prefixes = prefixes
        runner.yields(prefixes.drop_one)
        # The lowest first, so that seats in use lie close together.
        self._free = list(range(max_batch_size))

    def take(self, answer: Answer) -> int:
        """Let an answer begin.

        Returns:
            How many of its tokens need not be computed.

        Raises:
            RuntimeError: the device has no room for its adapter; or MemoryError.
        """
        if answer.adapter is not None:
            self._bring(answer.adapter)
        answer.seat = heapq.heappop(self._free)
        answer.cache, reused = self._begin(answer)
        return reused

    def leave(self, answer: Answer) -> None:
        """Free its seat, if it has one; its cache is whoever's who keeps it."""
        if answer.seat is None:
            return
        heapq.heappush(self._free, answer.seat)
        answer.seat = None
        if answer.adapter is not None:
            self._bank.leave(answer.adapter)

    def keep_within(self, tokens: int) -> None:
        """Let go of what is kept beyond the room that nobody needs.

        Where all lie in one piece of memory, some of it stays free: stretches that are given back
        then join others, and nothing has to move.
        """
        self._prefixes.shrink(tokens * _KEPT_EIGHTHS // 8 if self._runner.is_ahead else tokens)

    def make_do_with_less(self, scheduler: Scheduler, tokens: int) -> bool:
        """Let go of what is only kept and compute less at a time than these ``tokens``, then let go
        of the youngest answers' room; False where nothing is left to let go of. What was to be
        computed is planned anew."""
        is_shorter = scheduler.shorten_steps(tokens)
        if not (is_shorter or self._prefixes.held_tokens):
            if scheduler.running < 2:
                return False
            scheduler.shrink()
        log.warning(
            "device_out_of_memory",
            running=scheduler.running,
            capacity_tokens=scheduler.capacity_tokens,
        )
        self.drop_kept()
        return True

    def drop_kept(self) -> None:
        """Give back what is only kept: of those who ended, and what the runner can make anew."""
        self._prefixes.shrink(0)
        self._runner.spare()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _begin(self, answer: Answer) -> tuple[KeyValueCache, int]:
        """A cache with what is kept of an answer's beginning, and how many tokens that is."""
        cache = self._runner.new_cache(answer.max_tokens)
        try:
            return cache, self._prefixes.fill(cache, answer.token_ids, answer.owner)
        except torch.AcceleratorError:
            raise
        except (RuntimeError, MemoryError):
            # The device has no room for the copy; then nothing is kept and all is computed.
            self._prefixes.shrink(0)
            return self._runner.new_cache(answer.max_tokens), 0

    def _bring(self, adapter: LoraAdapter) -> None:
        """Where the device has no room, what is only kept of ended answers yields it."""
        try:
            self._bank.enter(adapter)
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            self.drop_kept()
            self._bank.enter(adapter)
