"""Who runs in the next step. Plain Python on integers: no torch, no text, no clock.

Continuous batching after Yu et al., *Orca* (OSDI 2022), with chunked prefill after Agrawal et al.,
*Sarathi-Serve* (OSDI 2024): each step decodes one token for every running sequence and spends what
is left of its token budget on prompts, so that a long prompt never stalls running answers.
Preemption by recompute after Kwon et al., *PagedAttention* (SOSP 2023), section 4.5.
"""

from collections import OrderedDict
from collections.abc import Iterable

from workers.generation.sequences import Sequence, Work
from workers.generation.waiting import WaitingRoom


class Scheduler:
    """Keeps waiting and running sequences within the bounds of batch, cache and step.

    A sequence is given room for what is known of it, not for all that it might become, so more run
    at once; where they outgrow the cache, the youngest of the least urgent gives its room back and
    is computed anew later.

    Invariants: at most ``max_batch_size`` run; once ``make_room`` was called, the room of those
    that run never exceeds the capacity, unless one runs alone; a step never holds more than
    ``step_max_tokens`` tokens; the oldest of the most urgent is never preempted; who was preempted
    comes back before anybody new joins; who runs gets a turn in each step if it decodes, and the
    oldest prompt gets at least half of what is left of the step.
    """

    def __init__(
        self,
        max_batch_size: int,
        cache_max_tokens: int,
        step_max_tokens: int,
        block_tokens: int = 1,
    ) -> None:
        """Args:
        max_batch_size: sequences that run at a time.
        cache_max_tokens: the cache's capacity.
        step_max_tokens: tokens in a step.
        block_tokens: the cache gives room in multiples of this.
        """
        self._max_batch_size = max_batch_size
        self._cache_max_tokens = cache_max_tokens
        self._capacity_tokens = cache_max_tokens
        self._step_max_tokens = max(step_max_tokens, max_batch_size)
        self._step_tokens = self._step_max_tokens
        self._block_tokens = block_tokens
        self._waiting = WaitingRoom()
        self._preempted: dict[int, Sequence] = {}
        self._running: OrderedDict[int, Sequence] = OrderedDict()
        # Of those who run; kept, since it is asked for several times a step.
        self._reserved_tokens = 0
        self.preemptions = 0

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait, those among them that were preempted."""
        return len(self._waiting) + len(self._preempted)

    @property
    def capacity_tokens(self) -> int:
        """The room in the cache that may be given out at present."""
        return self._capacity_tokens

    @property
    def reserved_tokens(self) -> int:
        """The room in the cache that those who run were given."""
        return self._reserved_tokens

    @property
    def is_overfull(self) -> bool:
        """Whether somebody will have to give its room back."""
        return self._reserved_tokens > self._capacity_tokens and len(self._running) > 1

    def room_tokens(self, sequence_id: int) -> int:
        """The room in the cache that one of those who run was given."""
        return self._room(self._running[sequence_id])

    def fits(self, max_total_tokens: int) -> bool:
        """Whether a sequence of this length could ever run."""
        return max_total_tokens <= self._cache_max_tokens

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn; it must fit."""
        assert self.fits(sequence.max_total_tokens)  # noqa: S101 - our own invariant
        self._waiting.add(sequence)

    def remove(self, sequence_id: int) -> int:
        """Forget a sequence, wherever it is; returns how many of its tokens are in the cache."""
        if self._waiting.remove(sequence_id) is not None:
            return 0
        sequence = self._preempted.pop(sequence_id, None)
        if sequence is None:
            sequence = self._running.pop(sequence_id, None)
            if sequence is None:
                return 0
            self._reserved_tokens -= self._room(sequence)
        self._waiting.refund(sequence.flow, sequence.max_total_tokens - sequence.known_tokens)
        return sequence.computed_tokens

    def expire(self, now: float) -> list[int]:
        """Whose deadline has passed; the caller removes them."""
        everybody = (
            *self._running.values(),
            *self._preempted.values(),
            *self._waiting.sequences(),
        )
        return [sequence.sequence_id for sequence in everybody if sequence.deadline <= now]

    def make_room(self) -> list[Sequence]:
        """Preempt until those who run fit; returns whose keys and values must be dropped."""
        leaving = []
        while self.is_overfull:
            victim = max(self._running.values(), key=lambda sequence: sequence.rank)
            self._preempt(victim)
            leaving.append(victim)
        return leaving

    def admit(self) -> list[Sequence]:
        """Let those who wait join while there is room; returns who joined.

        The caller may then raise their ``computed_tokens``, up to one less than is known.
        """
        joined: list[Sequence] = []
        while len(self._running) < self._max_batch_size:
            sequence = self._next()
            # Whose turn it is is never passed over, or a long prompt would wait for ever.
            if sequence is None or not self._has_room(sequence):
                break
            if self._preempted.pop(sequence.sequence_id, None) is None:
                self._waiting.take()
            self._running[sequence.sequence_id] = sequence
            self._reserved_tokens += self._room(sequence)
            joined.append(sequence)
        return joined

    def plan(self) -> list[Work]:
        """What the next step computes for those who run; empty where nobody does."""
        work, filling = [], []
        for sequence in self._running.values():
            missing = sequence.known_tokens - sequence.computed_tokens
            if missing == 1:
                work.append(
                    Work(sequence.sequence_id, sequence.computed_tokens, 1, is_sampling=True)
                )
            elif missing:
                filling.append(sequence)
        return work + self._fill(filling, self._step_tokens - len(work))

    def computed(self, work: Iterable[Work]) -> None:
        """Note that pieces of work are done; the caller says itself who has a token more."""
        running = self._running
        for number, start, count, _ in work:
            running[number].computed_tokens = start + count

    def sampled(self, sequence_ids: Iterable[int]) -> None:
        """Note that these have one token more each, which is to be computed next."""
        running, block = self._running, self._block_tokens
        for number in sequence_ids:
            sequence = running[number]
            if sequence.known_tokens % block:
                sequence.known_tokens += 1
                continue
            before = self._room(sequence)
            sequence.known_tokens += 1
            self._reserved_tokens += self._room(sequence) - before

    def shrink(self) -> None:
        """The device had no room for what runs: give out an eighth less than that from now on."""
        self._capacity_tokens = max(1, self.reserved_tokens * 7 // 8)

    def shorten_steps(self, tokens: int) -> bool:
        """The device had no room for a step of so many tokens: compute half as many from now on.
        False where each of a full batch would not get one."""
        shorter = max(self._max_batch_size, tokens // 2)
        if shorter >= tokens:
            return False
        self._step_tokens = min(self._step_tokens, shorter)
        return True

    def recover(self) -> None:
        """A step went well: dare a little more again, up to what was configured."""
        if self._step_tokens < self._step_max_tokens:
            more = max(1, self._step_max_tokens // 64)
            self._step_tokens = min(self._step_max_tokens, self._step_tokens + more)
        if self._capacity_tokens < self._cache_max_tokens:
            more = max(1, self._cache_max_tokens // 1024)
            self._capacity_tokens = min(self._cache_max_tokens, self._capacity_tokens + more)

    def _fill(self, filling: list[Sequence], budget: int) -> list[Work]:
        """Share a step among prompts.

        The oldest gets at least half, so that it is never starved; the rest goes to those that
        miss the least, which brings first words soonest (shortest remaining time first).
        """
        if not filling or budget <= 0:
            return []
        oldest = min(filling, key=lambda sequence: sequence.rank)
        shares = {oldest.sequence_id: min(oldest.missing_tokens, -(-budget // 2))}
        budget -= shares[oldest.sequence_id]
        for sequence in sorted(filling, key=lambda s: (s.missing_tokens, s.rank)):
            share = shares.get(sequence.sequence_id, 0)
            more = min(sequence.missing_tokens - share, budget)
            if share + more:
                shares[sequence.sequence_id] = share + more
            budget -= more
        return [
            Work(
                number,
                self._running[number].computed_tokens,
                count,
                is_sampling=count == self._running[number].missing_tokens,
            )
            for number, count in shares.items()
        ]

    def _next(self) -> Sequence | None:
        if self._preempted:
            return min(self._preempted.values(), key=lambda sequence: sequence.rank)
        return self._waiting.first()

    def _has_room(self, sequence: Sequence) -> bool:
        """Those who run keep a block each to grow into, or they would be preempted at once."""
        if not self._running:
            return True
        growth = self._block_tokens * (len(self._running) + 1)
        room = self._reserved_tokens + self._room(sequence) + growth
        return room <= self._capacity_tokens

    def _preempt(self, sequence: Sequence) -> None:
        del self._running[sequence.sequence_id]
        self._reserved_tokens -= self._room(sequence)
        sequence.computed_tokens = 0
        self._preempted[sequence.sequence_id] = sequence
        self.preemptions += 1

    def _room(self, sequence: Sequence) -> int:
        return sequence.room_tokens(self._block_tokens)
