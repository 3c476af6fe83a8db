"""Who of those who wait comes next: fair among guilds, by priority within one. Plain Python."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from workers.generation.sequences import Sequence

# So many later ones may pass somebody who waits; then it is that one's turn, whatever its priority.
MAX_OVERTAKES = 8


@dataclass
class _Flow:
    """A guild's queue, oldest first, and the tokens that its account holds."""

    queue: list[Sequence] = field(default_factory=list)
    balance: int = 0

    def first(self) -> Sequence:
        oldest = self.queue[0]
        if oldest.overtakes >= MAX_OVERTAKES:
            return oldest
        return min(self.queue, key=lambda sequence: sequence.rank)

    def take(self, sequence: Sequence) -> None:
        position = self.queue.index(sequence)
        for older in self.queue[:position]:
            older.overtakes += 1
        del self.queue[position]


class WaitingRoom:
    """Deficit round robin after Shreedhar and Varghese (SIGCOMM 1995), counted in tokens.

    Guilds take turns; a turn puts ``quantum_tokens`` on the guild's account, and its first may
    leave once the account covers prompt and answer. A guild that asks for much thus waits for
    itself and not others for it. What an answer did not need is given back with ``refund``.

    Invariants: nobody is overtaken by more than ``MAX_OVERTAKES`` of its own guild; who was found
    to be first stays first until it is taken or removed, so the large are never passed over.
    """

    def __init__(self, quantum_tokens: int = 64) -> None:
        self._quantum_tokens = quantum_tokens
        self._flows: OrderedDict[Hashable, _Flow] = OrderedDict()
        self._chosen: Sequence | None = None

    def __len__(self) -> int:
        return sum(len(flow.queue) for flow in self._flows.values())

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait."""
        if sequence.flow not in self._flows:
            # Who comes first of all begins with a turn.
            balance = 0 if self._flows else self._quantum_tokens
            self._flows[sequence.flow] = _Flow(balance=balance)
        self._flows[sequence.flow].queue.append(sequence)

    def remove(self, sequence_id: int) -> Sequence | None:
        """Forget a sequence; returns it, or None where it does not wait."""
        for flow in self._flows.values():
            for sequence in flow.queue:
                if sequence.sequence_id == sequence_id:
                    flow.queue.remove(sequence)
                    self._leave(sequence)
                    return sequence
        return None

    def sequences(self) -> list[Sequence]:
        """All who wait, guild by guild."""
        return [sequence for flow in self._flows.values() for sequence in flow.queue]

    def first(self) -> Sequence | None:
        """Whose turn it is, or None where nobody waits."""
        if self._chosen is None and self._flows:
            self._chosen = self._choose()
        return self._chosen

    def take(self) -> Sequence:
        """Let the first go and charge its guild."""
        first = self.first()
        assert first is not None  # noqa: S101 - our own invariant
        flow = self._flows[first.flow]
        flow.take(first)
        flow.balance -= first.cost_tokens
        self._leave(first)
        return first

    def refund(self, flow: Hashable, tokens: int) -> None:
        """Give back what an answer of a guild was charged and did not use."""
        if flow in self._flows:
            self._flows[flow].balance += tokens

    def _leave(self, sequence: Sequence) -> None:
        if sequence is self._chosen:
            self._chosen = None
        if not self._flows[sequence.flow].queue:
            # Who asks for nothing saves nothing up.
            del self._flows[sequence.flow]

    def _choose(self) -> Sequence:
        # All rounds but the last in one stroke: nobody can afford to leave in them.
        rounds = min(self._rounds_missing(flow) for flow in self._flows.values())
        for flow in self._flows.values():
            flow.balance += max(0, rounds - 1) * self._quantum_tokens
        while True:
            name, flow = next(iter(self._flows.items()))
            if flow.balance >= flow.first().cost_tokens:
                return flow.first()
            self._flows.move_to_end(name)
            next(iter(self._flows.values())).balance += self._quantum_tokens

    def _rounds_missing(self, flow: _Flow) -> int:
        return -(-(flow.first().cost_tokens - flow.balance) // self._quantum_tokens)
