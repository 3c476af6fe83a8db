"""The one place that touches tensors in a step: packed token ids in, the next tokens out."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import structlog
import torch

from workers.generation.adapter_bank import AdapterBank
from workers.generation.adapters import LoraAdapter
from workers.generation.attention import Batch, KeyValueCache, PackedBatch, PackedSpan
from workers.generation.direct import direct
from workers.generation.loading import LoadedModel
from workers.generation.logprobs import Report, Scores, wanted_of
from workers.generation.memory import give_back_heap
from workers.generation.processor.extent import Extent
from workers.generation.processor.linears import has_float16
from workers.generation.processor.threads import let_go
from workers.generation.protocol import Sampling
from workers.generation.sampling import SamplingState, choose_tokens

log = structlog.get_logger(__name__)

# Giving memory back takes some milliseconds.
_TIDYING_SECONDS = 1.0
# Shorter prompts leave out some of what longer ones need.
_WARMING_TOKENS = 48
_NewBatch = Callable[[Sequence[PackedSpan], torch.Tensor], Batch]
_NewCache = Callable[[int], KeyValueCache]

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
        self._tidying_at = 0.0
        self._new_batch, self._new_cache = _attention_for(loaded)
        self._direct = direct(loaded.model)
        warming = min(_WARMING_TOKENS, loaded.context_window - 1)
        if self._device.type == "cpu":
            if warming > 0:
                self._warm_up(warming)
            # The model was packed by this thread, too; another one runs the steps.
            let_go()
            _page_out_compiler()

    def new_cache(self, most_tokens: int) -> KeyValueCache:
        """See :class:`Runner`; it grows by itself."""
        return self._new_cache(most_tokens)

    def yields(self, yield_room: Callable[[], bool]) -> None:
        """See :class:`Runner`; here each cache takes memory of its own."""

    def spare(self) -> None:
        """See :class:`Runner`; nothing is kept from step to step."""

    def launch(self, spans: Sequence[Span]) -> Flight:
        """See :class:`Runner`."""
        self._keep_house()
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

    def _warm_up(self, length: int) -> None:
        """Libraries make their kernels in the first step, for which somebody would wait 0.2 s."""
        cache, state = self.new_cache(length + 1), SamplingState(Sampling(), (), 0)
        cache.reserve(length + 1)
        for tokens, position in (([0] * length, 0), ([0], length)):
            self.run([Span(cache, tokens, position, True, state, 0, 0)])  # noqa: FBT003

    def _keep_house(self) -> None:
        """Tensors of ever other sizes leave holes in the heap, in all a third of the memory."""
        now = time.monotonic()
        if self._device.type == "cpu" and now >= self._tidying_at:
            self._tidying_at = now + _TIDYING_SECONDS
            give_back_heap()

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
        # An empty index is made of floats unless it is told otherwise.
        needed = torch.tensor(last_rows, dtype=torch.long, device=self._device)
        batch = self._new_batch(packed, needed)
        input_ids = torch.tensor([token_ids], device=self._device)
        position_ids = torch.tensor([positions], device=self._device)
        if self._direct is not None:
            return self._direct(input_ids, position_ids, batch, needed)
        output = self._model(
            input_ids=input_ids,
            position_ids=position_ids,
            use_cache=False,
            logits_to_keep=needed,
            packed_batch=batch,
        )
        logits: torch.Tensor = output.logits[0]
        return logits


def _attention_for(loaded: LoadedModel) -> tuple[_NewBatch, _NewCache]:
    """How the spans of a step attend, of whose rows some are needed at its end, and a cache for
    sequences of a length at most."""
    if loaded.device.type != "cpu":
        return _plain_batch, lambda _most_tokens: KeyValueCache()
    layers = loaded.model.config.get_text_config().num_hidden_layers
    new_batch, cache_dtype = _plain_batch, loaded.dtype
    if loaded.dtype is torch.float32:
        try:
            from workers.generation.processor.batch import ProcessorBatch
        except ImportError:
            # Numba has no wheel for this Python or this processor.
            log.info("compiled_attention_missing")
        else:
            if loaded.has_narrow_weights and has_float16():
                cache_dtype = torch.float16
            new_batch = partial(
                ProcessorBatch,
                cache_dtype=cache_dtype,
                rows=loaded.packed.rows,
                last_layer=layers - 1,
            )

    def new_cache(most_tokens: int) -> KeyValueCache:
        return KeyValueCache(dtype=cache_dtype, extent=Extent(most_tokens, layers))

    return new_batch, new_cache


def _page_out_compiler() -> None:
    try:
        from workers.generation.processor.loops import page_out_compiler
    except ImportError:
        # Without Numba there is none.
        return
    page_out_compiler()


def _plain_batch(spans: Sequence[PackedSpan], _needed: torch.Tensor) -> Batch:
    return PackedBatch(spans)
