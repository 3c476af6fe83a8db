"""Who runs in the next step. Plain Python on integers: no torch, no text.

Continuous batching after Yu et al., *Orca* (OSDI 2022), with chunked prefill after Agrawal et al.,
*Sarathi-Serve* (OSDI 2024): each step decodes one token for every running sequence and spends what
is left of its token budget on prompts, so that a long prompt never stalls running answers.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass
class Sequence:
    """A request in integers.

    Attributes:
        prompt_tokens: length of the prompt.
        max_total_tokens: prompt and answer together, the room it is given in the cache.
        computed_tokens: tokens whose keys and values are in the cache.
        known_tokens: prompt and answer so far; at least one is always still to be computed.
    """

    sequence_id: int
    prompt_tokens: int
    max_total_tokens: int
    computed_tokens: int = 0
    known_tokens: int = 0

    def __post_init__(self) -> None:
        self.known_tokens = self.known_tokens or self.prompt_tokens


@dataclass(frozen=True)
class Work:
    """``count`` tokens of a sequence to compute from position ``start``.

    ``is_sampling``: they reach the newest token, so the next one can be chosen.
    """

    sequence_id: int
    start: int
    count: int
    is_sampling: bool


class Scheduler:
    """Keeps waiting and running sequences within the bounds of batch, cache and step.

    Invariants: at most ``max_batch_size`` run; the room of those that run never exceeds
    ``cache_max_tokens``; a step never holds more than ``step_max_tokens`` tokens; who waits longest
    joins first, and who runs gets at least one token's turn in each step.
    """

    def __init__(self, max_batch_size: int, cache_max_tokens: int, step_max_tokens: int) -> None:
        self._max_batch_size = max_batch_size
        self._cache_max_tokens = cache_max_tokens
        self._step_max_tokens = max(step_max_tokens, max_batch_size)
        self._waiting: OrderedDict[int, Sequence] = OrderedDict()
        self._running: OrderedDict[int, Sequence] = OrderedDict()

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def reserved_tokens(self) -> int:
        """The room in the cache that those who run were given."""
        return sum(sequence.max_total_tokens for sequence in self._running.values())

    def fits(self, max_total_tokens: int) -> bool:
        """Whether a sequence of this length could ever run."""
        return max_total_tokens <= self._cache_max_tokens

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn; it must fit."""
        assert self.fits(sequence.max_total_tokens)  # noqa: S101 - our own invariant
        self._waiting[sequence.sequence_id] = sequence

    def remove(self, sequence_id: int) -> int:
        """Forget a sequence, whether it waits or runs; returns how many tokens were computed."""
        waiting = self._waiting.pop(sequence_id, None)
        sequence = self._running.pop(sequence_id, waiting)
        return sequence.computed_tokens if sequence else 0

    def plan(self) -> list[Work]:
        """Admit who may join, and say what the next step computes; empty where nobody is there."""
        self.admit()
        budget = self._step_max_tokens
        decoding = [s for s in self._running.values() if s.known_tokens - s.computed_tokens == 1]
        filling = [s for s in self._running.values() if s.known_tokens - s.computed_tokens > 1]
        work = [Work(s.sequence_id, s.computed_tokens, 1, is_sampling=True) for s in decoding]
        budget -= len(work)
        for sequence in filling:
            missing = sequence.known_tokens - sequence.computed_tokens
            count = min(missing, budget)
            if count <= 0:
                break
            work.append(
                Work(sequence.sequence_id, sequence.computed_tokens, count, count == missing)
            )
            budget -= count
        return work

    def computed(self, work: Work) -> None:
        """Note that a piece of work is done; the caller appends the sampled token itself."""
        sequence = self._running[work.sequence_id]
        sequence.computed_tokens = work.start + work.count

    def sampled(self, sequence_id: int) -> None:
        """Note that a sequence has one token more, which is to be computed next."""
        self._running[sequence_id].known_tokens += 1

    def admit(self) -> list[Sequence]:
        """Let those who wait join while there is room; returns who joined.

        The caller may then raise their ``computed_tokens``, up to one less than the prompt.
        """
        joined: list[Sequence] = []
        reserved = self.reserved_tokens
        while self._waiting and len(self._running) < self._max_batch_size:
            sequence = next(iter(self._waiting.values()))
            # The oldest is never passed over, or a long prompt would wait for ever.
            if reserved + sequence.max_total_tokens > self._cache_max_tokens:
                break
            self._waiting.pop(sequence.sequence_id)
            self._running[sequence.sequence_id] = sequence
            reserved += sequence.max_total_tokens
            joined.append(sequence)
        return joined
