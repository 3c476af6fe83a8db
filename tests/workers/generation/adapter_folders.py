"""Small PEFT adapters with weights that matter, made on the spot."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ALL = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


def save_adapter(base: Path, target: Path, *, seed: int = 3, rank: int = 4, **options) -> Path:
    """A LoRA over all linear layers but the head, unless ``options`` say otherwise."""
    model = AutoModelForCausalLM.from_pretrained(base)
    family = model.config.model_type
    options = {"target_modules": ALL[family], "lora_alpha": 8, **options}
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, fan_in_fan_out=family == "gpt2", **options)
    adapted = get_peft_model(model, config)
    torch.manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(target)
    return target
