"""How a device says that its memory is full."""

import torch

# What the CPU's allocator raises is a RuntimeError like any other, and ROCm's once was.
_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "HIP out of memory")


def is_out_of_memory(exc: Exception) -> bool:
    """Whether an error of torch means that less at a time may go well."""
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        isinstance(exc, RuntimeError) and any(words in str(exc) for words in _WORDS)
    )
