"""Adapters on the device: slots that a step multiplies without copying a weight.

A page holds the matrices of many adapters one behind the other, so that one batched product serves
all rows of a step whatever their adapters. Each weight is read once a step, as the base's are; that
is what many adapters in a batch cost at least.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from workers.generation.adapter_rows import Bundle, Gathering, Group, arrange
from workers.generation.adapters import AdapterKey, LoraAdapter

_low_rank: ModuleType | None = None
try:
    from workers.generation.processor import low_rank
except ImportError:
    # Numba has no wheel for this Python or this processor.
    pass
else:
    _low_rank = low_rank

# So many rows of an adapter go through a loop of our own; PyTorch is quicker with more.
_COMPILED_ROWS = 64
# A page begins small and grows as adapters come, up to this. A GPU has a kernel for each page.
SLOTS_PER_PAGE, _GPU_SLOTS_PER_PAGE = 32, 128
_FIRST_SLOTS = 4


@dataclass(eq=False)
class Page:
    """Slots for adapters of one rank and the same layers.

    ``down[layer]`` is ``[slots, in, rank]`` and ``up[layer]`` is ``[slots, rank, out]``.
    """

    down: dict[str, torch.Tensor]
    up: dict[str, torch.Tensor]
    slots: int = 0
    free: list[int] = field(default_factory=list)
    # Whether a processor's own loop can multiply them.
    is_compiled: bool = False

    def grow(self, slots: int) -> None:
        """Have so many slots, a layer at a time so that little is held twice.

        Where the device has no room, everything stays as it is, and more may be tried later.
        """
        for halves in (self.down, self.up):
            for layer, old in halves.items():
                if len(old) < slots:
                    halves[layer] = old.new_zeros((slots, *old.shape[1:]))
                    halves[layer][: len(old)] = old
        self.free += range(self.slots, slots)
        self.slots = slots

    def write(self, slot: int, adapter: LoraAdapter) -> None:
        for layer, (down, up) in adapter.layers.items():
            self.down[layer][slot].copy_(down)
            self.up[layer][slot].copy_(up)


@dataclass(eq=False)
class _Place:
    page: Page
    slot: int
    users: int = 0


class Products(Protocol):
    """What a step adds from one page."""

    def begin(self, layer: str, x: torch.Tensor) -> None:
        """A layer's input is known, ``[1, T, in]``."""
        ...

    def add(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:
        """Add to a layer's output, in place: ``[1, T, in]`` and ``[1, T, out]``."""
        ...


@dataclass(frozen=True)
class _Bundled:
    """Rows side by side, some products for all of them; indices are on the device."""

    page: Page
    bundles: list[Bundle]
    gathering: "_Gathered | None"

    def begin(self, layer: str, x: torch.Tensor) -> None:
        """Nothing can be done before the layer's output is there."""

    def add(self, layer: str, x: torch.Tensor, output: torch.Tensor) -> None:
        if layer not in self.page.down:
            return
        down, up = self.page.down[layer], self.page.up[layer]
        rows, sums = x.view(-1, x.shape[-1]), output.view(-1, output.shape[-1])
        for bundle in self.bundles:
            end = bundle.row + bundle.slots * bundle.count
            if bundle.slots == 1:
                inner = rows[bundle.row : end] @ down[bundle.slot]
                sums[bundle.row : end].addmm_(inner, up[bundle.slot])
                continue
            slots = slice(bundle.slot, bundle.slot + bundle.slots)
            shape = (bundle.slots, bundle.count, -1)
            inner = torch.bmm(rows[bundle.row : end].view(shape), down[slots])
            sums[bundle.row : end].view(shape).baddbmm_(inner, up[slots])
        if self.gathering is not None:
            _add_gathered(self.gathering, rows, sums, down, up)


@dataclass(frozen=True)
class _Gathered:
    """A gathering with its indices on the device, each ``[…]`` of int64."""

    plan: Gathering
    sources: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor


class AdapterBank:
    """The adapters of those who run. Used by the engine's thread alone.

    Invariants: an adapter in use keeps its slot; one that is not stays until its slot is needed.
    Nothing here refers to an adapter's weights on the host.
    What a step adds is set before it with :meth:`begin` and taken back after it with :meth:`end`;
    between the two the base's layers add it to their output.
    """

    def __init__(self, model: nn.Module, device: torch.device, max_adapters: int) -> None:
        """Args:
        model: the base; its layers are hooked when the first adapter that changes them comes.
        device: where the model is.
        max_adapters: that may be in use at once; slots of more are kept no longer than needed.
        """
        self._model = model
        self._device = device
        self._page_slots = _GPU_SLOTS_PER_PAGE if device.type == "cuda" else SLOTS_PER_PAGE
        self._max_pages = -(-max_adapters // self._page_slots)
        self._max_slots = min(self._page_slots, max_adapters)
        self._pages: dict[tuple[int, tuple[str, ...]], list[Page]] = {}
        self._places: OrderedDict[AdapterKey, _Place] = OrderedDict()
        self._hooked: set[str] = set()
        self._hooks: list[RemovableHandle] = []
        self._products: list[Products] = []
        # Counts up whenever a page comes, goes or moves.
        self.generation = 0
        # How many answers have an adapter.
        self.in_use = 0

    @property
    def held(self) -> int:
        """How many adapters lie in slots."""
        return len(self._places)

    @torch.inference_mode()
    def enter(self, adapter: LoraAdapter) -> None:
        """Give an adapter a slot for one more answer. Raises what torch raises without memory."""
        place = self._places.get(adapter.key)
        if place is None:
            page = self._page_with_room(adapter)
            place = _Place(page, page.free[0])
            page.write(place.slot, adapter)
            del page.free[0]
            self.hook(adapter.layers)
            self._places[adapter.key] = place
        self._places.move_to_end(adapter.key)
        place.users += 1
        self.in_use += 1

    def leave(self, adapter: LoraAdapter) -> None:
        """An answer with this adapter has ended."""
        self._places[adapter.key].users -= 1
        self.in_use -= 1

    def order_of(self, adapter: LoraAdapter | None) -> tuple[int, int]:
        """Sorts rows so that :meth:`begin` finds them side by side; the base's come first."""
        if adapter is None:
            return (-1, -1)
        place = self._places[adapter.key]
        return (id(place.page), place.slot)

    def begin(self, adapters: Sequence[tuple[LoraAdapter | None, int]]) -> None:
        """Set what the next step adds.

        Args:
            adapters: of each span of the step and how many rows it has, sorted by ``order_of``.
        """
        groups: dict[Page, list[Group]] = {}
        row = 0
        for adapter, count in adapters:
            if adapter is not None:
                place = self._places[adapter.key]
                on_page = groups.setdefault(place.page, [])
                if on_page and on_page[-1].slot == place.slot:
                    last = on_page.pop()
                    on_page.append(Group(last.slot, last.row, last.count + count))
                else:
                    on_page.append(Group(place.slot, row, count))
            row += count
        self._products = [
            products
            for page, on_page in groups.items()
            for products in self._arranged(page, on_page)
        ]

    def coded(
        self, adapters: Sequence[tuple[LoraAdapter | None, int]]
    ) -> tuple[dict[int, Page], list[int]]:
        """What the next step may add, row by row.

        Args:
            adapters: of each span of the step and how many rows it has.

        Returns:
            The pages that are needed, by the code of their first slot, and the code of each row's
            slot, -1 for none. Codes are valid as long as ``generation`` is the same.
        """
        first_codes = {
            page: number * self._page_slots
            for number, page in enumerate(page for pages in self._pages.values() for page in pages)
        }
        needed: dict[int, Page] = {}
        codes: list[int] = []
        for adapter, count in adapters:
            code = -1
            if adapter is not None:
                place = self._places[adapter.key]
                first = first_codes[place.page]
                needed[first] = place.page
                code = first + place.slot
            codes += [code] * count
        return needed, codes

    def use(self, products: list[Products]) -> None:
        """Add these until :meth:`end`."""
        self._products = products

    @property
    def is_adding(self) -> bool:
        """Whether the base's layers add something at present."""
        return bool(self._products)

    def end(self) -> None:
        """Add nothing any more."""
        self._products = []

    def _arranged(self, page: Page, groups: list[Group]) -> Iterator[Products]:
        if page.is_compiled and _low_rank is not None:
            few = [group for group in groups if group.count <= _COMPILED_ROWS]
            if few:
                yield _low_rank.CompiledProducts(page.down, page.up, few)
            groups = [group for group in groups if group.count > _COMPILED_ROWS]
        if groups:
            yield self._batched(page, groups)

    def _batched(self, page: Page, groups: list[Group]) -> Products:
        bundles, gathering = arrange(groups)
        if gathering is None:
            return _Bundled(page, bundles, None)
        sources, places, targets = (
            torch.tensor(index, dtype=torch.long, device=self._device)
            for index in (gathering.sources, gathering.places, gathering.targets)
        )
        return _Bundled(page, bundles, _Gathered(gathering, sources, places, targets))

    def _page_with_room(self, adapter: LoraAdapter) -> Page:
        pages = self._pages.setdefault((adapter.rank, tuple(adapter.layers)), [])
        with_room = next((page for page in pages if page.free), None) or self._vacated(pages)
        if with_room is not None:
            return with_room
        growing = next((page for page in pages if page.slots < self._max_slots), None)
        page = growing or self._new_page(adapter)
        self.generation += 1
        page.grow(min(self._max_slots, 2 * page.slots or _FIRST_SLOTS))
        if growing is None:
            pages.append(page)
        return page

    def _vacated(self, pages: list[Page]) -> Page | None:
        """Let the least recently used idle adapter of these pages go."""
        for key, place in self._places.items():
            if not place.users and place.page in pages:
                del self._places[key]
                place.page.free.append(place.slot)
                return place.page
        return None

    def _new_page(self, adapter: LoraAdapter) -> Page:
        self._drop_idle_pages()
        self.generation += 1

        def room(half: torch.Tensor) -> torch.Tensor:
            return torch.zeros((0, *half.shape), dtype=half.dtype, device=self._device)

        down = {layer: room(down) for layer, (down, _) in adapter.layers.items()}
        up = {layer: room(up) for layer, (_, up) in adapter.layers.items()}
        is_compiled = (
            self._device.type == "cpu" and _low_rank is not None and bool(_low_rank.fits(down, up))
        )
        return Page(down, up, is_compiled=is_compiled)

    def _drop_idle_pages(self) -> None:
        """Pages of other ranks and layers that nobody uses give their memory back."""
        if sum(map(len, self._pages.values())) < self._max_pages:
            return
        used = {place.page for place in self._places.values() if place.users}
        self._places = OrderedDict((k, p) for k, p in self._places.items() if p.page in used)
        for pages in self._pages.values():
            pages[:] = [page for page in pages if page in used]

    def hook(self, layers: Iterable[str]) -> None:
        """Have layers of the model add what is in use; once is enough."""
        for name in layers:
            if name not in self._hooked:
                layer = self._model.get_submodule(name)
                self._hooks += (
                    layer.register_forward_pre_hook(self._beginning(name)),
                    layer.register_forward_hook(self._adding(name)),
                )
                self._hooked.add(name)

    def close(self) -> None:
        """Leave the base's layers as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._hooked.clear()

    def _beginning(self, layer: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def begin(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            for products in self._products:
                products.begin(layer, inputs[0])

        return begin

    def _adding(self, layer: str) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], None]:
        def add(_module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
            for products in self._products:
                products.add(layer, inputs[0], output)

        return add


def _add_gathered(
    gathered: _Gathered,
    rows: torch.Tensor,
    sums: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
) -> None:
    plan = gathered.plan
    slots = slice(plan.slot, plan.slot + plan.slots)
    filled_up = rows.index_select(0, gathered.sources).view(plan.slots, plan.count, -1)
    added = torch.bmm(torch.bmm(filled_up, down[slots]), up[slots]).view(-1, sums.shape[-1])
    sums.index_add_(0, gathered.targets, added.index_select(0, gathered.places))
