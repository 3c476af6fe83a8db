"""Ways to attend over an arena: what the device is best at, and plain PyTorch for all others."""

from dataclasses import dataclass
from typing import Protocol

import structlog
import torch
from torch.nn.functional import scaled_dot_product_attention

from workers.generation.resident.arena import Arena, LayerShape

log = structlog.get_logger(__name__)

# Of half-precision results with the same inputs; more means that a kernel does something else.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class HostSpan:
    """One sequence's rows ``[row, row + count)`` and its segment, as the host knows them."""

    row: int
    count: int
    start: int
    used: int


@dataclass(frozen=True)
class Places:
    """Where the rows of a step belong.

    Attributes:
        slots: int64 ``[T]``, the token of the arena that each row's key and value become.
        row_starts: int32 ``[sequences + 1]``, where each sequence's rows begin, and the end.
        starts: int32 ``[sequences + 1]``, where its segment begins; the last is unused.
        used: int32 ``[sequences]``, tokens of its segment that count, this step's among them.
        max_rows: of a sequence; 1 where all decode.
        max_used: no sequence has more tokens; a multiple of what makes shapes few.
        spans: the same for paths that loop on the host; no graph can be made of those.
    """

    slots: torch.Tensor
    row_starts: torch.Tensor
    starts: torch.Tensor
    used: torch.Tensor
    max_rows: int
    max_used: int
    spans: tuple[HostSpan, ...] = ()


class Path(Protocol):
    """A way to keep a step's keys and values and attend; both happen in the order of rows."""

    __name__: str

    def __call__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        places: Places,
        scaling: float,
    ) -> torch.Tensor:
        """Attend.

        Args:
            keys: of a layer, ``[tokens of the arena, kv_heads, size]``; likewise ``values``.
            values: see ``keys``.
            query: ``[T, heads, size]``.
            key: the step's, ``[T, kv_heads, size]``; likewise ``value``.
            value: see ``key``.
            places: where the rows belong.
            scaling: factor of the scores.

        Returns:
            ``[T, heads, size]``.
        """
        ...


@dataclass(frozen=True)
class Paths:
    """How decoding steps attend, and how all others do."""

    decode: Path
    mixed: Path
    # Whether a graph can be made of steps with prompts.
    is_mixed_static: bool
    # Whether decoding fills all sequences up to the longest.
    needs_length: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.decode.__name__}, {self.mixed.__name__}"


class ResidentBatch:
    """A step's places in an arena; travels through the model as its ``packed_batch``."""

    def __init__(self, arena: Arena, places: Places, path: Path) -> None:
        self._arena = arena
        self._places = places
        self._path = path

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """See :func:`workers.generation.attention.packed_attention`."""
        output = self._path(
            self._arena.keys[layer],
            self._arena.values[layer],
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            self._places,
            query.shape[-1] ** -0.5 if scaling is None else scaling,
        )
        return output[None]


