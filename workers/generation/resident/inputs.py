"""What a step needs from the host, in one piece of memory, so that one copy brings it all."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from workers.generation.resident.choosing import COLUMNS

# A step's inputs may be written while those of the one before are still on their way.
_COPIES = 3
_ALIGNMENT = 16


class Section(NamedTuple):
    """A named array within the piece."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def sections(tokens: int, rows: int) -> tuple[Section, ...]:
    """What a step of so many tokens and sequences needs.

    ``ids`` and ``sources`` say each token: its id, or from whose seat to take what was chosen
    last; ``keep`` are the tokens after which something is chosen, for ``seats`` with
    ``parameters``; ``adapters`` are the slots of the tokens' adapters, -1 for none; all else is
    explained by :class:`workers.generation.resident.paths.Places`.
    """
    return (
        Section("ids", torch.int64, (tokens,)),
        Section("sources", torch.int64, (tokens,)),
        Section("positions", torch.int64, (tokens,)),
        Section("slots", torch.int64, (tokens,)),
        Section("adapters", torch.int64, (tokens,)),
        Section("seats", torch.int64, (rows,)),
        Section("keep", torch.int64, (rows,)),
        Section("row_starts", torch.int32, (rows + 1,)),
        Section("starts", torch.int32, (rows + 1,)),
        Section("used", torch.int32, (rows,)),
        Section("parameters", torch.float32, (rows, len(COLUMNS))),
    )


class StepInputs:
    """Host arrays to write and device tensors to read, of one size of step."""

    def __init__(self, tokens: int, rows: int, device: torch.device) -> None:
        self.tokens = tokens
        self.rows = rows
        layout = sections(tokens, rows)
        total = sum(map(_room, layout))
        is_pinned = device.type == "cuda"
        self._device = torch.zeros(total, dtype=torch.uint8, device=device)
        self._copies = [
            torch.zeros(total, dtype=torch.uint8, pin_memory=is_pinned) for _ in range(_COPIES)
        ]
        self.device = _views(self._device, layout)
        self._hosts = [
            {name: view.numpy() for name, view in _views(copy, layout).items()}
            for copy in self._copies
        ]
        self._next = 0

    def host(self) -> dict[str, NDArray[np.generic]]:
        """The arrays to write for the next upload."""
        return self._hosts[self._next]

    def upload(self) -> None:
        """Bring what was written to the device, in the order of its stream."""
        self._device.copy_(self._copies[self._next], non_blocking=True)
        self._next = (self._next + 1) % _COPIES


def _room(section: Section) -> int:
    bytes_ = math.prod(section.shape) * section.dtype.itemsize
    return -(-bytes_ // _ALIGNMENT) * _ALIGNMENT


def _views(piece: torch.Tensor, layout: tuple[Section, ...]) -> dict[str, torch.Tensor]:
    views, start = {}, 0
    for section in layout:
        bytes_ = math.prod(section.shape) * section.dtype.itemsize
        views[section.name] = piece[start : start + bytes_].view(section.dtype).view(section.shape)
        start += _room(section)
    return views
