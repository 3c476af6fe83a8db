"""One way of answering chat requests, timed in a process of its own.

``python -m benchmarks.generation_contender NAME FOLDER COUNT full|quick`` prints one JSON object.
Runs in the peers' environment too, where nothing of Perroquet's own packages may be imported.
"""

import json
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria

from benchmarks.generation_peers import ctranslate2_int8, llama_cpp, vllm
from benchmarks.generation_workload import ChatRequest, Run, Stopwatch, Times, make_requests


class _Clock(StoppingCriteria):
    """Notes when each step of ``generate`` is done, and never stops it."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        self.times.append(self._watch.seconds())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def one_by_one(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """``model.generate`` for each request in turn."""
    model = _transformers_model(folder)
    watch = Stopwatch()
    return watch.finish([_generate(model, [request], watch) for request in requests])


def static_batch(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """``model.generate`` for all at once, padded on the left, until the longest is done."""
    model = _transformers_model(folder)
    watch = Stopwatch()
    times = _generate(model, requests, watch)
    return watch.finish([times[: request.max_new_tokens] for request in requests])


def transformers_continuous(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """The continuous batching of ``transformers``."""
    from transformers import ContinuousBatchingConfig

    model = _transformers_model(folder)
    manager = model.init_continuous_batching(
        _greedy(eos_token_id=-1, max_new_tokens=128),
        ContinuousBatchingConfig(
            page_size=32, num_blocks=1024, max_batch_tokens=512, max_requests_per_batch=64
        ),
    )
    manager.start()
    watch = Stopwatch()
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
        times[numbers[output.request_id]] = [t - watch.started for t in output.timestamps]
        left -= 1
    manager.stop(block=True)
    return watch.finish(times)


def perroquet(folder: Path, requests: Sequence[ChatRequest], dtype: str) -> Run:
    """Our own engine, with weights of a kind."""
    from workers.generation.engine import ContinuousBatchingEngine
    from workers.generation.loading import load_model
    from workers.generation.protocol import GenerationRequest, GenerationStream, Sampling

    loaded = load_model(folder, dtype=dtype, is_packing=True)
    engine = ContinuousBatchingEngine(loaded, max_batch_size=64)
    watch = Stopwatch()
    times: Times = [[] for _ in requests]

    def read(number: int, stream: GenerationStream) -> None:
        for chunk in stream:
            # A piece of text can be several tokens long.
            new = chunk.token_count - len(times[number])
            times[number] += [watch.seconds()] * new

    readers = []
    for number, request in enumerate(requests):
        length = request.max_new_tokens
        sampling = Sampling(max_new_tokens=length, min_new_tokens=length, temperature=0.0)
        stream = engine.submit(GenerationRequest(str(number), request.prompt_ids, sampling))
        readers.append(threading.Thread(target=read, args=(number, stream)))
        readers[-1].start()
    for reader in readers:
        reader.join()
    engine.close()
    return watch.finish(times)


CONTENDERS: dict[str, Callable[[Path, Sequence[ChatRequest]], Run]] = {
    "generate_one_by_one": one_by_one,
    "static_batch": static_batch,
    "transformers_continuous": transformers_continuous,
    "vllm": vllm,
    "vllm_bfloat16": partial(vllm, dtype="bfloat16"),
    "ctranslate2_int8": ctranslate2_int8,
    "llama_cpp": llama_cpp,
    "perroquet_float32": partial(perroquet, dtype="float32"),
    "perroquet_float16": partial(perroquet, dtype="float16"),
    "perroquet_bfloat16": partial(perroquet, dtype="bfloat16"),
    "perroquet_int16": partial(perroquet, dtype="int16"),
    "perroquet_int8": partial(perroquet, dtype="int8"),
}


def summarise(run: Run) -> dict[str, float]:
    """Figures of one run, in seconds, tokens and megabytes."""
    ends = sorted(tokens[-1] for tokens in run.times)
    firsts = sorted(tokens[0] for tokens in run.times)
    count = sum(map(len, run.times))
    return {
        "tokens": count,
        "tokens_per_second": round(count / ends[-1], 2),
        "first_token_mean_seconds": round(statistics.fmean(firsts), 3),
        "first_token_p95_seconds": round(_p95(firsts), 3),
        "completion_p95_seconds": round(_p95(ends), 3),
        "processor_seconds": round(run.processor_seconds, 2),
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
    """In fp32 on processors; on a GPU, if there is one, in bf16."""
    is_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if is_gpu else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return model.to("cuda" if is_gpu else "cpu").eval()


def _greedy(**settings: Any) -> Any:
    # transformers publishes no types for it.
    config: Any = GenerationConfig
    return config(do_sample=False, **settings)


def _generate(model: Any, requests: Sequence[ChatRequest], watch: Stopwatch) -> list[float]:
    """When each step was done."""
    longest = max(len(r.prompt_ids) for r in requests)
    padding = [longest - len(r.prompt_ids) for r in requests]
    ids = [[0] * pad + list(r.prompt_ids) for pad, r in zip(padding, requests, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
    clock = _Clock(watch)
    steps = max(r.max_new_tokens for r in requests)
    with torch.inference_mode():
        model.generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=_greedy(max_new_tokens=steps, min_new_tokens=steps, pad_token_id=0),
            stopping_criteria=[clock],
        )
    return clock.times


def main(name: str, folder: str, count: str, size: str) -> None:
    """Run and print."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    requests = make_requests(
        int(count), is_quick=size == "quick", vocabulary=int(config["vocab_size"])
    )
    done = CONTENDERS[name](Path(folder), requests)
    if [len(times) for times in done.times] != [request.max_new_tokens for request in requests]:
        raise RuntimeError(f"{name} did not make as many tokens as it was asked for.")
    sys.stdout.write(json.dumps(summarise(done)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
