"""The base of a run, made ready to train: weights, tokenizer, adapter, device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from workers.finetuning.base_tokenizer import UNREADABLE, load_tokenizer, unreadable
from workers.finetuning.devices import choose_products, prepare_device
from workers.finetuning.errors import SpecError
from workers.finetuning.heads import attach_summed_loss
from workers.finetuning.layers import layers_of, make_layers_fast
from workers.finetuning.parallel import device_of_process
from workers.finetuning.spec import RunSpec
from workers.generation.loading import (
    ADAPTER_WEIGHTS,
    choose_device,
    choose_dtype,
    merge_adapter,
)

_DEFAULT_WINDOW = 1024


@dataclass(frozen=True, slots=True)
class Trainee:
    """A model that is about to learn.

    Attributes:
        model: on its device; a PEFT model for LoRA. Returns summed losses.
        causal: the causal language model inside.
        tokenizer: with a chat template and a padding token.
        device: where it is.
        autocast: dtype of the products; None computes in the weights' own.
        context_window: tokens that it can see.
    """

    model: Any
    causal: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    autocast: torch.dtype | None
    context_window: int

    @property
    def width(self) -> int:
        """Numbers in the state of a token."""
        return int(self.causal.config.hidden_size)

    @property
    def pad_id(self) -> int:
        """The token that fills rows; it is never learnt from or attended to."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else 0


def load_trainee(spec: RunSpec) -> Trainee:
    """Load the base and make it trainable as the spec says.

    Raises:
        ModelUnreadableError: the folder is no causal language model, or the device is missing.
        SpecError: an option does not fit this base.
    """
    if spec.torch_threads:
        torch.set_num_threads(spec.torch_threads)
    device = device_of_process(choose_device(spec.device))
    prepare_device(device)
    folder = Path(spec.base_model)
    tokenizer = load_tokenizer(folder)
    causal = _load_causal(spec, folder, device)
    dtype = choose_products(spec.dtype, device, causal.num_parameters())
    if spec.adapter and spec.method == "full":
        causal = _merged(causal, spec)
    causal.to(device)  # type: ignore[arg-type]
    make_layers_fast(causal, spec.dropout)
    attach_summed_loss(causal, None if dtype is torch.float32 else dtype)
    model = _add_adapter(causal, spec) if spec.method == "lora" else _open_weights(causal, spec)
    if spec.gradient_checkpointing:
        enable_gradient_checkpointing(causal)
    return Trainee(
        model,
        causal,
        tokenizer,
        device,
        None if dtype is torch.float32 else dtype,
        int(getattr(causal.config, "max_position_embeddings", _DEFAULT_WINDOW)),
    )


def enable_gradient_checkpointing(causal: PreTrainedModel) -> None:
    """Recompute activations in backward instead of keeping them."""
    untyped: Any = causal
    # The newer releases of transformers call it by what it does.
    enable = getattr(untyped, "activation_checkpointing_enable", None)
    if enable is not None:
        enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        untyped.gradient_checkpointing_enable({"use_reentrant": False})


def uses_conv1d(model: nn.Module) -> bool:
    """Whether the linear layers are GPT-2's, whose weights stand transposed."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def _load_causal(spec: RunSpec, folder: Path, device: torch.device) -> PreTrainedModel:
    # Weights that train stay in float32; a frozen base on a GPU may be as small as its products.
    is_small = spec.method == "lora" and device.type != "cpu"
    weights = choose_dtype(spec.dtype, device) if is_small else torch.float32
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if spec.from_scratch:
            torch.manual_seed(spec.seed)
            auto: Any = AutoModelForCausalLM
            fresh: PreTrainedModel = auto.from_config(config, attn_implementation="sdpa")
            return fresh
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=weights,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except UNREADABLE as exc:
        raise unreadable(folder, exc) from exc
    return loaded


def _merged(causal: PreTrainedModel, spec: RunSpec) -> PreTrainedModel:
    try:
        merged = merge_adapter(causal, Path(spec.adapter))
    except UNREADABLE as exc:
        raise unreadable(Path(spec.adapter), exc) from exc
    # PEFT froze them for the adapter's sake.
    merged.requires_grad_(requires_grad=True)
    return merged


def _add_adapter(causal: PreTrainedModel, spec: RunSpec) -> Any:
    torch.manual_seed(spec.seed)
    model = _continued_adapter(causal, spec) if spec.adapter else _new_adapter(causal, spec)
    model.peft_config["default"].base_model_name_or_path = (
        spec.base_name or Path(spec.base_model).name
    )
    return model


def _continued_adapter(causal: PreTrainedModel, spec: RunSpec) -> Any:
    """An earlier adapter that goes on learning; rank and targets are its own."""
    folder = Path(spec.adapter)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        # PEFT would otherwise unpickle, or ask the hub.
        raise unreadable(folder, FileNotFoundError(ADAPTER_WEIGHTS))
    try:
        return PeftModel.from_pretrained(causal, folder, is_trainable=True)
    except UNREADABLE as exc:
        raise unreadable(folder, exc) from exc


def _new_adapter(causal: PreTrainedModel, spec: RunSpec) -> Any:
    targets: str | list[str] = spec.lora_targets
    if targets != "all-linear":
        targets = [name.strip() for name in spec.lora_targets.split(",")]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=uses_conv1d(causal),
    )
    try:
        return get_peft_model(causal, config)
    except ValueError as exc:
        raise SpecError(
            f"The base has no layers “{spec.lora_targets}”.", option="lora_targets"
        ) from exc


def _open_weights(causal: PreTrainedModel, spec: RunSpec) -> PreTrainedModel:
    """All weights train but those of the frozen layers and what lies under them."""
    if not spec.frozen_layers:
        return causal
    backbone = causal.base_model
    layers = layers_of(causal)
    if spec.frozen_layers > len(layers):
        raise SpecError(
            f"The base has fewer than {spec.frozen_layers} layers.", option="frozen_layers"
        )
    embeddings = (child for child in backbone.children() if isinstance(child, nn.Embedding))
    for module in (*embeddings, *layers[: spec.frozen_layers]):
        module.requires_grad_(requires_grad=False)
    return causal
