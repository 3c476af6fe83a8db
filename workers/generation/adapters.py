"""LoRA versions over a base: read from PEFT folders, checked against the base, kept in memory."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import regex
import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workers.generation.errors import AdapterRefusedError
from workers.generation.memory import is_out_of_memory
from workers.generation.protocol import Adapter

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
_PATTERN_SECONDS = 0.1
_WEIGHT = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")
# What PEFT can do besides the product of two matrices; true or not empty means that it is used.
_BEYOND_LORA = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "use_bdlora",
    "use_qalora",
    "kasa_config",
    "arrow_config",
    "trainable_token_indices",
)


AdapterKey = tuple[str, str | None]


@dataclass(frozen=True, eq=False)
class LoraAdapter(Adapter):
    """The product that an adapter adds to each layer, ``x @ down @ up``.

    Attributes:
        rank: of all its layers; those of a lower rank are filled up with zeros.
        layers: by the layer's name in the base: ``down [in, rank]`` and ``up [rank, out]``, in the
            base's dtype and on the host; the scaling is part of ``up``.
        digest: of its files, where it is known.
    """

    rank: int
    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    digest: str | None = None

    @property
    def key(self) -> AdapterKey:
        """The same for the same weights, however often they were read."""
        return (self.name, self.digest)

    @property
    def total_bytes(self) -> int:
        """What it takes of the host's memory."""
        return sum(half.nbytes for pair in self.layers.values() for half in pair)


def linear_shapes(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """The layers of a base that an adapter may change: ``(in, out)`` by name.

    The head is not among them: only the last row of each answer goes through it.
    """
    # transformers publishes no types for it.
    head = cast(Any, model).get_output_embeddings()
    shapes = {}
    for name, layer in model.named_modules():
        if layer is head:
            continue
        if isinstance(layer, Conv1D):
            shapes[name] = (int(layer.nx), int(layer.nf))
        elif hasattr(layer, "in_features") and hasattr(layer, "out_features"):
            shapes[name] = (int(layer.in_features), int(layer.out_features))
    return shapes


def read_adapter(
    folder: Path,
    name: str,
    shapes: Mapping[str, tuple[int, int]],
    dtype: torch.dtype,
    digest: str | None = None,
) -> LoraAdapter:
    """Read a PEFT folder.

    Args:
        folder: ``adapter_config.json`` and ``adapter_model.safetensors``.
        name: tells the adapter from every other.
        shapes: of the base's layers.
        dtype: the base's.
        digest: of its files.

    Raises:
        AdapterRefusedError: it is damaged, belongs to another base, or is no plain LoRA.
    """
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        check_config(config, name)
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            halves = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        pairs = _pair(halves, name, shapes)
        rank = max(len(a) for a, _ in pairs.values())
        layers = {}
        for layer, (a, b) in pairs.items():
            _check_rank(config, name, layer, len(a))
            layers[layer] = _laid_out(a, b, rank, _scaling(config, layer, len(a)), dtype)
            # Values may be beyond the base's dtype, and what they are multiplied with no number.
            if not all(half.isfinite().all() for half in layers[layer]):
                raise _refused(name, f"layer “{layer}” holds values that are no numbers")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        # Of torch for a dtype that it cannot turn into another, and of JSON that is too deep.
        RuntimeError,
        regex.error,
        SafetensorError,
    ) as exc:
        if is_out_of_memory(exc):
            raise
        raise _refused(name, f"it cannot be read ({type(exc).__name__})") from exc
    return LoraAdapter(name, rank, layers, digest)


def check_config(config: dict[str, Any], name: str) -> None:
    """Only plain LoRA can be added row by row in a batch.

    Raises:
        AdapterRefusedError: it is something else.
    """
    kind = config["peft_type"]
    if kind != "LORA":
        raise _refused(name, f"it is {kind}, and only LORA can be served")
    for option in _BEYOND_LORA:
        if config.get(option):
            raise _refused(name, f"it uses {option}, which cannot be served in a batch")
    if config.get("bias", "none") != "none":
        raise _refused(name, "it changes biases, which cannot be served in a batch")


def _pair(
    halves: Mapping[str, torch.Tensor], name: str, shapes: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Both halves of each layer, with shapes ``[rank, in]`` and ``[out, rank]``, checked."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, half in halves.items():
        match = _WEIGHT.fullmatch(key)
        if match is None:
            raise _refused(name, f"it holds “{key}”, which is no half of a LoRA product")
        if match["layer"] not in shapes:
            raise _refused(name, f"its base has a layer “{match['layer']}”, and this one has none")
        found.setdefault(match["layer"], {})[match["half"]] = half
    if not found:
        raise _refused(name, "it is empty")
    pairs = {}
    for layer, both in found.items():
        size_in, size_out = shapes[layer]
        a, b = both["A"], both["B"]
        if a.ndim != 2 or not len(a) or a.shape[1] != size_in or b.shape != (size_out, a.shape[0]):
            raise _refused(
                name,
                f"layer “{layer}” is {list(a.shape)} and {list(b.shape)}, and its base has "
                f"{size_in} inputs and {size_out} outputs",
            )
        pairs[layer] = (a, b)
    return pairs


def _check_rank(config: dict[str, Any], name: str, layer: str, rank: int) -> None:
    """Another rank than its weights have would make another scale of them, unseen."""
    said = _by_pattern(config.get("rank_pattern") or {}, layer, config.get("r", rank))
    if said != rank:
        raise _refused(
            name, f"layer “{layer}” is of rank {rank}, and its {CONFIG_NAME} says {said}"
        )


def _scaling(config: dict[str, Any], layer: str, rank: int) -> float:
    """Hu et al., *LoRA* (2021): alpha over rank; Kalajdzievski (2023): over its square root."""
    alpha = _by_pattern(config.get("alpha_pattern") or {}, layer, config["lora_alpha"])
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: dict[str, float], layer: str, default: float) -> float:
    """As PEFT has it: a pattern is the end of a layer's name, or a regular expression for one."""
    for pattern, value in patterns.items():
        # What comes in a file may take years, and hold Python's lock meanwhile.
        found = regex.match(
            rf"(.*\.)?({pattern})$", layer, timeout=_PATTERN_SECONDS, concurrent=True
        )
        if found:
            return value
    return default


def _laid_out(
    a: torch.Tensor, b: torch.Tensor, rank: int, scaling: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """As the batch multiplies them; see :class:`LoraAdapter`."""
    down = torch.zeros(a.shape[1], rank, dtype=dtype)
    down[:, : len(a)] = a.t()
    up = torch.zeros(rank, b.shape[0], dtype=dtype)
    up[: len(a)] = (b.float() * scaling).t()
    return down, up


def _refused(name: str, why: str) -> AdapterRefusedError:
    return AdapterRefusedError(f"The adapter {name} is refused: {why}.", model=name)
