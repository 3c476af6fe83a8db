"""What the device and the host remember of those who run, by their seats."""

from collections.abc import Sequence

import numpy as np
import torch

from workers.generation.device import Span
from workers.generation.resident.choosing import (
    ANSWERED,
    COLUMNS,
    PENALISED,
    Choice,
    choice_of,
    parameters_of,
)
from workers.generation.sampling import SamplingState

_DICE, _IS_EARLY = COLUMNS.index("dice"), COLUMNS.index("is_early")


class Seats:
    """A place for each sequence of a batch; one more, ``nobody``, is for rows that fill up.

    Attributes:
        last: int64 ``[seats + 1]`` on the device, the token that was chosen last.
        seen: uint8 ``[seats + 1, vocabulary]`` on the device, see
            :func:`workers.generation.resident.choosing.choose`.
    """

    def __init__(self, count: int, vocabulary: int, device: torch.device) -> None:
        self.nobody = count
        self.last = torch.zeros(count + 1, dtype=torch.int64, device=device)
        self.seen = torch.zeros((count + 1, vocabulary), dtype=torch.uint8, device=device)
        self._holders: list[SamplingState | None] = [None] * (count + 1)
        # The position of the token in ``last``.
        self._positions = [-1] * (count + 1)
        self._choices = [Choice.GREEDY] * (count + 1)
        # Seats whose last holder was not served by the cheapest choice.
        self._needy: set[int] = set()
        self._parameters = np.zeros((count + 1, len(COLUMNS)), np.float32)
        self._parameters[:, COLUMNS.index("repetition_penalty")] = 1.0

    def welcome(self, spans: Sequence[Span]) -> None:
        """Take in those who were not here before."""
        holders = self._holders
        for span in spans:
            if holders[span.seat] is not span.state:
                self._take_in(span)

    def is_decoding(self, spans: Sequence[Span]) -> bool:
        """Whether every span is the one token that was chosen last for it."""
        positions = self._positions
        for _, token_ids, position, is_sampling, _, _, seat, _ in spans:
            if not is_sampling or position != positions[seat] or len(token_ids) > 1:
                return False
        return True

    def launched(self, spans: Sequence[Span]) -> None:
        """Note where each is once the step is done."""
        positions = self._positions
        for _, token_ids, position, is_sampling, _, _, seat, _ in spans:
            positions[seat] = position + (len(token_ids) or 1) if is_sampling else -1

    def forget(self, spans: Sequence[Span]) -> None:
        """A step failed, and what it has written of these is not known: they are taken in anew,
        with what the host knows."""
        for span in spans:
            self._positions[span.seat] = -1
            self._holders[span.seat] = None

    def choice(self, spans: Sequence[Span]) -> Choice:
        """What the neediest of these needs."""
        if not self._needy:
            return Choice.GREEDY
        return max((self._choices[span.seat] for span in spans), default=Choice.GREEDY)

    def write_parameters(self, spans: Sequence[Span], target: np.ndarray) -> None:
        """The parameters of each row, its dice among them."""
        target[: len(spans)] = self._parameters[[span.seat for span in spans]]
        target[len(spans) :] = self._parameters[self.nobody]
        for row, span in enumerate(spans):
            if span.state.sampling.temperature > 0:
                target[row, _DICE] = span.state.throw(span.drawn)
            if span.state.end_ids:
                target[row, _IS_EARLY] = span.drawn < span.state.sampling.min_new_tokens

    @torch.inference_mode()
    def _take_in(self, span: Span) -> None:
        state, seat = span.state, span.seat
        self._parameters[seat] = parameters_of(state.sampling)
        self._choices[seat] = choice_of(state.sampling)
        self._positions[seat] = -1
        self._needy.discard(seat)
        if self._choices[seat] is not Choice.GREEDY:
            self._needy.add(seat)
            row = self.seen[seat]
            row.zero_()
            row[torch.from_numpy(state.seen_ids).to(row.device)] = PENALISED
            row[torch.from_numpy(state.answer_ids).to(row.device)] = PENALISED | ANSWERED
        # Last, so that what failed before it is tried again.
        self._holders[seat] = state
