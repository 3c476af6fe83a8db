"""Our engine on a GPU beside transformers there: GPT-2 124M in bf16, requests arriving at once.

``python -m benchmarks.generation_gpu full|quick`` prints one JSON object. All contenders share one
process, since none of them leaves anything on the device once it is done. Each runs once to warm up
(ours until its graphs are captured); figures are medians of the rounds after that. The floor is the
time in which the device's memory gives every byte that a step must read: all weights once, and the
keys and values of all answers.
"""

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.generation_contender import (
    one_by_one,
    static_batch,
    summarise,
    transformers_continuous,
)
from benchmarks.generation_workload import (
    ChatRequest,
    Run,
    Stopwatch,
    Times,
    make_requests,
    save_model,
)
from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import LoadedModel, load_model
from workers.generation.protocol import GenerationRequest, GenerationStream, Sampling

GOAL_ALONE, GOAL_MANY = 2_000, 150_000
COUNTS = (1, 16, 64, 256)
_ROWS = 256
_ROUNDS, _WARM_ROUNDS = 3, 3
# One by one, more requests only take longer.
_MOST_ONE_BY_ONE = 16
_CONTEXT, _STEPS, _MARGIN = 200, 150, 10
_POLL_SECONDS = 0.0005

Contender = Callable[[Path, Sequence[ChatRequest]], Run]
Figures = dict[str, float]


def run(*, quick: bool) -> dict[str, Any]:
    """The figures of every contender, the floor, and the goals."""
    figures: dict[str, Any] = {"device": {"name": torch.cuda.get_device_name()}}
    bandwidth = measure_bandwidth()
    figures["device"]["bandwidth_bytes_per_second"] = round(bandwidth)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        figures |= ours(Path(folder), bandwidth)
        for count in COUNTS[:2] if quick else COUNTS:
            figures |= peers(Path(folder), count)
    goals = [
        _goal("1 request", figures["perroquet, 1 requests"]["tokens_per_second"], GOAL_ALONE),
        _goal("1 answer, decoding", figures["decoding, 1 rows"]["tokens_per_second"], GOAL_ALONE),
        _goal("256 requests", figures["perroquet, 256 requests"]["tokens_per_second"], GOAL_MANY),
        _goal("256 rows, decoding", figures["decoding, 256 rows"]["tokens_per_second"], GOAL_MANY),
    ]
    return {"figures": figures, "goals": goals}


