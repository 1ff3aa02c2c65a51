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
NOT_KERNELS = ("backtest.py", "latency.py", "probe.py", "setup.py")
"""Files of the engine that only drive kernels."""

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

    def njit(*args: Any, **options: Any) -> Any:
        """`numba.njit(cache=True)`; with a signature first, compiled (or loaded) at once."""
        options.setdefault("cache", True)
        options.setdefault("error_model", "numpy")
        return numba.njit(*args, **options)

    def inline(function: Kernel) -> Any:
        """A function that becomes part of its caller: for what runs on every event or decision.

        Handing the state's twenty arrays to a function costs more than most of them do.
        """
        return numba.njit(cache=True, error_model="numpy", forceinline=True)(function)

    @numba.extending.intrinsic
    def borrow(context, array):
        """The same array without its reference count, which would cost an atomic instruction at each use.

        Only for arrays whose owner outlives the call.
        """

        def code(context, builder, signature, arguments):
            made = context.make_array(signature.args[0])(context, builder, arguments[0])
            made.meminfo = numba.core.cgutils.get_null_value(made.meminfo.type)
            made.parent = numba.core.cgutils.get_null_value(made.parent.type)
            return made._getvalue()

        return array(array), code

else:

    def inline(function: Kernel) -> Any:
        """The identity."""
        return function

    def borrow(array: Any) -> Any:
        """The identity."""
        return array

    def njit(*args: Any, **options: Any) -> Any:
        """The identity: `POLYTRADERS_JIT=0`."""
        if len(args) == 1 and callable(args[0]) and not isinstance(args[0], type) and hasattr(args[0], "__code__"):
            return args[0]
        return lambda function: function
