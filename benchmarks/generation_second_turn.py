"""How much sooner the first word of a channel's second turn comes when the first turn is kept.

``python -m benchmarks.generation_second_turn FOLDER full|quick`` prints one JSON object.
"""

import json
import sys
import time
from pathlib import Path

from workers.generation.engine import ContinuousBatchingEngine
from workers.generation.loading import load_model
from workers.generation.protocol import GenerationRequest, Sampling

_NEW_TOKENS = 24


def measure(folder: Path, prompt_tokens: int) -> dict[str, float]:
    """Seconds to the first token of a second turn, with the first one known and without."""
    loaded = load_model(folder, is_packing=True)
    first = tuple(300 + i * 7919 % 49_000 for i in range(prompt_tokens))
    second = (*first, *range(300, 300 + _NEW_TOKENS))
    warm = ContinuousBatchingEngine(loaded)
    _first_token(warm, first)
    with_reuse = _first_token(warm, second)
    warm.close()
    cold = ContinuousBatchingEngine(loaded)
    # Both are at work already when they are timed.
    _first_token(cold, first[:1])
    without = _first_token(cold, second)
    cold.close()
    return {
        "prompt_tokens": len(second),
        "with_reuse_seconds": round(with_reuse, 4),
        "without_seconds": round(without, 4),
        "share": round(with_reuse / without, 3),
    }


def _first_token(engine: ContinuousBatchingEngine, prompt: tuple[int, ...]) -> float:
    started = time.perf_counter()
    sampling = Sampling(max_new_tokens=1, temperature=0.0)
    for _ in engine.submit(GenerationRequest("turn", prompt, sampling)):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    figures = measure(Path(sys.argv[1]), 100 if sys.argv[2] == "quick" else 400)
    sys.stdout.write(json.dumps(figures) + "\n")
