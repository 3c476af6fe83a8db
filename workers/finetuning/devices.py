"""How a device is set up for training."""

import os
from typing import Any

import torch


def prepare_device(device: torch.device) -> None:
    """Choose kernels that give the same bits each time, where there are such.

    Called before anything runs on the device: its libraries read the environment once. On a CPU
    they are the only ones. On a GPU attention over documents of more than one block and a few
    rarer operations may still differ in the last bit; torch warns of those it knows.
    """
    if device.type != "cuda":
        return
    if device.index is not None:
        # Trainer takes the current device.
        torch.cuda.set_device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # Else each tensor that is allocated is filled with NaN first, which costs a pass over memory.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    # What is not lowered by autocast, such as the head of a model that keeps float32.
    torch.set_float32_matmul_precision("high")
