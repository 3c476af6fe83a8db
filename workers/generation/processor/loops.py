"""Loops compiled for this processor, of which each thread takes a part.

Numba compiles them for the processor that is there and keeps the result beside the file they are
in, or where ``NUMBA_CACHE_DIR`` says. They hold no lock of Python's, and run on the threads that
PyTorch's operations have: such a thread spins for a while after each operation, waiting for the
next, so it takes its part at once, and one more thread of our own would have to share its processor
with it. No Python runs on the way there. A thread that had to wait for Python's lock before its
part began would fall asleep, and waking it takes 50 us, where a part takes 10 (docs/log.md).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from workers.generation.memory import mapped_below, page_out
from workers.generation.processor.threads import openmp

# Reordering sums is fine; that numbers may be no numbers must not be forgotten.
ARITHMETIC = frozenset({"reassoc", "contract", "nsz", "arcp"})
# Where the same is computed in several places, it must have the same bits.
EXACT: frozenset[str] = frozenset()
# PyTorch's OpenMP in compiled code; another one may be loaded, too.
_PARALLEL, _NUMBER, _COUNT = "perroquet_parallel", "perroquet_thread", "perroquet_threads"

Compiled = Callable[..., Any]
Loop = Callable[..., None]
Bounds = Sequence[int] | NDArray[np.int64]
# Numba publishes no types for what it is extended by.
_Codegen = Any

_WORD, _HALF_WORD, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


def shared(
    signatures: Sequence[tuple[Any, ...]], arithmetic: frozenset[str] = ARITHMETIC
) -> Callable[[Loop], Loop]:
    """Compile ``loop(first, last, *arguments)`` for these types at once, so that no answer waits.

    Args:
        signatures: the types of the arguments that follow ``first`` and ``last``.
        arithmetic: what LLVM may do with sums and products.

    Returns:
        What makes of the loop ``run(bounds, *arguments)``, which calls ``loop(bounds[i],
        bounds[i + 1], *arguments)`` for each i, side by side. Two bounds run it in the calling
        thread alone. Raises MemoryError where a part had no memory to work in.
    """

    def make(loop: Loop) -> Loop:
        # What is kept is known by the loop's own file; what is beside it may be part of it, too.
        loop.__qualname__ += f"_{_digest_of_all()}"
        part = _compiled(loop, [(types.int64, types.int64, *own) for own in signatures], arithmetic)
        spread = _spreading(loop, part, signatures) if openmp() is not None else None

        def run(bounds: Bounds, *arguments: object) -> None:
            if len(bounds) == 2:
                part(bounds[0], bounds[1], *arguments)
            elif spread is None:
                _spread_among_helpers(part, bounds, *arguments)
            elif spread(np.asarray(bounds, np.int64), arguments):
                raise MemoryError("A compiled loop had no memory to work in.")

        run.__doc__, run.__name__ = loop.__doc__, loop.__name__
        return run

    return make


def page_out_compiler() -> None:
    """Have LLVM take no memory, 70 MB, until something is compiled again."""
    for memory in mapped_below(Path(binding.__file__).parent):
        page_out(memory)


def _compiled(
    function: Compiled, signatures: Sequence[tuple[Any, ...]], arithmetic: frozenset[str]
) -> Compiled:
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(arithmetic)}
    try:
        compiled: Compiled = njit(list(signatures), cache=True, **settings)(function)
    except RuntimeError:
        # There is no folder that it could be kept in.
        compiled = njit(list(signatures), **settings)(function)
    return compiled


def _spread(bounds: Any, arguments: Any) -> Any:
    """What of each loop a copy is compiled of, with its part as a global name: Numba keeps nothing
    that is compiled of a closure over another loop."""
    return _side_by_side(_part, bounds, arguments)  # type: ignore[name-defined]  # noqa: F821


def _spreading(loop: Loop, part: Compiled, signatures: Sequence[tuple[Any, ...]]) -> Compiled:
    _name_openmp()
    source = loop.__code__
    code = _spread.__code__.replace(
        co_filename=source.co_filename, co_firstlineno=source.co_firstlineno
    )
    spread = FunctionType(code, {"_side_by_side": _side_by_side, "_part": part}, "spread")
    spread.__module__, spread.__qualname__ = loop.__module__, f"{loop.__qualname__}_spread"
    return _compiled(
        spread, [(types.int64[::1], types.Tuple(own)) for own in signatures], frozenset()
    )


@cache
def _digest_of_all() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@cache
def _name_openmp() -> None:
    """Tell compiled code where PyTorch's OpenMP is."""
    if (library := openmp()) is not None:
        binding.add_symbol(_PARALLEL, library.parallel)
        binding.add_symbol(_NUMBER, library.thread)
        binding.add_symbol(_COUNT, library.threads)


