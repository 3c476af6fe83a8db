"""Which rows of a step belong to which adapter, and how few products serve them. No torch.

The rows of one adapter lie side by side. A *group* is the rows of one adapter; a *bundle* is what
one batched product computes: groups of as many rows each, in neighbouring slots of one page, side
by side in the step too. Where such luck is rare, groups are gathered and filled up instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# A prompt's chunk is a product of its own; filling up the others to its length would cost more.
_SHORT_ROWS = 8
# With more bundles than this on a page, gathering rows is cheaper than the calls.
_MAX_BUNDLES = 3
# Of the slots that one batched product reads, at least this share must be wanted.
_MIN_DENSITY = 0.5


@dataclass(frozen=True)
class Group:
    """The rows ``[row, row + count)`` of a step, which belong to one slot of a page."""

    slot: int
    row: int
    count: int


@dataclass(frozen=True)
class Bundle:
    """``slots`` neighbouring slots from ``slot`` on, with ``count`` rows each from ``row`` on."""

    slot: int
    slots: int
    row: int
    count: int


@dataclass(frozen=True)
class Gathering:
    """Groups of unlike lengths, filled up to the longest.

    Attributes:
        slot: the first of ``slots`` neighbouring slots.
        slots: see ``slot``.
        count: rows given to each slot.
        sources: ``[slots * count]`` rows of the step to read; what fills up repeats some row.
        places: which of these count.
        targets: for each of ``places``, the row of the step that it is added to.
    """

    slot: int
    slots: int
    count: int
    sources: tuple[int, ...]
    places: tuple[int, ...]
    targets: tuple[int, ...]


def arrange(groups: Sequence[Group]) -> tuple[list[Bundle], Gathering | None]:
    """The fewest products for the groups of one page.

    Args:
        groups: in the order of their rows; each slot at most once.
    """
    bundles = _bundled(groups)
    short = [group for group in groups if group.count <= _SHORT_ROWS]
    if len(bundles) <= _MAX_BUNDLES or not _is_dense(short):
        return bundles, None
    return _bundled([g for g in groups if g.count > _SHORT_ROWS]), _gathered(short)


def _bundled(groups: Sequence[Group]) -> list[Bundle]:
    bundles: list[Bundle] = []
    for group in groups:
        last = bundles[-1] if bundles else None
        if (
            last is not None
            and group.count == last.count
            and group.slot == last.slot + last.slots
            and group.row == last.row + last.slots * last.count
        ):
            bundles[-1] = Bundle(last.slot, last.slots + 1, last.row, last.count)
        else:
            bundles.append(Bundle(group.slot, 1, group.row, group.count))
    return bundles


def _is_dense(groups: Sequence[Group]) -> bool:
    if not groups:
        return False
    slots = [group.slot for group in groups]
    return len(slots) >= _MIN_DENSITY * (max(slots) - min(slots) + 1)


def _gathered(groups: Sequence[Group]) -> Gathering:
    first = min(group.slot for group in groups)
    slots = max(group.slot for group in groups) - first + 1
    count = max(group.count for group in groups)
    sources = [groups[0].row] * (slots * count)
    places: list[int] = []
    targets: list[int] = []
    for group in groups:
        for offset in range(group.count):
            place = (group.slot - first) * count + offset
            sources[place] = group.row + offset
            places.append(place)
            targets.append(group.row + offset)
    return Gathering(first, slots, count, tuple(sources), tuple(places), tuple(targets))
