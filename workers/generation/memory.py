"""How a device says that its memory is full, and how it gets back what nobody needs."""

import gc

import torch

# What the CPU's allocator raises is a RuntimeError like any other, and ROCm's once was.
_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "HIP out of memory")


def is_out_of_memory(exc: Exception) -> bool:
    """Whether an error of torch means that less at a time may go well."""
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        isinstance(exc, RuntimeError) and any(words in str(exc) for words in _WORDS)
    )


def collect_garbage() -> None:
    """Give a GPU back what models that were let go held; on a processor nothing needs it.

    A model and what is hooked to it know one another, so their memory is not free by itself.
    """
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