@intrinsic
def pointer_to(_context: Any, address: Any, like: Any) -> tuple[Any, _Codegen]:
    """An address as a pointer to what ``like`` is an array of."""
    pointer = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(address, like), generate


@intrinsic
def _side_by_side(typing: Any, loop: Any, bounds: Any, arguments: Any) -> tuple[Any, _Codegen]:
    """Run a loop's parts on PyTorch's threads, and say whether one of them failed.

    What a compiler makes of OpenMP's ``parallel for``: the part's code goes into a function of its
    own, which each thread calls with the address of all it needs.
    """
    called = loop.get_call_type(typing, (types.int64, types.int64, *arguments.types), {})

    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        result = loop.dispatcher.get_compile_result(called)
        context.add_linking_libs([result.library])
        starts = context.make_array(bounds)(context, builder, values[1])
        count = builder.sub(cgutils.unpack_tuple(builder, starts.shape, 1)[0], _WORD(1))
        # Where the bounds are, how many parts there are, what all take, and whether one failed.
        fields = (starts.data, count, values[2], cgutils.false_bit)
        task = cgutils.alloca_once(builder, ir.LiteralStructType([each.type for each in fields]))
        for place, field in enumerate(fields):
            builder.store(field, cgutils.gep_inbounds(builder, task, 0, place))
        region = _region(context, builder.module, task.type, result.fndesc, called)
        pointer = _BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [region.type, pointer, _HALF_WORD, _HALF_WORD])
        parallel = cgutils.get_or_insert_function(builder.module, kind, _PARALLEL)
        threads = builder.trunc(count, _HALF_WORD)
        builder.call(parallel, [region, builder.bitcast(task, pointer), threads, _HALF_WORD(0)])
        return builder.load(cgutils.gep_inbounds(builder, task, 0, 3))

    return types.boolean(loop, bounds, arguments), generate


def _region(context: Any, module: Any, task_type: Any, callee: Any, called: Any) -> Any:
    """A thread's share of the parts; there may be fewer threads than were asked for."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer()])
    region = ir.Function(module, kind, module.get_unique_name("region"))
    region.linkage = "internal"
    builder = ir.IRBuilder(region.append_basic_block())
    task = builder.bitcast(region.args[0], task_type)
    starts, count, packed = (
        builder.load(cgutils.gep_inbounds(builder, task, 0, place)) for place in range(3)
    )
    own, threads = (
        builder.zext(
            builder.call(
                cgutils.get_or_insert_function(module, ir.FunctionType(_HALF_WORD, []), name), []
            ),
            _WORD,
        )
        for name in (_NUMBER, _COUNT)
    )
    function = context.declare_function(module, callee)
    with cgutils.for_range_slice(builder, own, count, threads) as (part, _):
        first = builder.load(builder.gep(starts, [part]))
        last = builder.load(builder.gep(starts, [builder.add(part, _WORD(1))]))
        status, _nothing = context.call_conv.call_function(
            *(builder, function, called.return_type, called.args),
            [first, last, *cgutils.unpack_tuple(builder, packed)],
        )
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(cgutils.true_bit, cgutils.gep_inbounds(builder, task, 0, 3))
    builder.ret_void()
    return region


def _spread_among_helpers(part: Compiled, bounds: Bounds, *arguments: object) -> None:
    """By threads of our own, which sleep while there is nothing to do."""
    helpers = _helpers()
    others = [helpers.submit(part, start, end, *arguments) for start, end in pairwise(bounds[1:])]
    part(bounds[0], bounds[1], *arguments)
    for other in others:
        other.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    """Makes a thread where none is idle, so no more than were ever needed at once."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="helper")