def ours(folder: Path, bandwidth: float) -> dict[str, Any]:
    """Our engine's: the chat requests, and steps in which all rows decode behind 200 tokens."""
    loaded = load_model(folder, dtype="bfloat16")
    engine = ContinuousBatchingEngine(loaded, max_batch_size=_ROWS, cache_max_tokens=400_000)
    figures: dict[str, Any] = {}
    for count in COUNTS:
        requests = make_requests(count, is_quick=False)
        runs = [answer(engine, requests, number) for number in range(_WARM_ROUNDS + _ROUNDS)]
        kept = [summarise(run) for run in runs[_WARM_ROUNDS:]]
        figures[f"perroquet, {count} requests"] = medians(kept)
    for rows in (1, 32, _ROWS):
        floor = bandwidth / step_bytes(loaded, rows, _CONTEXT + _STEPS // 2) * rows
        speeds = [decode(engine, rows, number) for number in range(1 + _ROUNDS)][1:]
        speed = statistics.median(speeds)
        figures[f"decoding, {rows} rows"] = {
            "tokens_per_second": round(speed, 1),
            "floor_tokens_per_second": round(floor),
            "share_of_floor": round(speed / floor, 3),
        }
    engine.close()
    return figures


def answer(engine: ContinuousBatchingEngine, requests: Sequence[ChatRequest], number: int) -> Run:
    """All requests, with words of their own in each round, so that nothing of it is known."""
    watch = Stopwatch()
    streams = [
        _ask(engine, shifted(request.prompt_ids, number), request.max_new_tokens)
        for request in requests
    ]
    times: Times = [[] for _ in requests]
    open_ = dict(enumerate(streams))
    while open_:
        for key, stream in list(open_.items()):
            chunk = stream.take()
            if chunk is None:
                continue
            if chunk.error is not None:
                raise chunk.error
            # A piece of text can be several tokens long.
            times[key] += [watch.seconds()] * (chunk.token_count - len(times[key]))
            if chunk.finish is not None:
                del open_[key]
        time.sleep(_POLL_SECONDS)
    return watch.finish(times)


def decode(engine: ContinuousBatchingEngine, rows: int, number: int) -> float:
    """Tokens a second while all rows decode."""
    before = engine.stats().generated_tokens
    prompts = [tuple(300 + (i * 7919 + j) % 49_000 for j in range(_CONTEXT)) for i in range(rows)]
    streams = [_ask(engine, shifted(prompt, number), _STEPS) for prompt in prompts]
    begun = _wait_for(engine, before + rows * _MARGIN)
    ended = _wait_for(engine, before + rows * (_STEPS - _MARGIN))
    for stream in streams:
        for _ in stream:
            pass
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def peers(folder: Path, count: int) -> dict[str, Any]:
    """What transformers does with as many requests; why, where it cannot."""
    contenders: dict[str, Contender] = {
        "static_batch": static_batch,
        "transformers_continuous": transformers_continuous,
    }
    if count <= _MOST_ONE_BY_ONE:
        contenders["generate_one_by_one"] = one_by_one
    figures: dict[str, Any] = {}
    requests = make_requests(count, is_quick=False)
    for name, contender in contenders.items():
        try:
            contender(folder, make_requests(min(count, 2), is_quick=True))
            run = contender(folder, requests)
        except (RuntimeError, ValueError, TypeError, AttributeError) as exc:
            figures[f"{name}, {count} requests"] = f"failed: {exc!r}"[:200]
        else:
            figures[f"{name}, {count} requests"] = summarise(run)
        gc.collect()
        torch.cuda.empty_cache()
    return figures


def measure_bandwidth() -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.randint(0, 255, (2**31,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 10 * 2 * source.nbytes / (time.perf_counter() - started)


def step_bytes(loaded: LoadedModel, rows: int, context: int) -> int:
    """What a decoding step must read: every weight once, and each row's keys and values.

    The embeddings count where the output layer shares them, for then all of them are read.
    """
    model: Any = loaded.model
    config = model.config
    positions = model.transformer.wpe.weight.numel()
    weights = sum(p.numel() for p in model.parameters()) - positions
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        weights -= model.get_input_embeddings().weight.numel()
    per_token = 2 * config.n_layer * config.n_embd
    return int((weights + rows * context * per_token) * loaded.dtype.itemsize)


def shifted(ids: Sequence[int], number: int) -> tuple[int, ...]:
    """The same length and other words."""
    return tuple(300 + (token + 37 * number) % 49_000 for token in ids)


def medians(runs: Sequence[Figures]) -> Figures:
    """Of each figure, over the rounds."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _ask(
    engine: ContinuousBatchingEngine, prompt: tuple[int, ...], tokens: int
) -> GenerationStream:
    sampling = Sampling(max_new_tokens=tokens, temperature=0.0)
    return engine.submit(GenerationRequest("bench", prompt, sampling))


def _wait_for(engine: ContinuousBatchingEngine, tokens: int) -> tuple[float, int]:
    """When there were so many tokens, and how many there were."""
    while (generated := engine.stats().generated_tokens) < tokens:
        time.sleep(_POLL_SECONDS)
    return time.perf_counter(), generated


def _goal(what: str, value: float, goal: float) -> dict[str, Any]:
    return {
        "name": f"GPU, bf16: {what}",
        "value": value,
        "unit": "tokens/s",
        "goal": goal,
        "met": value >= goal,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(quick=sys.argv[1:] == ["quick"])) + "\n")
