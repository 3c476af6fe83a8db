"""Steps of few fixed sizes, each captured as a graph where the device can.

A step launches some 200 kernels, each shorter than Python takes to launch it; a captured graph
launches them all at once (CUDA graphs, HIP graphs on ROCm; the same calls of PyTorch).
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
import torch

from workers.generation.resident.choosing import Choice

log = structlog.get_logger(__name__)

# Each graph keeps some megabytes of launch parameters.
_MAX_GRAPHS = 96
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
        adapters: how adapters take part; None where none does.
    """

    tokens: int
    rows: int
    is_decode: bool
    choice: Choice
    max_rows: int
    max_used: int
    adapters: object = None


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

    The first time a step of a size comes, it runs as it is, which also warms up the libraries; the
    second time it is captured. Where that fails, all steps run as they are from then on.
    """

    def __init__(self, *, is_capturing: bool) -> None:
        self._is_capturing = is_capturing
        self._graphs: OrderedDict[StepKey, tuple[torch.cuda.CUDAGraph, torch.Tensor] | None]
        self._graphs = OrderedDict()
        # PyTorch gives its type no public name.
        self._pool: Any = None

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return sum(graph is not None for graph in self._graphs.values())

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
        if key not in self._graphs:
            output = body()
            self._graphs[key] = None
            self._shrink()
            return output
        self._graphs.move_to_end(key)
        held = self._graphs[key] or self._capture(key, body)
        if held is None:
            return body()
        graph, output = held
        graph.replay()
        return output

    def forget(self) -> None:
        """Let go of all graphs: something that they refer to has moved."""
        self._graphs.clear()

    def _capture(
        self, key: StepKey, body: Callable[[], torch.Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor] | None:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            # Other engines of this process may use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = body()
        except torch.OutOfMemoryError:
            self._graphs.clear()
            raise
        except RuntimeError as exc:
            self._is_capturing = False
            log.warning("graphs_off", reason=str(exc)[:300])
            return None
        self._graphs[key] = (graph, output)
        return self._graphs[key]

    def _shrink(self) -> None:
        while len(self._graphs) > _MAX_GRAPHS:
            self._graphs.popitem(last=False)
