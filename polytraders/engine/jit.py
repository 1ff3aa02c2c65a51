"""Compilation of kernels, with a cache that cannot go stale and a switch to plain Python.

numba's file cache sees edits of a function's own file, but not of other files it calls. A kernel's
call graph therefore lies in its own module and in the engine, and the cache directory is named
after a hash of the engine's sources: an edited bot recompiles that bot, an edited engine everything.
`POLYTRADERS_JIT=0` turns every decorator here into the identity: the same step in plain Python,
slow, for debugging and as the oracle of the parity tests.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
SHARED = ("reasons.py", "rows.py", "units.py")
"""Files outside the folders below whose constants are compiled into kernels."""
FAMILY_FOLDERS = ("intel", "discovery", "strategies", "risk", "execution")
NOT_KERNELS = ("backtest.py", "compile_errors.py", "latency.py", "prints.py", "probe.py", "setup.py")
"""Files of the engine that only drive or explain kernels."""

Kernel = Callable[..., Any]

JIT = os.environ.get("POLYTRADERS_JIT", "1") != "0"
"""False when the step runs in plain Python."""


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _engine_files() -> list[Path]:
    inner = [p for p in (PACKAGE / "engine").glob("*.py") if p.name not in NOT_KERNELS]
    return inner + [PACKAGE / name for name in SHARED]


@cache
def engine_hash() -> str:
    """SHA-256 (hex) over the sources that every kernel may call: names the compilation cache."""
    return _hash(_engine_files())


@cache
def source_hash() -> str:
    """SHA-256 (hex) over all sources that decide: what a run's manifest and a replay compare."""
    return _hash(_engine_files() + [p for folder in FAMILY_FOLDERS for p in (PACKAGE / folder).glob("*.py")])


