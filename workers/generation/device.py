"""The one place that touches tensors in a step: packed token ids in, the next tokens out."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch

from workers.generation.adapter_bank import AdapterBank
from workers.generation.adapters import LoraAdapter
from workers.generation.attention import KeyValueCache, PackedBatch, PackedSpan
from workers.generation.loading import LoadedModel
from workers.generation.logprobs import Report, Scores, wanted_of
from workers.generation.sampling import SamplingState, choose_tokens

_NO_REPORTS: Mapping[int, Report] = {}


class Span(NamedTuple):
    """Tokens of one sequence to compute, at their place in the sequence.

    Attributes:
        cache: the sequence's keys and values, with room for these tokens.
        token_ids: one or more; none where it is the one that was chosen last, which only the
            device knows as yet.
        position: of the first of them.
        is_sampling: whether a next token is to be chosen after them.
        state: what the choice depends on.
        drawn: tokens that were chosen before, or are about to be.
        seat: a number below the size of a batch, the sequence's own while it runs.
        adapter: what is added to the base for it.
    """

    cache: KeyValueCache
    token_ids: list[int]
    position: int
    is_sampling: bool
    state: SamplingState
    drawn: int
    seat: int
    adapter: LoraAdapter | None = None

    @property
    def length(self) -> int:
        """How many tokens it is."""
        return len(self.token_ids) or 1


class Flight(Protocol):
    """A step that was launched."""

    def land(self) -> Sequence[int | None]:
        """Wait for the next tokens of the spans that sample, in order; None where a span's logits
        are no numbers."""
        ...

    def reports(self) -> Mapping[int, Report]:
        """How likely they were, by their place in that order, where it was asked; after landing."""
        ...


class Runner(Protocol):
    """Runs a model's steps on a device.

    Attributes:
        is_ahead: whether the next step can be launched before the last one has landed.
        capacity_tokens: of keys and values that fit into it; None for as many as there is memory.
    """

    is_ahead: bool
    capacity_tokens: int | None

    def new_cache(self, most_tokens: int) -> KeyValueCache:
        """An empty one, for a sequence that becomes so long at most."""
        ...

    def yields(self, yield_room: Callable[[], bool]) -> None:
        """Have a function that lets go of some cache where room is short, or says that none is left
        to let go of."""
        ...

    def spare(self) -> None:
        """Give back the memory of what can be made anew, in the order of the device's work."""
        ...

    def launch(self, spans: Sequence[Span]) -> Flight:
        """Compute the spans in one forward pass, and choose. Spans lie as the adapters' bank
        orders them. Nothing but the caches has changed where this raises."""
        ...


class Landed:
    """A step whose tokens were known at once."""

    def __init__(
        self, tokens: Sequence[int | None], reports: Mapping[int, Report] = _NO_REPORTS
    ) -> None:
        self._tokens = tokens
        self._reports = reports

    def land(self) -> Sequence[int | None]:
        """See :class:`Flight`."""
        return self._tokens

    def reports(self) -> Mapping[int, Report]:
        """See :class:`Flight`."""
        return self._reports


class DeviceRunner:
    """Runs a model over packed spans. Holds no state of a request; the caches are the caller's."""

    is_ahead = False
    capacity_tokens: int | None = None

    def __init__(self, loaded: LoadedModel, bank: AdapterBank) -> None:
        self._model = loaded.model
        self._device = loaded.device
        self._bank = bank

    def new_cache(self, most_tokens: int) -> KeyValueCache:  # noqa: ARG002 - it grows by itself
        """See :class:`Runner`."""
        return KeyValueCache()

    def yields(self, yield_room: Callable[[], bool]) -> None:
        """See :class:`Runner`; here each cache takes memory of its own."""

    def spare(self) -> None:
        """See :class:`Runner`; nothing is kept from step to step."""

    def launch(self, spans: Sequence[Span]) -> Flight:
        """See :class:`Runner`."""
        self._bank.begin([(span.adapter, span.length) for span in spans])
        try:
            logits = self.run(spans)
        finally:
            self._bank.end()
        states = [span.state for span in spans if span.is_sampling]
        if not states:
            return Landed([])
        wanted = wanted_of(states)
        # Choosing changes the logits.
        unchanged = logits[[w.row for w in wanted]]
        tokens = choose_tokens(logits, states)
        if not wanted:
            return Landed(tokens)
        chosen = torch.tensor([tokens[w.row] or 0 for w in wanted], device=self._device)
        return Landed(tokens, Scores(unchanged, chosen, wanted).read())

    @torch.inference_mode()
    def run(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute the spans in one forward pass.

        Returns:
            The logits after the last token of each span that is sampling, in order:
            ``[num_sampling, vocabulary]`` of the model's dtype.
        """
        token_ids: list[int] = []
        positions: list[int] = []
        packed: list[PackedSpan] = []
        last_rows: list[int] = []
        for span in spans:
            start = len(token_ids)
            token_ids += span.token_ids
            # GPT-2 would number the packed row through unless it is told each position.
            positions += range(span.position, span.position + len(span.token_ids))
            packed.append(PackedSpan(span.cache, start, len(token_ids), span.position))
            if span.is_sampling:
                last_rows.append(len(token_ids) - 1)
        output = self._model(
            input_ids=torch.tensor([token_ids], device=self._device),
            position_ids=torch.tensor([positions], device=self._device),
            use_cache=False,
            # An empty index is made of floats unless it is told otherwise.
            logits_to_keep=torch.tensor(last_rows, dtype=torch.long, device=self._device),
            packed_batch=PackedBatch(packed),
        )
        logits: torch.Tensor = output.logits[0]
        return logits
