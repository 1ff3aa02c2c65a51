"""The explicit signature of each bot family: what `decide` is given and must return.

A kernel bot's `decide` is compiled once, by itself, against its family's signature; the engine's
loop calls it by its address and never recompiles when a bot changes.

    intel, discovery   decide(market, position, account, ladder, params) -> code
    strategy           decide(market, position, account, ladder, memory, targets, params) -> code
    risk               decide(intent, market, position, account, ladder, vote, params) -> code
    execution          decide(intent, market, position, account, ladder, plan, params) -> code

Every function returns a reason-code number (`Code.X`). Records are those of `engine.state` and are
written in place; `ladder` is int64[2 * market.levels]: bids of level i at [i], asks at
[market.levels + i], micro-shares, level i = price i * market.grid, in YES space. `params.v[k]` is
the k-th parameter of the bot's spec in kernel units.

Invariants
    K1  a risk bot never raises intent.size, nor changes market, side or outcome: it only writes `vote`
    K2  no kernel reads a clock: the time is market.now
    K3  missing or stale input leads to a refusal, never to a default
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from polytraders.engine import state as s
from polytraders.engine.jit import JIT, inline, njit

FAMILIES = ("intel", "disc", "strat", "risk", "exec")
"""Kernel families in pipeline order."""

if JIT:
    from numba import from_dtype, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    _market, _position, _account = (from_dtype(d) for d in (s.MARKET, s.POSITION, s.ACCOUNT))
    _intent, _vote, _plan, _params = (from_dtype(d) for d in (s.INTENT, s.VOTE, s.PLAN, s.PARAMS))
    _ladder, _memory, _targets = types.int64[::1], types.float64[::1], _intent[::1]

    SENSOR = types.int64(_market, _position, _account, _ladder, _params)
    STRATEGY = types.int64(_market, _position, _account, _ladder, _memory, _targets, _params)
    RISK = types.int64(_intent, _market, _position, _account, _ladder, _vote, _params)
    EXECUTION = types.int64(_intent, _market, _position, _account, _ladder, _plan, _params)
else:
    SENSOR = STRATEGY = RISK = EXECUTION = None

SIGNATURES = {"intel": SENSOR, "disc": SENSOR, "strat": STRATEGY, "risk": RISK, "exec": EXECUTION}


def kernel(family: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile `decide` for its family ('intel', 'disc', 'strat', 'risk' or 'exec').

    Raises KernelError, with the line and what to write instead, for what cannot be compiled.
    """
    return (lambda function: _compiled(function, family)) if JIT else lambda function: function


def _compiled(function: Callable[..., Any], family: str) -> Any:
    try:
        made = _with_or_without_runtime(function, SIGNATURES[family])
    except Exception as error:  # noqa: BLE001 numba lets KeyError, NotImplementedError and others through
        from polytraders.engine.compile_errors import explained

        raise explained(function, error, family) from None
    if not made.stats.cache_hits:
        from polytraders.engine.compile_errors import wrong_return

        if (refusal := wrong_return(function, made)) is not None:
            made._cache.flush()  # else the next start would load it without a question
            raise refusal
    return made


def _with_or_without_runtime(function: Callable[..., Any], signature: Any) -> Any:
    """The compiled function; with numba's runtime (see `njit`) where it, or a helper of it, makes arrays or lists."""
    try:
        return njit(signature)(function)
    except Exception:  # noqa: BLE001 whatever it was, the second attempt says so again
        for helper in function.__globals__.values():
            if hasattr(helper, "py_func"):
                helper._compiler._failed_cache.clear()  # what failed without the runtime is not tried again else
        return njit(signature, _nrt=True)(function)


class Kernels(NamedTuple):
    """The decide functions of a run by family, in pipeline order.

    Each is an int64 array of addresses, or in plain Python a tuple of the functions.
    """

    intel: Any
    disc: Any
    strat: Any
    risk: Any
    exec: Any


def kernel_table(functions: dict[str, list[Any]]) -> Kernels:
    """`Kernels` from the run's bots by family. The functions must outlive the table."""
    if not JIT:
        return Kernels(*(tuple(functions.get(family, ())) for family in FAMILIES))
    return Kernels(*(np.array([_address(f, SIGNATURES[k]) for f in functions.get(k, ())], np.int64) for k in FAMILIES))


if JIT:

    def _address(function: Any, signature: Any) -> int:
        made = function.get_compile_result(signature)
        return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)

    def _call(signature: Any) -> Callable[..., Any]:
        """Code that calls the function at an address: what numba does for a first-class function, without
        unpacking 60 of them from Python at each entry into the loop."""

        def code(context, builder, _, arguments):
            convention, returns, given = context.call_conv, signature.return_type, signature.args
            kind = convention.get_function_type(returns, given).as_pointer()
            at = builder.inttoptr(arguments[0], kind)
            status, result = convention.call_function(builder, at, returns, given, arguments[1:])
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return result

        return code

    @intrinsic
    def _sense_at(context, address, market, position, account, ladder, params):
        return types.int64(types.int64, *SENSOR.args), _call(SENSOR)

    @intrinsic
    def _propose_at(context, address, market, position, account, ladder, memory, targets, params):
        return types.int64(types.int64, *STRATEGY.args), _call(STRATEGY)

    @intrinsic
    def _judge_at(context, address, intent, market, position, account, ladder, vote, params):
        return types.int64(types.int64, *RISK.args), _call(RISK)

    @intrinsic
    def _shape_at(context, address, intent, market, position, account, ladder, plan, params):
        return types.int64(types.int64, *EXECUTION.args), _call(EXECUTION)

else:

    def _at(function: Any, *arguments: Any) -> int:
        return function(*arguments)

    _sense_at = _propose_at = _judge_at = _shape_at = _at


@inline
def sense(table, k, market, position, account, ladder, params):
    """Call the k-th sensor of an intel or discovery table."""
    return _sense_at(table[k], market, position, account, ladder, params)


@inline
def propose(table, market, position, account, ladder, memory, targets, params):
    """Call the run's strategy."""
    return _propose_at(table[0], market, position, account, ladder, memory, targets, params)


@inline
def judge(table, k, intent, market, position, account, ladder, vote, params):
    """Call the k-th risk bot."""
    return _judge_at(table[k], intent, market, position, account, ladder, vote, params)


@inline
def shape(table, k, intent, market, position, account, ladder, plan, params):
    """Call the k-th execution bot."""
    return _shape_at(table[k], intent, market, position, account, ladder, plan, params)
