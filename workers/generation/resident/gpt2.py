"""GPT-2's decoding step on a GPU in as few kernels as it takes: seven a layer.

The kernels are those of :mod:`workers.generation.resident.triton_gpt2`; products of many rows are
the libraries' own. Steps with prompts go through the model as usual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from workers.generation.adapter_bank import AdapterBank, Page
from workers.generation.attention import ATTENTION_NAME
from workers.generation.direct import direct
from workers.generation.resident.adapters import PLAIN_HALVES, Coded
from workers.generation.resident.arena import Arena, LayerShape
from workers.generation.resident.paths import Places, ResidentBatch, make_places, plain_decode

log = structlog.get_logger(__name__)

# A row's norm holds its adapter's weights in registers: so many numbers.
_MOST_NUMBERS = 32_768
# Inputs of the layers that write into the residual stream are parted among so many programs.
_PARTS = 4
# Names of one formula.
_TANH_GELU = ("gelu_new", "gelu_pytorch_tanh")
# The layers that adapters may change.
ADAPTED = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
# Of logits in half precision.
_TOLERANCE = 0.03


@dataclass(frozen=True)
class Added:
    """Which adapters a step adds: one page's, row by row.

    Attributes:
        page: where they lie.
        first_code: of its first slot.
        slots: as many of its first ones as rows have.
        codes: int64 ``[rows]``.
    """

    page: Page
    first_code: int
    slots: int
    codes: torch.Tensor


class FusedGPT2:
    """The layers of a GPT-2, for steps in which every sequence has one row."""

    def __init__(self, model: PreTrainedModel, arena: Arena) -> None:
        """Use :func:`fused_gpt2`, which knows whom this serves.

        Raises:
            ImportError: there is no Triton.
        """
        from workers.generation.resident import triton_gpt2

        self._kernels = triton_gpt2
        self._arena = arena
        # transformers publishes no types for its modules' parts.
        typed = cast(Any, model)
        self._model = typed
        self._body = typed.transformer
        self._width = int(typed.config.hidden_size)
        self._norms = [tuple(map(_plain_norm, (block.ln_1, block.ln_2))) for block in self._body.h]
        self._last_norm = _plain_norm(self._body.ln_f)
        attention, feed_forward = self._body.h[0].attn, self._body.h[0].mlp
        self._can_multiply = all(
            triton_gpt2.can_multiply(layer.weight.shape[0], layer.weight.shape[1], parts)
            for parts, layers in (
                (1, (attention.c_attn, feed_forward.c_fc)),
                (_PARTS, (attention.c_proj, feed_forward.c_proj)),
            )
            for layer in layers
        )

    def serves(self, rows: int, pages: dict[int, Page]) -> bool:
        """Whether it can add the adapters of these pages to a step of so many rows."""
        if len(pages) > 1 or not self._has_few(rows):
            return False
        (page,) = pages.values()
        return _power_of_two(self._width) * _power_of_two(_rank_of(page)) <= _MOST_NUMBERS

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, places: Places, added: Added | None
    ) -> torch.Tensor:
        """Compute a step.

        Args:
            ids: int64 ``[rows]``, the token of each sequence.
            positions: int64 ``[rows]``, its place in it.
            places: where the rows belong in the arena.
            added: what adapters add, see :meth:`serves`; None for the base alone.

        Returns:
            Logits ``[rows, vocabulary]``.
        """
        kernels, body, arena = self._kernels, self._body, self._arena
        multiply = kernels.multiply if self._has_few(len(ids)) else _multiply_many
        residual = body.wte(ids) + body.wpe(positions)
        adapters = _Adapters(kernels, added, len(ids))
        rows = adapters.rows
        product: tuple[torch.Tensor, torch.Tensor] | None = None
        for number, block in enumerate(body.h):
            attention, feed_forward, at = block.attn, block.mlp, f"transformer.h.{number}."
            before, between = self._norms[number]
            up, down = adapters.up, adapters.begin(at + "attn.c_attn")
            x = kernels.add_and_normalise(residual, product, before, rows, up, down)
            x = multiply(x, attention.c_attn, rows=rows, up=adapters.up)
            keys, values = arena.keys[number], arena.values[number]
            x = kernels.attend(x, keys, values, places, attention.scaling)
            down = adapters.begin(at + "attn.c_proj", _PARTS)
            x = multiply(x, attention.c_proj, parts=_PARTS, rows=rows, down=down)
            product = (x, attention.c_proj.bias)
            up, down = adapters.up, adapters.begin(at + "mlp.c_fc")
            x = kernels.add_and_normalise(residual, product, between, rows, up, down)
            x = multiply(x, feed_forward.c_fc, is_activated=True, rows=rows, up=adapters.up)
            down = adapters.begin(at + "mlp.c_proj", _PARTS)
            x = multiply(x, feed_forward.c_proj, parts=_PARTS, rows=rows, down=down)
            product = (x, feed_forward.c_proj.bias)
        x = kernels.add_and_normalise(residual, product, self._last_norm, rows, adapters.up)
        logits: torch.Tensor = self._model.get_output_embeddings()(x)
        return logits

    def _has_few(self, rows: int) -> bool:
        return self._can_multiply and rows <= self._kernels.MOST_ROWS


def _multiply_many(
    x: torch.Tensor, layer: Any, *, parts: int = 1, is_activated: bool = False, **_: None
) -> torch.Tensor:
    """As the kernel for a few rows, by the libraries, which part nothing."""
    if is_activated:
        activated: torch.Tensor = torch._addmm_activation(
            layer.bias, x, layer.weight, use_gelu=True
        )
        return activated
    return x @ layer.weight if parts > 1 else torch.addmm(layer.bias, x, layer.weight)


class _Adapters:
    """What a step's adapters add, layer after layer."""

    def __init__(self, kernels: Any, added: Added | None, count: int) -> None:
        self._kernels = kernels
        self._added = added
        self._count = count
        self.rows: Any = None
        # Of the layer that was begun last: what is still to be added to its output.
        self.up: Any = None
        if added is not None:
            page = added.page
            self.rows = kernels.Rows(added.codes, added.first_code, added.slots, _rank_of(page))

    def begin(self, layer: str, parts: int = 1) -> Any:
        """The first half of a layer's adapters, None where they leave it alone; from now on
        :attr:`up` is its second half."""
        self.up = None
        if self._added is None or layer not in self._added.page.down:
            return None
        page = self._added.page
        size = (self._count, parts, self.rows.rank)
        inner = torch.empty(size, dtype=torch.float32, device=self._added.codes.device)
        self.up = self._kernels.Half(page.up[layer], inner)
        return self._kernels.Half(page.down[layer], inner)