if JIT:
    if "NUMBA_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ["NUMBA_CACHE_DIR"] = str(base / "polytraders" / "numba" / engine_hash()[:16])
    import numba
    import numba.extending

    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]  # read already where something else imported numba first

    def njit(*args: Any, **options: Any) -> Any:
        """`numba.njit(cache=True)`; with a signature first, compiled (or loaded) at once.

        Without numba's runtime, unless `_nrt=True` asks for it: it counts references to every array that a function is
        given, by a call at each use. What makes an array inside needs it.
        """
        options.setdefault("cache", True)
        options.setdefault("error_model", "numpy")
        options.setdefault("_nrt", False)
        return numba.njit(*args, **options)

    def inline(function: Kernel) -> Any:
        """A function that becomes part of its caller: for what runs on every event or decision.

        Handing the state's twenty arrays to a function costs more than most of them do.
        """
        return numba.njit(cache=True, error_model="numpy", forceinline=True)(function)

    from llvmlite import ir
    from numba.core import cgutils, types

    @numba.extending.intrinsic(prefer_literal=True)
    def borrow(context, array, *shape):
        """The same array without its reference count, which would cost an atomic instruction at each use.

        Only for arrays whose owner outlives the call. `shape`, as constants, is what the compiler is to take for
        the array's first dimensions. A first 0 says that it need not know: `.shape[0]` is then lost, and with it
        the test of every index for counting from the end, which no kernel does.
        """
        known = [dim.literal_value for dim in shape]

        def code(context, builder, signature, arguments):
            made = context.make_array(signature.args[0])(context, builder, arguments[0])
            made.meminfo = cgutils.get_null_value(made.meminfo.type)
            made.parent = cgutils.get_null_value(made.parent.type)
            if known:
                dims = cgutils.unpack_tuple(builder, made.shape)
                dims[: len(known)] = [context.get_constant(types.intp, dim) for dim in known]
                made.shape = cgutils.pack_array(builder, dims)
            return made._getvalue()

        return array(array, types.StarArgTuple.from_types(shape)), code

    @numba.extending.intrinsic(prefer_literal=True)
    def prefetch(context, array, index, offset, lines):
        """Have the cache fetch `lines` (a constant) lines of 64 bytes of a borrowed array, from `offset` bytes behind
        the beginning of its `index`-th element, or row, on. Beyond the end it does no harm."""

        def code(context, builder, signature, arguments):
            made = context.make_array(signature.args[0])(context, builder, arguments[0])
            start = builder.bitcast(made.data, cgutils.voidptr_t)
            stride = cgutils.unpack_tuple(builder, made.strides)[0]
            start = builder.gep(start, [builder.add(builder.mul(stride, arguments[1]), arguments[2])])
            word = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
            fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            for line in range(signature.args[3].literal_value):
                pointer = builder.gep(start, [context.get_constant(types.intp, 64 * line)])
                builder.call(fetch, [pointer, word(0), word(3), word(1)])  # to read, keep it near, data
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, lines), code

    @numba.extending.intrinsic
    def window(context, array, start, count):
        """`array[start : start + count]` of a borrowed vector, unchecked."""

        def code(context, builder, signature, arguments):
            vector, begin, length = arguments
            given = context.make_array(signature.args[0])(context, builder, vector)
            made = context.make_array(signature.return_type)(context, builder)
            step = context.get_constant(types.intp, 8)
            context.populate_array(
                made,
                data=builder.gep(given.data, [begin]),
                shape=cgutils.pack_array(builder, [length]),
                strides=cgutils.pack_array(builder, [step]),
                itemsize=step,
                meminfo=None,
            )
            return made._getvalue()

        if array != types.int64[::1]:
            raise numba.TypingError("window is for int64 vectors")
        return array(array, types.int64, types.int64), code

    def _word_at(context, builder, vector, given, at):
        made = context.make_array(vector)(context, builder, given)
        return builder.bitcast(builder.gep(made.data, [at]), ir.IntType(64).as_pointer())

    @numba.extending.intrinsic
    def load_word(context, array, at):
        """The 8 bytes from `array[at]` on of a byte vector as int64, little-endian, unchecked."""

        def code(context, builder, signature, arguments):
            return builder.load(_word_at(context, builder, signature.args[0], *arguments), align=1)

        return types.int64(array, types.int64), code

    @numba.extending.intrinsic
    def store_word(context, array, at, word):
        """Write an int64 to the 8 bytes from `array[at]` on of a byte vector, little-endian, unchecked."""

        def code(context, builder, signature, arguments):
            builder.store(arguments[2], _word_at(context, builder, signature.args[0], *arguments[:2]), align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64), code

    @numba.extending.intrinsic
    def byte_width(context, word):
        """Bytes that an int64, taken without sign, needs: 0 ... 8."""

        def code(context, builder, signature, arguments):
            bits = ir.IntType(64)
            zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
            return builder.lshr(builder.sub(bits(71), zeros), bits(3))

        return types.int64(types.int64), code

else:

    def inline(function: Kernel) -> Any:
        """The identity."""
        return function

    def borrow(array: Any, *shape: int) -> Any:
        """The identity."""
        return array

    def prefetch(array: Any, index: int, offset: int, lines: int) -> None:
        """Nothing."""

    def window(array: Any, start: int, count: int) -> Any:
        """`array[start : start + count]`."""
        return array[start : start + count]

    def load_word(array: Any, at: int) -> int:
        """The 8 bytes from `array[at]` on of a byte vector as int64, little-endian."""
        return array[at : at + 8].view("<i8")[0]

    def store_word(array: Any, at: int, word: int) -> None:
        """Write an int64 to the 8 bytes from `array[at]` on of a byte vector, little-endian."""
        array[at : at + 8].view("<i8")[0] = word

    def byte_width(word: int) -> int:
        """Bytes that an int64, taken without sign, needs: 0 ... 8."""
        return ((int(word) & (1 << 64) - 1).bit_length() + 7) // 8

    def njit(*args: Any, **options: Any) -> Any:
        """The identity: `POLYTRADERS_JIT=0`."""
        if len(args) == 1 and callable(args[0]) and not isinstance(args[0], type) and hasattr(args[0], "__code__"):
            return args[0]
        return lambda function: function
