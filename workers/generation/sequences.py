"""A request in integers, and the work that a step does for it."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(eq=False)
class Sequence:
    """A request in integers.

    Attributes:
        prompt_tokens: length of the prompt.
        max_total_tokens: prompt and answer together, the most it may come to hold in the cache.
        flow: whose request it is; turns are taken among flows (a guild is one).
        priority: of two of a flow, the lower goes first.
        deadline: when it must have ended, on the clock that ``Scheduler.expire`` is told.
        computed_tokens: tokens whose keys and values are in the cache.
        known_tokens: prompt and answer so far; at least one is always still to be computed.
        overtakes: how many of its flow came later and went first.
    """

    sequence_id: int
    prompt_tokens: int
    max_total_tokens: int
    flow: Hashable = None
    priority: int = 0
    deadline: float = math.inf
    computed_tokens: int = 0
    known_tokens: int = field(default=0)
    overtakes: int = 0

    def __post_init__(self) -> None:
        self.known_tokens = self.known_tokens or self.prompt_tokens

    @property
    def missing_tokens(self) -> int:
        """Tokens that are known and not computed."""
        return self.known_tokens - self.computed_tokens

    @property
    def rank(self) -> tuple[int, int]:
        """Orders sequences: the more urgent first, and of these the older."""
        return self.priority, self.sequence_id

    @property
    def cost_tokens(self) -> int:
        """What its flow is charged when it begins: all that it may come to need."""
        return self.max_total_tokens

    def room_tokens(self, block_tokens: int) -> int:
        """The room in the cache for all that is known of it, in whole blocks."""
        return min(-(-self.known_tokens // block_tokens) * block_tokens, self.max_total_tokens)


class Work(NamedTuple):
    """``count`` tokens of a sequence to compute from position ``start``.

    ``is_sampling``: they reach the newest token, so the next one can be chosen.
    """

    sequence_id: int
    start: int
    count: int  # type: ignore[assignment]  # of no use in a tuple of unlike fields
    is_sampling: bool