def _rank_of(page: Page) -> int:
    """All adapters of a page have one."""
    return next(iter(page.up.values())).shape[1]


def fused_gpt2(model: PreTrainedModel, arena: Arena) -> FusedGPT2 | None:
    """The short way through a model's decoding steps, where there is one: for a usual GPT-2, on a
    GPU where Triton's kernels say what plain PyTorch says.

    Args:
        model: fitted (:mod:`workers.generation.resident.fitting`).
        arena: where keys and values are kept.
    """
    typed = cast(Any, model)
    if (
        model.device.type != "cuda"
        or direct(model) is None
        or typed.config.activation_function not in _TANH_GELU
    ):
        return None
    try:
        fused = FusedGPT2(model, arena)
    except ImportError:
        return None
    return fused if _is_right(model.device, model.dtype) else None


def _is_right(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small model with adapters says the same both ways."""
    try:
        difference = difference_of_ways(device, dtype)
    except torch.AcceleratorError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, there is a way without it
        log.warning("fused_layers_refused", reason=repr(exc)[:200])
        return False
    if not difference < _TOLERANCE:
        log.warning("fused_layers_wrong", difference=difference)
        return False
    return True


@torch.inference_mode()
def difference_of_ways(
    device: torch.device, dtype: torch.dtype, adapted: Sequence[str] = ADAPTED, rank: int = 5
) -> float:
    """How far the logits of a small random model with adapters are from those of the model's own
    forward, as a share of these.

    Args:
        device: where it is tried.
        dtype: of the model.
        adapted: the layers that adapters change.
        rank: of the adapters.

    Raises:
        Exception: what a device or a compiler raises that cannot do it.
    """
    shape, dice = LayerShape(2, 4, 16), torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return (torch.randn(size, generator=dice) / 4).to(device, dtype)

    config = GPT2Config(
        vocab_size=97, n_layer=2, n_head=4, n_embd=64, n_positions=128,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    config._attn_implementation = ATTENTION_NAME
    model: Any = nn.Module.to(GPT2LMHeadModel(config), device, dtype).train(mode=False)
    for parameter in model.parameters():
        parameter.data = draw(*parameter.shape)
    names = [f"transformer.h.{i}.{part}" for i in range(2) for part in adapted]
    shapes = {name: model.get_submodule(name).weight.shape for name in names}
    page = Page(
        {name: draw(3, size_in, rank) for name, (size_in, _) in shapes.items()},
        {name: draw(3, rank, size_out) for name, (_, size_out) in shapes.items()},
        slots=3,
    )
    codes, ids = (torch.tensor(n, device=device) for n in ([7, -1, 8], [3, 90, 44]))
    places = make_places((1, 1, 1), (70, 9, 3), (100, 40, 20), device)
    positions = places.used.long() - 1
    arenas = [Arena(shape, 200, device, dtype) for _ in range(2)]
    for ours, theirs in zip(*((arena.keys, arena.values) for arena in arenas), strict=True):
        ours.copy_(draw(*ours.shape))
        theirs.copy_(ours)
    ours = FusedGPT2(model, arenas[0])(ids, positions, places, Added(page, 6, 3, codes))
    bank = AdapterBank(model, device, 4)
    bank.hook(names)
    bank.use([Coded(page, 6, codes, PLAIN_HALVES)])
    theirs = model(
        input_ids=ids[None],
        position_ids=positions[None],
        use_cache=False,
        packed_batch=ResidentBatch(arenas[1], places, plain_decode),
    ).logits[0]
    return float((ours - theirs).float().norm() / theirs.float().norm())


def _plain_norm(norm: nn.Module) -> nn.Module:
    """What a faster norm stands for."""
    return cast(nn.Module, getattr(norm, "layer", norm))


def _power_of_two(count: int) -> int:
    """The smallest that is at least as large."""
    return 1 << (count - 1).bit_length()
