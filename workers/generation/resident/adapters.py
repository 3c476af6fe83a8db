"""Adapters row by row: what a step adds is a tensor of codes, so that a graph serves any mix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from workers.generation.adapter_bank import Page

log = structlog.get_logger(__name__)

# Each row reads its adapter anew; from so many rows on, rows side by side are multiplied together.
MAX_CODED_ROWS = 512
# Of results in half precision.
_TOLERANCE = 0.02


Half = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int], None]
"""From what, into what, the slots' weights, the rows' codes, the code of the first slot; see
:mod:`workers.generation.resident.triton_lora`."""


@dataclass(frozen=True)
class Halves:
    """A way to write ``x @ down[slot]`` of each row, and to add ``inner @ up[slot]``."""

    down: Half
    up: Half


def _plain_down(
    x: torch.Tensor,
    inner: torch.Tensor,
    weights: torch.Tensor,
    codes: torch.Tensor,
    first_code: int,
) -> None:
    """One product for all slots together, of which each row's own is kept."""
    products = torch.einsum("ti,sir->tsr", x, weights)
    # What is no number of another's adapter must not be multiplied by nought.
    inner.copy_(torch.where(_is_own(codes, first_code, len(weights)), products, 0).sum(dim=1))


def _plain_up(
    inner: torch.Tensor,
    output: torch.Tensor,
    weights: torch.Tensor,
    codes: torch.Tensor,
    first_code: int,
) -> None:
    is_own = _is_own(codes, first_code, len(weights))
    products = torch.einsum("tr,sro->tso", inner, weights)
    output.add_(torch.where(is_own, products, 0).sum(dim=1))


PLAIN_HALVES = Halves(_plain_down, _plain_up)


def _triton_halves() -> Halves:
    """Each row reads its own slot; the first half runs on a stream beside the layer's product.

    Raises:
        ImportError: there is no Triton.
    """
    from workers.generation.resident.triton_lora import add_up, multiply_down

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def down(*arguments: Any) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            multiply_down(*arguments)

    def up(*arguments: Any) -> None:
        torch.cuda.current_stream().wait_stream(side)
        add_up(*arguments)

    return Halves(down, up)


class Coded:
    """Implements :class:`workers.generation.adapter_bank.Products` for one page."""

    def __init__(self, page: Page, first_code: int, codes: torch.Tensor, halves: Halves) -> None:
        self._page = page
        self._first_code = first_code
        self._codes = codes
        self._halves = halves
        # Of the layer that is being computed.
        self._inner: torch.Tensor | None = None

    def begin(self, layer: str, x: torch.Tensor) -> None:
        """Begin with what needs the layer's input alone."""
        if layer in self._page.down:
            down = self._page.down[layer]
            rows = x.view(-1, x.shape[-1])
            self._inner = x.new_empty(len(rows), down.shape[2])
            self._halves.down(rows, self._inner, down, self._codes, self._first_code)

    def add(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:  # noqa: ARG002
        """Add each row's own."""
        if self._inner is not None:
            sums = output.view(-1, output.shape[-1])
            up = self._page.up[layer]
            self._halves.up(self._inner, sums, up, self._codes, self._first_code)
            self._inner = None


def _is_own(codes: torch.Tensor, first_code: int, slots: int) -> torch.Tensor:
    """``[rows, slots, 1]``."""
    return (codes[:, None] == first_code + torch.arange(slots, device=codes.device))[:, :, None]


@torch.inference_mode()
def choose_halves(device: torch.device, dtype: torch.dtype) -> Halves:
    """The fastest that add on this device what plain PyTorch adds."""
    if device.type != "cuda":
        return PLAIN_HALVES

    dice = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=dice).to(device, dtype)

    x, before, down, up = draw(4, 96), draw(4, 48), draw(3, 96, 5), draw(3, 5, 48)
    codes = torch.tensor([7, -1, 9, 6], device=device)
    outputs = []
    try:
        halves = _triton_halves()
        for each in (PLAIN_HALVES, halves):
            inner, output = x.new_zeros(4, 5), before.clone()
            each.down(x, inner, down, codes, 6)
            each.up(inner, output, up, codes, 6)
            outputs.append(output.float())
    except torch.AcceleratorError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, there is a way without it
        log.warning("adapter_kernel_refused", reason=repr(exc)[:200])
        return PLAIN_HALVES
    difference = float((outputs[0] - outputs[1]).norm() / outputs[0].norm())
    if not difference < _TOLERANCE:
        log.warning("adapter_kernel_wrong", difference=difference)
        return PLAIN_HALVES
    return halves
