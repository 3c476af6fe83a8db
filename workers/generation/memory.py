"""How a device says that its memory is full."""

import torch

# What the CPU's allocator raises is a RuntimeError like any other.
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(exc: Exception) -> bool:
    """Whether an error of torch means that less at a time may go well."""
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        isinstance(exc, RuntimeError) and _CPU_ALLOCATOR in str(exc)
    )
