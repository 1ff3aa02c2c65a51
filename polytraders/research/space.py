"""Which parameter sets a sweep tries: a grid, or random draws from one, of values that are checked before it starts.

A space maps `section.key`, as `--set` takes it, to the values to try, as decimal text:
{"strat.maker_tight.edge_bps": ("10", "20"), "venue.simulated.queue_model": ("risk_averse", "power_prob")}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from polytraders.bots import Parameter, load_bot
from polytraders.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from polytraders.config import Settings

Space = dict[str, tuple[str, ...]]
MAX_TRIALS = 100_000
"""More than this is a slip of the hand, not a search."""
MAX_VALUES = 10_000
"""Of one key."""


def search_space(strategy: str) -> Space:
    """The whole SEARCH_SPACE of a strategy: every parameter of its spec that names one."""
    spec = load_bot(strategy).spec
    space = {f"{spec.bot_id}.{p.name}": _own_values(p) for p in spec.parameters if p.search_space is not None}
    if not space:
        raise UsageError(
            f"no parameter of {spec.bot_id} has a search_space", mend="name the values: --grid parameter=1,2,3"
        )
    return space


def read_space(settings: Settings, strategy: str, grid: Mapping[str, Any]) -> Space:
    """A space from what a person wrote.

    grid: parameter of the strategy, or section.key of anything else -> values: a sequence, "10,20,40",
    "10:50:10" (from : to : step, both ends included), or None for the parameter's own search_space.
    Raises ConfigError or UsageError for what the configuration would refuse (C1 of config).
    """
    spec = load_bot(strategy).spec
    known = {p.name: p for p in spec.parameters}
    space: Space = {}
    for key, given in grid.items():
        section, _, name = key.rpartition(".")
        if not section:
            section = spec.bot_id
        parameter = known.get(name) if section == spec.bot_id else None
        path = f"{section}.{name}"
        values = _own_values(parameter, path) if given is None else _values(path, given)
        if parameter is not None:
            values = [parameter.text(v) for v in values]
        for value in values:
            settings.with_overrides({path: value}, "sweep")
        space[path] = tuple(dict.fromkeys(values))
    return space


def size(space: Space) -> int:
    """Points of the grid."""
    return prod(len(values) for values in space.values())


def grid_points(space: Space) -> list[dict[str, str]]:
    """Every point of the grid; the last key changes fastest. Raises UsageError beyond MAX_TRIALS."""
    if size(space) > MAX_TRIALS:
        raise UsageError(
            f"the grid has {size(space):,} points",
            rule=f"a sweep has at most {MAX_TRIALS:,}",
            mend="name fewer values, or draw from it with --random N",
        )
    return [_point(space, at) for at in range(size(space))]


def random_points(space: Space, count: int, seed: int) -> list[dict[str, str]]:
    """`count` different points of the grid, drawn evenly; all of them when it has no more. The seed decides which."""
    if not 1 <= count <= MAX_TRIALS:
        raise UsageError(f"cannot draw {count:,} points", rule=f"1 ... {MAX_TRIALS:,}")
    if size(space) <= count:
        return grid_points(space)
    rng = np.random.Generator(np.random.PCG64(seed))
    keys, drawn = list(space), {}
    while len(drawn) < count:
        place = tuple(int(rng.integers(len(space[key]))) for key in keys)
        drawn[place] = {key: space[key][at] for key, at in zip(keys, place, strict=True)}
    return list(drawn.values())


def _point(space: Space, at: int) -> dict[str, str]:
    point = {}
    for key, values in reversed(space.items()):
        at, which = divmod(at, len(values))
        point[key] = values[which]
    return {key: point[key] for key in space}


def _own_values(parameter: Parameter | None, path: str = "") -> list[str] | tuple[str, ...]:
    if parameter is None or parameter.search_space is None:
        raise UsageError(f"{path or parameter} has no search_space", mend=f"name the values: {path}=1,2,3")
    first, last, step = (Decimal(v) for v in parameter.search_space)
    return tuple(parameter.text(v) for v in _steps(first, last, step))


def _steps(first: Decimal, last: Decimal, step: Decimal) -> Iterator[Decimal]:
    for k in range(int((last - first) / step) + 1):
        yield first + k * step


def _values(path: str, given: str | Sequence[Any]) -> list[str]:
    """The values meant by "a,b,c", "from:to:step" or a sequence."""
    if not isinstance(given, str):
        values = [str(v).lower() if isinstance(v, bool) else str(v) for v in given]
    elif ":" in given:
        try:
            first, last, step = (Decimal(part) for part in given.split(":"))
        except (ValueError, InvalidOperation):
            raise _refused(path, given) from None
        if not (step > 0 and last >= first and (last - first) / step < MAX_VALUES):
            raise _refused(path, given)
        values = [f"{v:f}" for v in _steps(first, last, step)]
    else:
        values = [part.strip() for part in given.split(",")]
    if not values or not all(values):
        raise _refused(path, given)
    return values


def _refused(path: str, given: Any) -> ConfigError:
    return ConfigError(
        f"cannot read the values {given!r}",
        where=path,
        rule="a,b,c or from:to:step with from <= to and step > 0",
        mend=f"such as {path}=10,20,40 or {path}=10:50:10",
    )
