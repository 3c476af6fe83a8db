"""The base of the adapters' benchmark, and one adapter that stands for all of them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from benchmarks.generation_workload import save_model

RANK = 16


def save_base_and_adapter(folder: Path) -> None:
    """Write ``base`` and ``adapter`` into a folder; what an adapter holds changes no timing."""
    base = save_model(folder / "base")
    # peft and transformers publish no types for it.
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=RANK,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
    )
    adapted = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapted.save_pretrained(str(folder / "adapter"))
