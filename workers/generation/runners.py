"""Which runner serves a model, and on which device its thread works."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from workers.generation.adapter_bank import AdapterBank
from workers.generation.device import DeviceRunner, Runner
from workers.generation.loading import LoadedModel
from workers.generation.resident.runner import make_runner


def ignore(_exc: Exception) -> None:
    """Nobody is there to start the process anew."""


def nothing_is_left() -> bool:
    """Answers a runner that asks for room for an engine that has ended."""
    return False


def working_on(device: torch.device) -> AbstractContextManager[object]:
    """A context in which this thread's events, streams, graphs and kernels are those of a device;
    PyTorch would otherwise take the first GPU's."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def choose_runner(
    loaded: LoadedModel,
    bank: AdapterBank,
    *,
    is_resident: bool,
    max_batch_size: int,
    max_tokens: int,
    memory_share: float,
    on_device_lost: Callable[[Exception], None],
) -> Runner:
    """The runner that keeps everything on the device, where that is wished and can be, else the
    one that needs nothing.

    Args:
        loaded: see :func:`make_runner`, likewise ``bank`` and those that follow.
        bank: see ``loaded``.
        is_resident: whether the first is wished.
        max_batch_size: see ``loaded``.
        max_tokens: see ``loaded``.
        memory_share: see ``loaded``.
        on_device_lost: called where trying the device's kernels breaks it for this process.

    Raises:
        torch.AcceleratorError: the device is broken.
    """
    runner: Runner | None = None
    if is_resident:
        try:
            with working_on(loaded.device):
                runner = make_runner(
                    loaded,
                    bank,
                    max_batch_size=max_batch_size,
                    max_tokens=max_tokens,
                    memory_share=memory_share,
                )
        except torch.AcceleratorError as exc:
            on_device_lost(exc)
            raise
    return runner or DeviceRunner(loaded, bank)
