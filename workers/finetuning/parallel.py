"""Several processes that train one model together, one device each (DistributedDataParallel).

``torchrun`` starts them (:mod:`workers.finetuning.supervisor`), accelerate and Trainer part the
rows and average the gradients. The first process alone speaks, measures, writes and publishes;
what the others must know of it is shared here. In a run of one process all of this does nothing.
"""

import os
from typing import Any

import torch
import torch.distributed


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def share(value: Any) -> Any:
    """The first process' value, in every process. All of them must call this at the same point."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def device_of_process(device: torch.device) -> torch.device:
    """The GPU of this process where each has one of its own; else the device that was chosen."""
    number = os.environ.get("LOCAL_RANK")
    if device.type != "cuda" or number is None:
        return device
    return torch.device("cuda", int(number))
