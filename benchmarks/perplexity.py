"""What narrower weights cost: SmolLM2's perplexity with each kind, beside fp32's.

Each kind reads the texts as the engine's answers do, token by token, over keys and values as they
are kept beside such weights; what it is compared with is transformers' own forward in fp32. The
quick form reads the first hundred tokens of each text.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.perplexity_texts import TEXTS
from workers.conversion.smollm2 import convert_smollm2
from workers.generation.adapter_bank import AdapterBank
from workers.generation.device import DeviceRunner, Span
from workers.generation.loading import LoadedModel, load_model
from workers.generation.processor.linears import WeightKind, supported_kinds
from workers.generation.protocol import Sampling
from workers.generation.sampling import SamplingState

_QUICK_TOKENS = 100
_LogitsOf = Callable[[LoadedModel, list[int]], torch.Tensor]
_GOAL_PERCENT = 1.0


def run(*, quick: bool) -> dict[str, Any]:
    """The perplexities, and whether each kind is within a percent of fp32."""
    with tempfile.TemporaryDirectory() as folder:
        convert_smollm2(Path(folder))
        return compare(Path(folder), _QUICK_TOKENS if quick else None)


def compare(folder: Path, max_tokens: int | None) -> dict[str, Any]:
    """Figures and goals for a model's folder; kinds that the processor lacks are said to be."""
    unpacked = load_model(folder, device="cpu")
    unpacked.model.set_attn_implementation("sdpa")
    exact = _perplexities(unpacked, max_tokens, _logits_at_once)
    figures: dict[str, Any] = {"fp32, unpacked": exact}
    goals = []
    for kind in WeightKind:
        if kind not in supported_kinds():
            figures[kind] = "not on this processor"
            continue
        loaded = load_model(folder, device="cpu", dtype=kind, is_packing=True)
        figures[kind] = _perplexities(loaded, max_tokens, _logits_in_steps)
        goals += [_goal(kind, text, figures[kind][text] / exact[text]) for text in TEXTS]
    return {"figures": figures, "goals": goals}


def _goal(kind: WeightKind, text: str, ratio: float) -> dict[str, Any]:
    percent = round(100 * (ratio - 1), 3)
    return {
        "name": f"{kind}, {text}: perplexity over fp32",
        "value": percent,
        "unit": "% more",
        "goal": _GOAL_PERCENT,
        "met": abs(percent) <= _GOAL_PERCENT,
    }


def _perplexities(
    loaded: LoadedModel, max_tokens: int | None, logits_of: _LogitsOf
) -> dict[str, float]:
    found = {}
    for name, text in TEXTS.items():
        ids = loaded.tokenizer.encode(text)[:max_tokens]
        # A model has at least one token of context for each that is judged.
        logits = logits_of(loaded, ids[:-1]).float()
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))
        found[name] = float(loss.exp())
    return found


@torch.inference_mode()
def _logits_at_once(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0]


@torch.inference_mode()
def _logits_in_steps(loaded: LoadedModel, ids: list[int]) -> torch.Tensor:
    runner = DeviceRunner(loaded, AdapterBank(loaded.model, loaded.device, 1))
    cache, state = runner.new_cache(len(ids)), SamplingState(Sampling(), (), 0)
    cache.reserve(len(ids))
    rows = [
        runner.run([Span(cache, [token], position, True, state, 0, 0)])  # noqa: FBT003
        for position, token in enumerate(ids)
    ]
    return torch.cat(rows)
