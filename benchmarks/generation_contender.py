"""One way of answering chat requests, timed in a process of its own.

``python -m benchmarks.generation_contender NAME FOLDER COUNT full|quick`` prints one JSON object.
"""

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria

from benchmarks.generation_workload import ChatRequest, make_requests

# Seconds from the start to each token of each request.
Times = list[list[float]]


class _Clock(StoppingCriteria):
    """Notes when each step of ``generate`` is done, and never stops it."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self.times.append(time.perf_counter() - self._started)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def one_by_one(folder: Path, requests: Sequence[ChatRequest]) -> Times:
    """``model.generate`` for each request in turn."""
    model = _transformers_model(folder)
    started = time.perf_counter()
    return [_generate(model, [request], started) for request in requests]


def static_batch(folder: Path, requests: Sequence[ChatRequest]) -> Times:
    """``model.generate`` for all at once, padded on the left, until the longest is done."""
    model = _transformers_model(folder)
    times = _generate(model, requests, time.perf_counter())
    return [times[: request.max_new_tokens] for request in requests]


def transformers_continuous(folder: Path, requests: Sequence[ChatRequest]) -> Times:
    """The continuous batching of ``transformers``."""
    from transformers import ContinuousBatchingConfig

    model = _transformers_model(folder)
    manager = model.init_continuous_batching(
        _greedy(eos_token_id=-1, max_new_tokens=128),
        ContinuousBatchingConfig(
            page_size=32, num_blocks=512, max_batch_tokens=512, max_requests_per_batch=64
        ),
    )
    manager.start()
    started = time.perf_counter()
    numbers = {
        manager.add_request(
            list(r.prompt_ids), max_new_tokens=r.max_new_tokens, record_timestamps=True
        ): number
        for number, r in enumerate(requests)
    }
    times: Times = [[] for _ in requests]
    left = len(requests)
    while left:
        output = manager.get_result(timeout=1)
        if output is None or not output.is_finished():
            continue
        if output.error:
            raise RuntimeError(output.error)
        times[numbers[output.request_id]] = [t - started for t in output.timestamps]
        left -= 1
    manager.stop(block=True)
    return times


def perroquet(folder: Path, requests: Sequence[ChatRequest]) -> Times:
    """Our own engine."""
    from workers.generation.engine import ContinuousBatchingEngine
    from workers.generation.loading import load_model
    from workers.generation.protocol import GenerationRequest, GenerationStream, Sampling

    engine = ContinuousBatchingEngine(load_model(folder), max_batch_size=64)
    started = time.perf_counter()
    times: Times = [[] for _ in requests]

    def read(number: int, stream: GenerationStream) -> None:
        for chunk in stream:
            # A piece of text can be several tokens long.
            new = chunk.token_count - len(times[number])
            times[number] += [time.perf_counter() - started] * new

    readers = []
    for number, request in enumerate(requests):
        sampling = Sampling(max_new_tokens=request.max_new_tokens, temperature=0.0)
        stream = engine.submit(GenerationRequest(str(number), request.prompt_ids, sampling))
        readers.append(threading.Thread(target=read, args=(number, stream)))
        readers[-1].start()
    for reader in readers:
        reader.join()
    engine.close()
    return times


CONTENDERS: dict[str, Callable[[Path, Sequence[ChatRequest]], Times]] = {
    "generate_one_by_one": one_by_one,
    "static_batch": static_batch,
    "transformers_continuous": transformers_continuous,
    "perroquet": perroquet,
}


def summarise(times: Times) -> dict[str, float]:
    """Figures of one run, in seconds, tokens and megabytes."""
    ends = sorted(tokens[-1] for tokens in times)
    firsts = sorted(tokens[0] for tokens in times)
    count = sum(map(len, times))
    return {
        "tokens": count,
        "tokens_per_second": round(count / ends[-1], 2),
        "first_token_mean_seconds": round(statistics.fmean(firsts), 3),
        "first_token_p95_seconds": round(_p95(firsts), 3),
        "completion_p95_seconds": round(_p95(ends), 3),
        "resident_mb": _peak_resident_mb(),
    }


def _peak_resident_mb() -> int:
    """Since this program began; ``getrusage`` would count the parent's memory before ``exec``."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) // 1024


def _p95(ascending: list[float]) -> float:
    return ascending[max(0, -(-len(ascending) * 95 // 100) - 1)]


def _transformers_model(folder: Path) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def _greedy(**settings: Any) -> Any:
    # transformers publishes no types for it.
    config: Any = GenerationConfig
    return config(do_sample=False, **settings)


def _generate(model: Any, requests: Sequence[ChatRequest], started: float) -> list[float]:
    """When each step was done."""
    longest = max(len(r.prompt_ids) for r in requests)
    padding = [longest - len(r.prompt_ids) for r in requests]
    ids = [[0] * pad + list(r.prompt_ids) for pad, r in zip(padding, requests, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    clock = _Clock(started)
    steps = max(r.max_new_tokens for r in requests)
    with torch.inference_mode():
        model.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            generation_config=_greedy(max_new_tokens=steps, min_new_tokens=steps, pad_token_id=0),
            stopping_criteria=[clock],
        )
    return clock.times


def main(name: str, folder: str, count: str, size: str) -> None:
    """Run and print."""
    requests = make_requests(int(count), is_quick=size == "quick")
    times = CONTENDERS[name](Path(folder), requests)
    sys.stdout.write(json.dumps(summarise(times)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
