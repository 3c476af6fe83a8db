"""What a device is called and how full it is; the same calls for ROCm, CUDA and the CPU."""

import psutil
import torch


def describe_device(device: torch.device) -> dict[str, str | int]:
    """A device in words, and its memory.

    Returns:
        ``device``, and ``memory_used_bytes`` of ``memory_total_bytes``: of the whole device, or on
        the CPU of this process and the machine.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = f"{torch.cuda.get_device_name(device)} ({device})"
        return {"device": name, "memory_used_bytes": total - free, "memory_total_bytes": total}
    return {
        "device": device.type,
        "memory_used_bytes": psutil.Process().memory_info().rss,
        "memory_total_bytes": psutil.virtual_memory().total,
    }
