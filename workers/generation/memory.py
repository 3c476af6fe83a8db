"""How a device says that its memory is full, and how it gets back what nobody needs."""

import ctypes
import gc
import mmap
import sys
from pathlib import Path
from typing import NamedTuple

import torch

# What the CPU's allocator raises is a RuntimeError like any other, and ROCm's once was.
_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "HIP out of memory")

# From Linux 5.4 on; Python has no name for it.
_MADV_PAGEOUT = 21


class MemoryRange(NamedTuple):
    """Where something lies in this process' memory, in bytes."""

    address: int
    length: int


def range_of(tensor: torch.Tensor) -> MemoryRange:
    """Where a contiguous tensor of a processor, or the whole that it is a view of, lies."""
    storage = tensor.untyped_storage()
    return MemoryRange(storage.data_ptr(), storage.nbytes())


def page_out(memory: MemoryRange) -> None:
    """Say that memory is not needed soon. Nothing is lost: what is read again comes back.

    The weights of a model lie in its mapped file, of which each page that was read counts as this
    process' memory; so does a library's code. Where the system does not know this wish, or the file
    belongs to somebody else, nothing happens.
    """
    if sys.platform != "linux":
        return
    first = -(-memory.address // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (memory.address + memory.length) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        # It answers that it does not, or that the memory has been freed; both are fine.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_PAGEOUT)


def mapped_below(folder: Path) -> list[MemoryRange]:
    """Where files of a folder are mapped; nowhere on systems that do not tell."""
    ranges = []
    if sys.platform == "linux":
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            addresses, *_, file = line.split(maxsplit=5)
            if file.startswith(f"{folder}/"):
                first, end = (int(address, 16) for address in addresses.split("-"))
                ranges.append(MemoryRange(first, end - first))
    return ranges


def give_back_heap() -> None:
    """Return to the system what was freed in between; much of it after a model was loaded."""
    if sys.platform == "linux":
        # musl has no such function, and needs none.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


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
