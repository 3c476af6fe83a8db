"""Adapters row by row: what a step adds is a tensor of codes, so that a graph serves any mix."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import torch

from workers.generation.adapter_bank import Page

log = structlog.get_logger(__name__)

# Each row reads its adapter anew; from so many rows on, rows side by side are multiplied together.
MAX_CODED_ROWS = 512
# Of results in half precision.
_TOLERANCE = 0.02

AddRows = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int], None
]
"""Adds what :func:`workers.generation.resident.triton_lora.add_rows` adds."""


@dataclass(frozen=True)
class Coded:
    """Implements :class:`workers.generation.adapter_bank.Products` for one page."""

    page: Page
    first_code: int
    codes: torch.Tensor
    add_rows: AddRows

    def add(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:
        """Add each row's own."""
        if layer in self.page.down:
            self.add_rows(
                x.view(-1, x.shape[-1]),
                output.view(-1, output.shape[-1]),
                self.page.down[layer],
                self.page.up[layer],
                self.codes,
                self.first_code,
            )


def plain_add_rows(
    x: torch.Tensor,
    output: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    codes: torch.Tensor,
    first_code: int,
) -> None:
    """One product for all slots together, of which each row's own is kept."""
    slots, _, rank = down.shape
    own = codes[:, None] == first_code + torch.arange(slots, device=codes.device)
    inner = torch.einsum("ti,sir->tsr", x, down) * own[:, :, None]
    output.addmm_(inner.reshape(len(x), slots * rank), up.reshape(slots * rank, -1))


@torch.inference_mode()
def choose_add_rows(device: torch.device, dtype: torch.dtype) -> AddRows:
    """The fastest that adds on this device what plain PyTorch adds."""
    if device.type != "cuda":
        return plain_add_rows
    try:
        from workers.generation.resident.triton_lora import add_rows
    except ImportError:
        return plain_add_rows

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, device=device, dtype=dtype)

    x, before, down, up = draw(4, 96), draw(4, 48), draw(3, 96, 5), draw(3, 5, 48)
    codes = torch.tensor([7, -1, 9, 6], device=device)
    outputs = before.clone(), before.clone()
    plain_add_rows(x, outputs[0], down, up, codes, 6)
    try:
        add_rows(x, outputs[1], down, up, codes, 6)
    except torch.AcceleratorError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, there is a way without it
        log.warning("adapter_kernel_refused", reason=repr(exc)[:200])
        return plain_add_rows
    difference = (outputs[0] - outputs[1]).float().norm() / outputs[0].float().norm()
    if not difference < _TOLERANCE:
        log.warning("adapter_kernel_wrong", difference=float(difference))
        return plain_add_rows
    return add_rows
