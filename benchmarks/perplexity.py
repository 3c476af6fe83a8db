"""What narrower weights cost: SmolLM2's perplexity with each kind, beside fp32's.

The quick form reads the first hundred tokens of each text.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.perplexity_texts import TEXTS
from workers.conversion.smollm2 import convert_smollm2
from workers.generation.loading import LoadedModel, load_model
from workers.generation.processor.linears import WeightKind, supported_kinds

_QUICK_TOKENS = 100
_GOAL_PERCENT = 1.0


def run(*, quick: bool) -> dict[str, Any]:
    """The perplexities, and whether each kind is within a percent of fp32."""
    with tempfile.TemporaryDirectory() as folder:
        convert_smollm2(Path(folder))
        return compare(Path(folder), _QUICK_TOKENS if quick else None)


def compare(folder: Path, max_tokens: int | None) -> dict[str, Any]:
    """Figures and goals for a model's folder; kinds that the processor lacks are said to be."""
    exact = _perplexities(load_model(folder, device="cpu"), max_tokens)
    figures: dict[str, Any] = {"fp32, unpacked": exact}
    goals = []
    for kind in WeightKind:
        if kind not in supported_kinds():
            figures[kind] = "not on this processor"
            continue
        loaded = load_model(folder, device="cpu", dtype=kind, is_packing=True)
        figures[kind] = _perplexities(loaded, max_tokens)
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


def _perplexities(loaded: LoadedModel, max_tokens: int | None) -> dict[str, float]:
    # The engine's own attention needs the engine's steps; the linear layers are what is compared.
    loaded.model.set_attn_implementation("sdpa")
    return {name: _perplexity(loaded, text, max_tokens) for name, text in TEXTS.items()}


@torch.inference_mode()
def _perplexity(loaded: LoadedModel, text: str, max_tokens: int | None) -> float:
    ids = torch.tensor([loaded.tokenizer.encode(text)[:max_tokens]])
    # Logits in fp32; a model has at least one token of context for each that is judged.
    logits = loaded.model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]).exp())
