"""Stretches of tokens packed into rows of equal length, with next to no padding.

Documents that share a row never see each other: positions start again at 0 with each, and
``transformers`` builds the block-diagonal causal mask from that (``find_packed_sequence_indices``).
The packing is best-fit decreasing, as in Ding et al. 2024, "Fewer Truncations Improve Language
Modeling", with free space held in buckets so that it takes linear time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.finetuning.encoding import IGNORED, Encoded


@dataclass(frozen=True, slots=True)
class PackedRows:
    """A whole split as rows of ``block_size`` tokens.

    Attributes:
        input_ids, labels, position_ids: int32, shape ``(rows, block_size)``.
        real_tokens: tokens that are no padding.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    real_tokens: int

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts."""
        return int((self.labels != IGNORED).sum())

    @property
    def fill(self) -> float:
        """Share of the rows that is no padding."""
        return self.real_tokens / self.input_ids.size if self.input_ids.size else 1.0

    def lengths(self, row: int) -> NDArray[np.int32]:
        """Tokens of each document of a row; the padding counts as one more."""
        starts = np.flatnonzero(self.position_ids[row] == 0)
        # Documents have two tokens at least, so zeros beside each other are padding.
        first = np.diff(starts, prepend=-2) > 1
        bounds = np.append(starts[first], self.position_ids.shape[1])
        return np.diff(bounds).astype(np.int32)

    def learnt(self, row: int) -> NDArray[np.int64]:
        """The positions of a row whose next token is learnt."""
        return np.flatnonzero(self.labels[row, 1:] != IGNORED)


def plan_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Numbers of the items of each bin, best-fit decreasing.

    Raises:
        ValueError: an item is longer than a bin.
    """
    if lengths and max(lengths) > capacity:
        raise ValueError("An item is longer than a bin.")
    bins: list[list[int]] = []
    # open_bins[space] holds the bins with exactly that much space left.
    open_bins: list[list[int]] = [[] for _ in range(capacity + 1)]
    spaces = _Spaces(capacity)
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        size = lengths[item]
        space = spaces.least_at_least(size)
        if space < 0:
            bins.append([])
            chosen, space = len(bins) - 1, capacity
        else:
            chosen = open_bins[space].pop()
            if not open_bins[space]:
                spaces.remove(space)
        bins[chosen].append(item)
        left = space - size
        if left:
            open_bins[left].append(chosen)
            spaces.add(left)
    return bins


class _Spaces:
    """The set of free spaces that some bin has, as the bits of one integer."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bits = 0

    def add(self, space: int) -> None:
        self._bits |= 1 << space

    def remove(self, space: int) -> None:
        self._bits &= ~(1 << space)

    def least_at_least(self, size: int) -> int:
        """The smallest space that holds ``size``; -1 where there is none."""
        above = self._bits >> size
        return size + (above & -above).bit_length() - 1 if above else -1


def pack(stretches: Iterable[Encoded], block_size: int, pad_id: int) -> PackedRows:
    """Pack stretches, each at most ``block_size`` long, into rows.

    Stretches without anything to learn are left out.
    """
    kept = [one for one in stretches if bool((one.labels != IGNORED).any())]
    bins = plan_bins([len(one) for one in kept], block_size)
    shape = (len(bins), block_size)
    input_ids = np.full(shape, pad_id, np.int32)
    labels = np.full(shape, IGNORED, np.int32)
    # Padding stands at position 0 again and again, so that it attends to nothing and costs no
    # position beyond the model's last.
    position_ids = np.zeros(shape, np.int32)
    for row, members in enumerate(bins):
        start = 0
        for member in members:
            stretch = kept[member]
            end = start + len(stretch)
            input_ids[row, start:end] = stretch.input_ids
            labels[row, start:end] = stretch.labels
            position_ids[row, start:end] = np.arange(len(stretch))
            start = end
    return PackedRows(input_ids, labels, position_ids, sum(len(one) for one in kept))
