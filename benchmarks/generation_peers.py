"""Other engines, as their own documents say they are run; each from the peers' environment."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.generation_workload import ChatRequest, Run, Stopwatch, Times

# Room for 29,000 tokens of GPT-2 124M, more than 64 requests need.
_VLLM_CACHE_GIB = "2"


def vllm(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """vLLM's CPU build in fp32, compiled as it is by default, in this process."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", _VLLM_CACHE_GIB)
    from vllm import EngineArgs, LLMEngine, SamplingParams  # type: ignore[import-not-found]

    engine = LLMEngine.from_engine_args(
        EngineArgs(model=str(folder), dtype="float32", max_num_seqs=64, max_model_len=1024)
    )
    watch = Stopwatch()
    for number, request in enumerate(requests):
        sampling = SamplingParams(
            temperature=0.0, max_tokens=request.max_new_tokens, ignore_eos=True
        )
        engine.add_request(str(number), {"prompt_token_ids": list(request.prompt_ids)}, sampling)
    times: Times = [[] for _ in requests]
    while engine.has_unfinished_requests():
        for output in engine.step():
            seen = times[int(output.request_id)]
            new = len(output.outputs[0].token_ids) - len(seen)
            seen += [watch.seconds()] * new
    return watch.finish(times)


def ctranslate2_int8(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """CTranslate2 in int8, one request after the other; it has no continuous batching."""
    import ctranslate2  # type: ignore[import-not-found]
    from transformers import AutoTokenizer

    # transformers publishes no types for it.
    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as target:
        converter = ctranslate2.converters.TransformersConverter(str(folder))
        converter.convert(target, quantization="int8", force=True)
        generator = ctranslate2.Generator(target, intra_threads=os.cpu_count() or 1)
    watch = Stopwatch()
    times: Times = []
    for request in requests:
        tokens: list[float] = []

        def note(_step: Any, tokens: list[float] = tokens) -> bool:
            tokens.append(watch.seconds())
            return False

        generator.generate_batch(
            [tokenizer.convert_ids_to_tokens(list(request.prompt_ids))],
            max_length=request.max_new_tokens,
            min_length=request.max_new_tokens,
            include_prompt_in_result=False,
            callback=note,
        )
        times.append(tokens)
    return watch.finish(times)
