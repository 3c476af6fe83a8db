"""One measurement of the adapters' benchmark, in a process of its own.

``python -m benchmarks.adapters_run batch|turn|swap full|quick FOLDER [COUNT]`` prints one JSON
object.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.adapters_model import RANK, Clocks, Speed, shape_of
from benchmarks.adapters_peft import PeftProcess
from workers.generation.adapters import LoraAdapter, linear_shapes, read_adapter
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import LoadedModel, load_model
from workers.generation.processor.threads import let_go
from workers.generation.protocol import GenerationRequest, Sampling

_POLL_SECONDS = 0.001
_PATIENCE_SECONDS = 600


class _Bench:
    """An engine, its adapters, and a context that all rows share."""

    def __init__(self, folder: Path, count: int, size: str) -> None:
        self.rows, self.context, self.steps = shape_of(size, count)
        self.prompt = tuple(300 + i * 7919 % 49_000 for i in range(self.context))
        # As it is served, in PEFT's dtype.
        dtype = "auto" if torch.cuda.is_available() else "float32"
        self.loaded = load_model(folder / "base", dtype=dtype, is_packing=True)
        self.adapters = read_adapters(self.loaded, folder, count)
        room = 2 * (self.rows + count + 1) * (self.context + self.steps + 64)
        self.engine = ContinuousBatchingEngine(
            self.loaded, max_batch_size=self.rows, cache_max_tokens=room, step_max_tokens=1024
        )

    def learn(self, adapter: LoraAdapter | None) -> None:
        """Compute the context once, so that later answers begin at its end."""
        _first_token(self.engine, self.prompt, adapter)

    def decode(self, adapters: list[LoraAdapter | None]) -> Speed:
        """Once all rows decode; their context is known from an earlier call."""
        sampling = Sampling(max_new_tokens=self.steps + 1, temperature=0.0)
        before = self.engine.stats().generated_tokens
        streams = [
            self.engine.submit(GenerationRequest(str(i), self.prompt, sampling, adapter))
            for i, adapter in enumerate(adapters)
        ]
        first = self._wait_for(before + self.rows)
        clocks = Clocks()
        last = self._wait_for(before + self.rows * self.steps)
        speed = clocks.speed(last - first)
        for stream in streams:
            for _ in stream:
                pass
        return speed

    def _wait_for(self, tokens: int) -> int:
        deadline = time.perf_counter() + _PATIENCE_SECONDS
        while (generated := self.engine.stats().generated_tokens) < tokens:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{generated} of {tokens} tokens")
            time.sleep(_POLL_SECONDS)
        return generated


def read_adapters(loaded: LoadedModel, folder: Path, count: int) -> list[LoraAdapter]:
    """So many adapters of the same content, each with memory of its own."""
    shapes = linear_shapes(loaded.model)
    adapters = [
        read_adapter(folder / "adapter", f"adapter-{i}", shapes, loaded.dtype) for i in range(count)
    ]
    # As a worker's threads do that read adapters.
    let_go()
    return adapters


def batch(size: str, folder: str, count: str) -> dict[str, float]:
    """Tokens a second of a batch, with adapters, without, and with PEFT."""
    bench = _Bench(Path(folder), int(count), size)
    rounds = 3 if size == "full" else 1
    adapted: list[LoraAdapter | None] = [
        bench.adapters[row % int(count)] for row in range(bench.rows)
    ]
    base: list[LoraAdapter | None] = [None] * bench.rows
    for adapter in (None, *bench.adapters):
        bench.learn(adapter)
    bench.decode(base)
    bench.decode(adapted)
    peft = PeftProcess(size, folder, count)
    seen: dict[str, list[float]] = {
        key: [] for key in ("base", "adapters", "peft", "share", "cpu_share", "cpu_peft")
    }
    for _ in range(rounds):
        # Before and after, since the machine's speed drifts.
        first, ours, second = bench.decode(base), bench.decode(adapted), bench.decode(base)
        theirs = peft.decode()
        seen["base"] += [first.clock, second.clock]
        seen["adapters"].append(ours.clock)
        seen["peft"].append(theirs.clock)
        seen["share"].append(2 * ours.clock / (first.clock + second.clock))
        seen["cpu_share"].append(2 * ours.processor / (first.processor + second.processor))
        seen["cpu_peft"].append(ours.processor / theirs.processor)
    bench.engine.close()
    peft.close()
    median = {key: statistics.median(values) for key, values in seen.items()}
    return {
        "rows": bench.rows,
        "rank": RANK,
        "context_tokens": bench.context,
        "base_tokens_per_second": round(median["base"], 1),
        "tokens_per_second": round(median["adapters"], 1),
        "peft_tokens_per_second": round(median["peft"], 1),
        "share_of_base": round(median["share"], 3),
        "times_peft": round(median["adapters"] / median["peft"], 2),
        "share_of_base_by_processor_time": round(median["cpu_share"], 3),
        "times_peft_by_processor_time": round(median["cpu_peft"], 2),
    }


def turn(size: str, folder: str) -> dict[str, float]:
    """Seconds to the first token of an adapter's second turn, its first one known and not."""
    loaded = load_model(Path(folder) / "base", is_packing=True)
    (adapter,) = read_adapters(loaded, Path(folder), 1)
    tokens = 400 if size == "full" else 100
    first = tuple(300 + i * 7919 % 49_000 for i in range(tokens))
    second = (*first, *range(300, 324))
    shares, times = [], []
    for _ in range(5 if size == "full" else 2):
        engine = ContinuousBatchingEngine(loaded)
        _first_token(engine, first, adapter)
        with_reuse = _first_token(engine, second, adapter)
        engine.close()
        engine = ContinuousBatchingEngine(loaded)
        _first_token(engine, (300,), adapter)
        without = _first_token(engine, second, adapter)
        engine.close()
        shares.append(with_reuse / without)
        times.append((with_reuse, without))
    return {
        "prompt_tokens": len(second),
        "with_reuse_seconds": round(statistics.median(one for one, _ in times), 4),
        "without_seconds": round(statistics.median(other for _, other in times), 4),
        "share": round(statistics.median(shares), 3),
    }


def swap(size: str, folder: str) -> dict[str, float]:
    """How long a whole model takes from its files to its first token, and an adapter."""
    loads, firsts, adapters = [], [], []
    for _ in range(5 if size == "full" else 2):
        started = time.perf_counter()
        loaded = load_model(Path(folder) / "base", is_packing=True)
        engine = ContinuousBatchingEngine(loaded)
        loads.append(time.perf_counter() - started)
        _first_token(engine, (300, 301, 302), None)
        firsts.append(time.perf_counter() - started)
        started = time.perf_counter()
        (adapter,) = read_adapters(loaded, Path(folder), 1)
        _first_token(engine, (300, 301, 302), adapter)
        adapters.append(time.perf_counter() - started)
        engine.close()
    return {
        "model_load_seconds": round(statistics.median(loads), 3),
        "model_to_first_token_seconds": round(statistics.median(firsts), 3),
        "adapter_to_first_token_seconds": round(statistics.median(adapters), 3),
    }


def _first_token(
    engine: ContinuousBatchingEngine, prompt: tuple[int, ...], adapter: LoraAdapter | None
) -> float:
    started = time.perf_counter()
    sampling = Sampling(max_new_tokens=1, temperature=0.0)
    for _ in engine.submit(GenerationRequest("turn", prompt, sampling, adapter)):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    measures: dict[str, Callable[..., dict[str, float]]]
    measures = {"batch": batch, "turn": turn, "swap": swap}
    measured = measures[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(measured) + "\n")
