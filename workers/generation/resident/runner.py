"""Steps on a device that keeps everything: keys, values, and the tokens that were chosen last.

The next step is launched before the last one's tokens are known to the host, which reads them a
step late; so the device never waits for Python. Steps come in few sizes, each a captured graph.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import structlog
import torch

from workers.generation.adapter_bank import AdapterBank
from workers.generation.attention import KeyValueCache
from workers.generation.device import Flight, Span
from workers.generation.errors import reason_of
from workers.generation.loading import LoadedModel
from workers.generation.logprobs import Report, Scores, Wanted, wanted_of
from workers.generation.memory import collect_garbage, is_out_of_memory
from workers.generation.resident.adapters import MAX_CODED_ROWS, Coded, choose_halves
from workers.generation.resident.arena import Arena, ArenaCache, LayerShape
from workers.generation.resident.choosing import ANSWERED, PENALISED, Choice, choose
from workers.generation.resident.fitting import fit, measure
from workers.generation.resident.gpt2 import Added, fused_gpt2
from workers.generation.resident.inputs import StepInputs
from workers.generation.resident.paths import HostSpan, Places, ResidentBatch, choose_paths
from workers.generation.resident.programs import Programs, StepKey, size_for
from workers.generation.resident.seats import Seats

log = structlog.get_logger(__name__)

# Steps with prompts come in fewer sizes than those without.
_MIN_TOKENS, _MIN_ROWS = 32, 8
# Steps with adapters come in sizes by the slots that they look at, too.
_MIN_SLOTS = 4
# Where attention fills up to the longest sequence, it does so to multiples of this.
_LENGTH_STEP = 128
# A smaller cache is of less use than a runner that needs none.
_LEAST_TOKENS = 2048
# Steps whose tokens are on their way to the host, and one to write to.
_RESULTS = 3


class ResidentRunner:
    """Implements :class:`workers.generation.device.Runner` for GPUs.

    Runs on the CPU too, with plain attention and without graphs, so that it can be tested there.
    """

    is_ahead = True

    def __init__(
        self,
        loaded: LoadedModel,
        bank: AdapterBank,
        *,
        shape: LayerShape,
        heads: int,
        max_batch_size: int,
        capacity_tokens: int,
    ) -> None:
        """Raises what torch raises without memory; see :func:`make_runner`."""
        self._model = loaded.model
        self._device = loaded.device
        self._bank = bank
        self._window = loaded.context_window
        self._max_rows = max_batch_size
        vocabulary = int(loaded.model.config.get_text_config().vocab_size)
        self.capacity_tokens: int | None = capacity_tokens
        self._arena = Arena(shape, capacity_tokens, loaded.device, loaded.dtype)
        self._paths = choose_paths(shape, heads, loaded.device, loaded.dtype)
        self._halves = choose_halves(loaded.device, loaded.dtype)
        self._fused = fused_gpt2(loaded.model, self._arena)
        # What the fused layers add in the step that is being launched.
        self._added: Added | None = None
        self._seats = Seats(max_batch_size, vocabulary, loaded.device)
        self._is_end = torch.zeros(vocabulary, dtype=torch.bool, device=loaded.device)
        ends = [token for token in loaded.end_ids if token < vocabulary]
        self._is_end[torch.tensor(ends, dtype=torch.long, device=loaded.device)] = True
        self._inputs: dict[tuple[int, int], StepInputs] = {}
        self._programs = Programs(is_capturing=loaded.device.type == "cuda")
        is_pinned = loaded.device.type == "cuda"
        self._results = deque(
            torch.zeros(max_batch_size, dtype=torch.int64, pin_memory=is_pinned)
            for _ in range(_RESULTS)
        )
        self._logits = self._nothing = torch.empty(0)
        log.info("resident_cache", tokens=capacity_tokens, attention=self._paths.name)

    def new_cache(self, most_tokens: int) -> KeyValueCache:
        """See :class:`workers.generation.device.Runner`."""
        return self._arena.new_cache(most_tokens)

    def yields(self, yield_room: Callable[[], bool]) -> None:
        """See :class:`workers.generation.device.Runner`."""
        self._arena.yield_room = yield_room

    def spare(self) -> None:
        """See :class:`workers.generation.device.Runner`."""
        # Graphs read the inputs where they are.
        self._programs.forget()
        self._inputs.clear()

    @torch.inference_mode()
    def launch(self, spans: Sequence[Span]) -> Flight:
        """See :class:`workers.generation.device.Runner`."""
        try:
            return self._launch(spans)
        except BaseException:
            # The device may have chosen already, and would take its choice for the token before.
            self._seats.forget(spans)
            raise

    def _launch(self, spans: Sequence[Span]) -> Flight:
        self._seats.welcome(spans)
        has_adapters = bool(self._bank.in_use) and any(span.adapter for span in spans)
        is_decode = self._seats.is_decoding(spans)
        choosing = spans if is_decode else [span for span in spans if span.is_sampling]
        key = self._key(spans, choosing, is_decode=is_decode)
        inputs = self._inputs_for(key)
        write = _write_decode if key.is_decode else _write_mixed
        host = inputs.host()
        host_spans = write(spans, host, self._seats.nobody)
        if key.choice is not Choice.GREEDY:
            self._seats.write_parameters(choosing, host["parameters"])
        wanted = wanted_of([span.state for span in choosing])
        # What is reported is read from the logits, which a graph keeps to itself.
        is_static = (key.is_decode or self._paths.is_mixed_static) and not wanted
        try:
            if has_adapters:
                key, is_static = self._adapted(key, spans, inputs, is_static=is_static)
            inputs.upload()
            tokens = self._programs.run(
                key, lambda: self._step(key, inputs, host_spans), is_static=is_static
            )
            scores = self._scores(tokens, wanted)
        finally:
            self._bank.end()
            self._added = None
            self._logits = self._nothing
        self._seats.launched(spans)
        return self._flight(tokens, len(choosing), scores)

    def _key(self, spans: Sequence[Span], choosing: Sequence[Span], *, is_decode: bool) -> StepKey:
        choice = self._seats.choice(choosing)
        if is_decode:
            rows = min(size_for(len(spans)), self._max_rows)
            return StepKey(rows, rows, is_decode, choice, 1, self._length(spans))
        tokens = size_for(sum(span.length for span in spans), _MIN_TOKENS)
        rows = min(size_for(len(spans), _MIN_ROWS), self._max_rows)
        return StepKey(tokens, rows, is_decode, choice, min(tokens, self._window), self._window)

    def _length(self, spans: Sequence[Span]) -> int:
        """Kernels that see each sequence's own length need no other."""
        if not self._paths.needs_length:
            return self._window
        used = max(span.position for span in spans) + 1
        return min(-(-used // _LENGTH_STEP) * _LENGTH_STEP, self._window)

    def _adapted(
        self, key: StepKey, spans: Sequence[Span], inputs: StepInputs, *, is_static: bool
    ) -> tuple[StepKey, bool]:
        """Have the step's adapters added; returns its key with them, and whether a graph can be
        made of it."""
        adapters = [(span.adapter, span.length) for span in spans]
        if key.tokens > MAX_CODED_ROWS:
            self._bank.begin(adapters)
            return key, False
        pages, codes = self._bank.coded(adapters)
        host = inputs.host()["adapters"]
        host[: len(codes)] = codes
        host[len(codes) :] = -1
        on_device = inputs.device["adapters"]
        slots = 0
        if key.is_decode and self._fused is not None and self._fused.serves(key.rows, pages):
            ((first, page),) = pages.items()
            slots = min(size_for(max(codes) - first + 1, _MIN_SLOTS), page.slots)
            self._added = Added(page, first, slots, on_device)
        else:
            self._bank.use(
                [Coded(page, first, on_device, self._halves) for first, page in pages.items()]
            )
        return key._replace(adapters=(self._bank.generation, *pages, slots)), is_static

    def _inputs_for(self, key: StepKey) -> StepInputs:
        size = (key.tokens, key.rows)
        if size not in self._inputs:
            self._inputs[size] = StepInputs(*size, self._device)
        return self._inputs[size]

    def _step(self, key: StepKey, inputs: StepInputs, spans: tuple[HostSpan, ...]) -> torch.Tensor:
        """The next token of each row, -1 where its logits are no numbers."""
        of, seats = inputs.device, self._seats
        path = self._paths.decode if key.is_decode else self._paths.mixed
        places = Places(
            of["slots"],
            of["row_starts"],
            of["starts"],
            of["used"],
            key.max_rows,
            key.max_used,
            spans,
        )
        if key.is_decode:
            ids = seats.last.index_select(0, of["seats"])
            if self._fused is not None and not self._bank.is_adding:
                self._logits = self._fused(ids, of["positions"], places, self._added)
                return self._choose(key.choice, self._logits, of)
        else:
            chosen = seats.last.index_select(0, of["sources"].clamp(min=0))
            ids = torch.where(of["sources"] >= 0, chosen, of["ids"])
        output = self._model(
            input_ids=ids[None],
            position_ids=of["positions"][None],
            use_cache=False,
            logits_to_keep=0 if key.is_decode else of["keep"],
            packed_batch=ResidentBatch(self._arena, places, path),
        )
        self._logits = output.logits[0]
        return self._choose(key.choice, self._logits, of)

    def _choose(
        self, choice: Choice, logits: torch.Tensor, of: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        seats, seen = self._seats, self._seats.seen
        if choice is not Choice.GREEDY:
            seen = seen.index_select(0, of["seats"])
        tokens, best = choose(choice, logits, of["parameters"], seen, self._is_end)
        seats.last.index_copy_(0, of["seats"], tokens)
        if choice is not Choice.GREEDY:
            cells = of["seats"] * seats.seen.shape[1] + tokens
            seats.seen.view(-1).index_fill_(0, cells, PENALISED | ANSWERED)
        # What is no number or endless differs from itself.
        return torch.where((best - best) == 0, tokens, -1)

    def _scores(self, tokens: torch.Tensor, wanted: Sequence[Wanted]) -> Scores | None:
        if not wanted:
            return None
        rows = torch.tensor([w.row for w in wanted], device=self._device)
        return Scores(self._logits.index_select(0, rows), tokens.index_select(0, rows), wanted)

    def _flight(self, tokens: torch.Tensor, count: int, scores: Scores | None) -> Flight:
        host = self._results[0]
        self._results.rotate(-1)
        host[:count].copy_(tokens[:count], non_blocking=True)
        event = None
        if self._device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return _Flight(host, count, event, scores)


class _Flight:
    """A step whose tokens are on their way to the host."""

    def __init__(
        self,
        host: torch.Tensor,
        count: int,
        event: torch.cuda.Event | None,
        scores: Scores | None,
    ) -> None:
        self._scores = scores
        self._host = host
        self._count = count
        self._event = event

    def land(self) -> Sequence[int | None]:
        """See :class:`workers.generation.device.Flight`."""
        if self._event is not None:
            self._event.synchronize()
        tokens: list[int] = self._host[: self._count].tolist()
        return [token if token >= 0 else None for token in tokens]

    def reports(self) -> Mapping[int, Report]:
        """See :class:`workers.generation.device.Flight`."""
        return self._scores.read() if self._scores is not None else {}


def _write_decode(
    spans: Sequence[Span], host: dict[str, np.ndarray], nobody: int
) -> tuple[HostSpan, ...]:
    """One token each, which the device knows; rows that fill up read and write scratch."""
    count = len(spans)
    positions = np.array([span.position for span in spans])
    # Of an arena's segments; mypy cannot see that an engine has caches of one kind.
    starts = np.array([span.cache.place.start for span in spans])  # type: ignore[attr-defined]
    host["seats"][:count] = [span.seat for span in spans]
    host["seats"][count:] = nobody
    host["positions"][:count] = positions
    host["positions"][count:] = 0
    host["slots"][:count] = starts + positions
    host["slots"][count:] = 0
    host["starts"][:count] = starts
    host["starts"][count:] = 0
    host["used"][:count] = positions + 1
    host["used"][count:] = 1
    host["row_starts"][:] = np.arange(len(host["row_starts"]))
    return ()


def _write_mixed(
    spans: Sequence[Span], host: dict[str, np.ndarray], nobody: int
) -> tuple[HostSpan, ...]:
    """Prompts, and decoding rows among them."""
    row, chosen = 0, 0
    host_spans = []
    host["sources"][:] = -1
    for number, span in enumerate(spans):
        rows, start = slice(row, row + span.length), _start(span)
        if span.token_ids:
            host["ids"][rows] = span.token_ids
        else:
            host["sources"][rows] = span.seat
        host["positions"][rows] = np.arange(span.position, span.position + span.length)
        host["slots"][rows] = start + host["positions"][rows]
        host["row_starts"][number] = row
        host["starts"][number] = start
        host["used"][number] = span.position + span.length
        host_spans.append(HostSpan(row, span.length, start, span.position + span.length))
        row += span.length
        if span.is_sampling:
            host["seats"][chosen] = span.seat
            host["keep"][chosen] = row - 1
            chosen += 1
    for name in ("ids", "positions", "slots"):
        host[name][row:] = 0
    host["row_starts"][len(spans) :] = row
    host["starts"][len(spans) :] = 0
    host["used"][len(spans) :] = 1
    host["seats"][chosen:] = nobody
    host["keep"][chosen:] = 0
    return tuple(host_spans)


def _start(span: Span) -> int:
    assert isinstance(span.cache, ArenaCache)  # noqa: S101 - an engine has caches of one kind
    return span.cache.place.start


def make_runner(
    loaded: LoadedModel,
    bank: AdapterBank,
    *,
    max_batch_size: int,
    max_tokens: int,
    memory_share: float,
) -> ResidentRunner | None:
    """A runner with as large a cache as is useful and fits.

    Args:
        loaded: the model; its head and activations are fitted to the device.
        bank: where its adapters lie.
        max_batch_size: sequences in a step.
        max_tokens: of the cache, at most.
        memory_share: of the device's memory that is free now, which the cache may take.

    Returns:
        None, and a line in the log, where the model's layers are of different shapes, or a cache
        of a useful size does not fit.
    """
    measured = measure(loaded.model, loaded.device)
    if measured is None:
        _fall_back("layers of different shapes")
        return None
    shape, heads = measured
    capacity = min(max_tokens, _fitting_tokens(loaded, shape, memory_share))
    if capacity < min(_LEAST_TOKENS, loaded.context_window, max_tokens):
        _fall_back(f"there is memory for {capacity} tokens only")
        return None
    fit(loaded.model)
    try:
        return ResidentRunner(
            loaded,
            bank,
            shape=shape,
            heads=heads,
            max_batch_size=max_batch_size,
            capacity_tokens=capacity,
        )
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        _fall_back(reason_of(exc))
        return None


def _fitting_tokens(loaded: LoadedModel, shape: LayerShape, memory_share: float) -> int:
    """How many tokens a part of the device's free memory holds."""
    if loaded.device.type != "cuda":
        return sys.maxsize
    collect_garbage()
    free, _ = torch.cuda.mem_get_info(loaded.device)
    return int(free * memory_share) // shape.bytes_per_token(loaded.dtype)


def _fall_back(reason: str) -> None:
    log.warning("resident_cache_refused", reason=reason)
