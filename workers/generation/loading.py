"""Load a model folder: safetensors only, no code from the folder, on the device that is there."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from workers.generation.attention import ATTENTION_NAME, plain_window
from workers.generation.chat_format import ChatFormat
from workers.generation.errors import ModelUnreadableError, reason_of
from workers.generation.processor.linears import WeightKind
from workers.generation.processor.packing import Packed, pack_model

_FOR_PROCESSORS = (WeightKind.INT16, WeightKind.INT8)
_DEFAULT_WINDOW = 1024
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run, with what belongs to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_format: ChatFormat
    context_window: int
    device: torch.device
    dtype: torch.dtype
    # What was made of its linear layers for the processor.
    packed: Packed = field(default_factory=Packed)

    @property
    def weights(self) -> str:
        """The dtypes of the linear layers' weights, for people."""
        return ", ".join(sorted(self.packed.counts)) or str(self.dtype).removeprefix("torch.")

    @property
    def has_narrow_weights(self) -> bool:
        """Whether packed layers have rounded some of its weights."""
        return any(kind != WeightKind.FLOAT32 for kind in self.packed.counts)

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end an answer: every special token, so that none is ever shown."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ends = configured if isinstance(configured, list) else [configured]
        specials = [*ends, *self.tokenizer.all_special_ids]
        specials += [i for i, t in self.tokenizer.added_tokens_decoder.items() if t.special]
        return frozenset(token_id for token_id in specials if token_id is not None)


def choose_device(wish: str) -> torch.device:
    """The device of a wish; ``auto`` takes a GPU (ROCm is named cuda too) where there is one.

    Raises:
        ModelUnreadableError: the wish names no device of this machine.
    """
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if wish == "rocm" else wish)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as exc:
        raise ModelUnreadableError(
            f"This machine has no device “{wish}”; set generation.device to auto or cpu.",
            device=wish,
        ) from exc
    return device


def choose_dtype(wish: str, device: torch.device) -> torch.dtype:
    """The dtype of a wish; ``auto`` is bf16 on GPUs that have it, else fp16, and fp32 on CPUs.

    Raises:
        ModelUnreadableError: the device does not have it.
    """
    if wish in _FOR_PROCESSORS:
        raise ModelUnreadableError(
            f"{wish} weights are for processors; set generation.dtype to auto.", dtype=wish
        )
    if wish != "auto":
        dtype: torch.dtype = getattr(torch, wish)
        return dtype
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def merge_adapter(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """Add a LoRA adapter's product to the weights it belongs to."""
    from peft import PeftModel

    if not (adapter / ADAPTER_WEIGHTS).is_file():
        # PEFT would otherwise unpickle, or ask the hub.
        raise FileNotFoundError(ADAPTER_WEIGHTS)
    merged: PreTrainedModel = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return merged


def load_model(
    folder: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    torch_threads: int = 0,
    is_packing: bool = False,
) -> LoadedModel:
    """Load a ``transformers`` folder for generation.

    Args:
        folder: configuration, tokenizer and safetensors.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``rocm``.
        dtype: ``auto`` or a torch dtype's name.
        torch_threads: intra-op threads on the CPU; 0 leaves torch's own choice.
        is_packing: on the CPU, replace the linear layers by those of
            :mod:`workers.generation.processor.linears`; ``dtype`` is then that of their weights,
            may be ``int16`` or ``int8``, too, and everything else is fp32. Nothing changes on other
            devices.

    Raises:
        ModelUnreadableError: the folder is no causal language model that can be read, or the
            device does not have the dtype.
    """
    if torch_threads:
        torch.set_num_threads(torch_threads)
    chosen_device = choose_device(device)
    is_packing = is_packing and chosen_device.type == "cpu"
    chosen_dtype = choose_dtype("float32" if is_packing else dtype, chosen_device)
    part = "config.json"
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        part = "tokenizer"
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        part = "safetensors"
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=chosen_dtype,
            attn_implementation=ATTENTION_NAME,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as exc:
        raise ModelUnreadableError(
            f"The model in {folder.name} cannot be loaded: its {part} cannot be used "
            f"({reason_of(exc)}). A model is config.json, a fast tokenizer and safetensors of a "
            "causal language model that transformers knows.",
            model=folder.name,
        ) from exc
    window = plain_window(config, int(getattr(config, "max_position_embeddings", _DEFAULT_WINDOW)))
    if model.config.is_encoder_decoder or not tokenizer.is_fast:
        raise ModelUnreadableError(
            f"The model in {folder.name} is no causal language model with a fast tokenizer.",
            model=folder.name,
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    torch.nn.Module.to(model, chosen_device).train(mode=False)
    packed = pack_model(model, dtype) if is_packing else Packed()
    return LoadedModel(
        model,
        tokenizer,
        ChatFormat(tokenizer),
        window,
        chosen_device,
        chosen_dtype,
        packed,
    )
