"""Steps of few fixed sizes, each captured as a graph where the device can.

A step launches some 200 kernels, each shorter than Python takes to launch it; a captured graph
launches them all at once (CUDA graphs, HIP graphs on ROCm; the same calls of PyTorch).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
import torch

from workers.generation.resident.choosing import Choice

log = structlog.get_logger(__name__)

# Each graph keeps some megabytes of launch parameters.
_MAX_GRAPHS = 96
# Steps that were seen and not captured, at most.
_MAX_SEEN = 1024
# Those with prompts come in many more sizes, most of which hardly ever come again.
_SEEN_BEFORE_DECODE, _SEEN_BEFORE_MIXED = 1, 3
# So many sizes that cannot be captured mean that none can.
_MAX_REFUSED = 4
# A process captures one graph at a time, whatever the devices and the threads.
_capturing = threading.Lock()
# Sizes up to this are powers of two; above, each octave has a few steps, to fill up less.
_COARSE_UP_TO = 16
_STEPS_PER_OCTAVE = 4


class StepKey(NamedTuple):
    """What must be alike for a graph to serve a step.

    Attributes:
        tokens: computed, those that fill up among them.
        rows: sequences, likewise.
        is_decode: each sequence has one token, which the device knows.
        choice: how the next tokens are chosen.
        max_rows: no sequence has more tokens in the step.
        max_used: no sequence has more tokens in all.
        adapters: the adapters' bank's generation and what of it takes part; None where none does.
    """

    tokens: int
    rows: int
    is_decode: bool
    choice: Choice
    max_rows: int
    max_used: int
    adapters: tuple[int, ...] | None = None


def size_for(count: int, least: int = 1) -> int:
    """The smallest size of steps that holds ``count``."""
    size = max(count, least)
    power = 1 << (size - 1).bit_length()
    if power <= _COARSE_UP_TO:
        return power
    step = power // 2 // _STEPS_PER_OCTAVE
    return -(-size // step) * step


class Programs:
    """Runs steps; those that come again are captured. Used by one thread.

    The first time a step of a size comes, it runs as it is, which also warms up the libraries;
    later it is captured. Where that fails, steps of this size run as they are from then on, and
    where it fails for several sizes, all do.
    """

    def __init__(self, *, is_capturing: bool) -> None:
        self._is_capturing = is_capturing
        self._graphs: OrderedDict[StepKey, tuple[torch.cuda.CUDAGraph, torch.Tensor]]
        self._graphs = OrderedDict()
        # How often steps came that have no graph.
        self._seen: OrderedDict[StepKey, int] = OrderedDict()
        self._refused: set[StepKey] = set()
        self._generation = 0
        # PyTorch gives its type no public name.
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def run(
        self, key: StepKey, body: Callable[[], torch.Tensor], *, is_static: bool
    ) -> torch.Tensor:
        """What ``body`` returns, valid until the next run.

        Args:
            key: same bodies for same keys.
            body: reads and writes tensors that stay where they are.
            is_static: whether a graph can be made of it.
        """
        if not (self._is_capturing and is_static):
            return body()
        if key.adapters and key.adapters[0] != self._generation:
            self._drop_stale(key.adapters[0])
        held = self._graphs.get(key)
        if held is None:
            if not self._is_due(key):
                return body()
            held = self._capture(key, body)
            if held is None:
                return body()
        self._graphs.move_to_end(key)
        graph, output = held
        graph.replay()
        return output

    def forget(self) -> None:
        """Let go of all graphs, to free their memory; those that are needed are made anew."""
        self._graphs.clear()

    def _drop_stale(self, generation: int) -> None:
        """Adapters have moved: graphs that read them where they were never run again."""
        self._generation = generation
        for steps in (self._graphs, self._seen):
            for key in [key for key in steps if key.adapters and key.adapters[0] != generation]:
                del steps[key]
        self._refused = {key for key in self._refused if not key.adapters}

    def _is_due(self, key: StepKey) -> bool:
        """Whether a step without a graph has come often enough to get one."""
        if key in self._refused:
            return False
        seen = self._seen.get(key, 0)
        if seen >= (_SEEN_BEFORE_DECODE if key.is_decode else _SEEN_BEFORE_MIXED):
            return True
        self._seen[key] = seen + 1
        self._seen.move_to_end(key)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        return False

    def _capture(
        self, key: StepKey, body: Callable[[], torch.Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor] | None:
        graph = torch.cuda.CUDAGraph()
        try:
            output = self._captured(graph, body)
        except torch.OutOfMemoryError:
            self.forget()
            raise
        except RuntimeError as exc:
            # Raises where the device is broken for good; what only a capture cannot do is over.
            torch.cuda.synchronize()
            self._refuse(key, exc)
            return None
        self._seen.pop(key, None)
        self._graphs[key] = (graph, output)
        if len(self._graphs) > _MAX_GRAPHS:
            self._graphs.popitem(last=False)
        return graph, output

    def _captured(
        self, graph: torch.cuda.CUDAGraph, body: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        # Others may go on using the device meanwhile, but no other engine may capture. The streams
        # of PyTorch's own choice are the process's; graphs of one pool want one stream.
        with _capturing:
            current = torch.cuda.current_stream()
            try:
                # A pool goes with its last graph.
                if self._pool is None or not self._graphs:
                    self._pool = torch.cuda.graph_pool_handle()
                    self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    return body()
            finally:
                # Where a capture fails, PyTorch leaves the thread on its stream.
                torch.cuda.set_stream(current)

    def _refuse(self, key: StepKey, exc: RuntimeError) -> None:
        self._refused.add(key)
        log.warning("graph_refused", tokens=key.tokens, rows=key.rows, reason=str(exc)[:300])
        if len(self._refused) >= _MAX_REFUSED:
            self._is_capturing = False
            self.forget()
            log.warning("graphs_off", reason=str(exc)[:300])