def plain_mixed(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """One sequence after the other."""
    _keep(keys, values, key, value, places)
    output = torch.zeros_like(query)
    for span in places.spans:
        rows = slice(span.row, span.row + span.count)
        held = slice(span.start, span.start + span.used)
        is_seen = torch.ones(span.count, span.used, dtype=torch.bool, device=query.device)
        output[rows] = scaled_dot_product_attention(
            query[rows].transpose(0, 1)[None],
            keys[held].transpose(0, 1)[None],
            values[held].transpose(0, 1)[None],
            attn_mask=is_seen.tril(span.used - span.count),
            scale=scaling,
            enable_gqa=keys.shape[1] != query.shape[1],
        )[0].transpose(0, 1)
    return output


def plain_decode(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """All sequences at once, each one's keys and values gathered and filled up to ``max_used``."""
    _keep(keys, values, key, value, places)
    offsets = torch.arange(places.max_used, device=query.device)
    is_used = offsets < places.used[:, None]
    index = (places.starts[:-1, None].long() + offsets) * is_used
    # What is hidden must still be a number, whoever wrote it.
    gathered = values[index].masked_fill(~is_used[:, :, None, None], 0)
    output = scaled_dot_product_attention(
        query[:, :, None],
        keys[index].masked_fill(~is_used[:, :, None, None], 0).transpose(1, 2),
        gathered.transpose(1, 2),
        attn_mask=is_used[:, None, None],
        scale=scaling,
        enable_gqa=keys.shape[1] != query.shape[1],
    )
    return output[:, :, 0]


def flash(
    keys: torch.Tensor,
    values: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
    scaling: float,
) -> torch.Tensor:
    """PyTorch's own flash attention, which finds each segment by where it begins.

    The segments need not lie side by side: with ``seqused_k`` given, the kernel takes from
    ``cum_seq_k`` only where each begins.
    """
    _keep(keys, values, key, value, places)
    output: torch.Tensor = torch.ops.aten._flash_attention_forward(
        query,
        keys,
        values,
        places.row_starts,
        places.starts,
        places.max_rows,
        places.max_used,
        0.0,
        places.max_rows > 1,
        False,  # noqa: FBT003
        scale=scaling,
        seqused_k=places.used,
    )[0]
    return output


def _keep(
    keys: torch.Tensor,
    values: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    places: Places,
) -> None:
    keys.index_copy_(0, places.slots, key)
    values.index_copy_(0, places.slots, value)


PLAIN = Paths(plain_decode, plain_mixed, is_mixed_static=False, needs_length=True)


def choose_paths(shape: LayerShape, heads: int, device: torch.device, dtype: torch.dtype) -> Paths:
    """The fastest paths that give on this device what plain PyTorch gives."""
    if device.type != "cuda":
        return PLAIN

    def is_right(path: Path | None, rows: tuple[int, ...]) -> bool:
        return path is not None and _is_right(path, shape, heads, device, dtype, rows)

    has_flash = is_right(flash, (1, 5, 3))
    mixed = flash if has_flash else plain_mixed
    triton = _triton_path()
    if triton is not None and is_right(triton, (1, 1, 1)):
        return Paths(triton, mixed, is_mixed_static=has_flash, needs_length=False)
    is_flash = has_flash and is_right(flash, (1, 1, 1))
    decode = flash if is_flash else plain_decode
    return Paths(decode, mixed, is_mixed_static=has_flash, needs_length=not is_flash)


def _triton_path() -> Path | None:
    """Triton comes with PyTorch's builds for CUDA and ROCm, and not with all others."""
    try:
        from workers.generation.resident.triton_decode import triton_decode
    except ImportError:
        return None
    return triton_decode


@torch.inference_mode()
def _is_right(
    path: Path,
    shape: LayerShape,
    heads: int,
    device: torch.device,
    dtype: torch.dtype,
    rows: tuple[int, ...],
) -> bool:
    """Whether a path runs here and gives what the plain one gives, for sequences of these rows."""
    dice = torch.Generator(device="cpu").manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=dice).to(device, dtype)

    count, used, starts = sum(rows), (70, 9, 3), (100, 40, 200)
    keys, values = (draw(300, shape.heads, shape.head_size) for _ in range(2))
    new_keys, new_values = (draw(count, shape.heads, shape.head_size) for _ in range(2))
    queries = draw(count, heads, shape.head_size)
    places = make_places(rows, used, starts, device)
    outcomes = []
    for each in (plain_mixed, path):
        held = keys.clone(), values.clone()
        try:
            output = each(*held, queries, new_keys, new_values, places, shape.head_size**-0.5)
            outcomes.append(torch.cat([part.float().flatten() for part in (output, *held)]))
        except torch.AcceleratorError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, there is a path without it
            log.warning("attention_path_refused", path=path.__name__, reason=repr(exc)[:200])
            return False
    difference = float((outcomes[0] - outcomes[1]).norm() / outcomes[0].norm())
    if not difference < _TOLERANCE:
        log.warning("attention_path_wrong", path=path.__name__, difference=difference)
        return False
    return True


def make_places(
    rows: tuple[int, ...], used: tuple[int, ...], starts: tuple[int, ...], device: torch.device
) -> Places:
    """The places of some sequences, given as the host knows them."""
    spans: list[HostSpan] = []
    slots: list[int] = []
    row = 0
    for count, length, start in zip(rows, used, starts, strict=True):
        spans.append(HostSpan(row, count, start, length))
        slots += range(start + length - count, start + length)
        row += count

    def tensor(values: list[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    return Places(
        tensor(slots, torch.int64),
        tensor([*(span.row for span in spans), row], torch.int32),
        tensor([*starts, 0], torch.int32),
        tensor(list(used), torch.int32),
        max(rows),
        max(used),
        tuple(spans),
    )
