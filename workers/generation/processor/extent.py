"""Memory of one sequence's keys and values, taken from the system as a whole and given back so."""

import errno
import math
import mmap

import torch


class Extent:
    """Addresses for all that a sequence may come to hold; only what is written becomes memory.

    Pieces of some hundred kilobytes that come and go among those of each step leave holes that
    nothing fits into: with 64 answers a tenth of all memory (docs/log.md).
    """

    def __init__(self, tokens: int, layers: int) -> None:
        """Args:
        tokens: the sequence's length at most.
        layers: of the model.
        """
        self.tokens = tokens
        self._pieces = 2 * layers
        self._memory: mmap.mmap | None = None
        self._taken = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """A piece for a layer's keys or values; None where nothing is left. The first one decides
        how large the whole is.

        Raises:
            MemoryError: the system has no addresses to give.
        """
        count = math.prod(shape)
        length = count * dtype.itemsize
        if self._memory is None:
            self._memory = _addresses(length * self._pieces)
        if self._taken + length > len(self._memory):
            return None
        piece = torch.frombuffer(self._memory, dtype=dtype, count=count, offset=self._taken)
        self._taken += length
        return piece.view(shape)


def _addresses(length: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as exc:
        if exc.errno != errno.ENOMEM:
            raise
        raise MemoryError(f"No addresses for {length} bytes of keys and values.") from exc
