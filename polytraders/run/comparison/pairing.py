"""Which orders of two runs are one order, and which rows of two tables stand in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from polytraders.run.lives import Life
from polytraders.units import NS_PER_S

PRINT_WITHIN = 10 * NS_PER_S
"""ns around a fill in which the recording must show what it can have come from: the venue tells of trades on two
channels, and the slower one may be this far behind (facts.md: prints lag matches by seconds)."""


def paired(ours: dict[int, Life], theirs: dict[int, Life]) -> tuple[list[tuple[Life, Life]], list[Life], list[Life]]:
    """(pairs, only ours, only theirs): orders of the same shape, each with the one nearest in time.

    Two of them are one order when they were in force at the same time, or at least sent within PRINT_WITHIN.
    """
    waiting: dict[tuple[int, ...], list[Life]] = defaultdict(list)
    for life in theirs.values():
        waiting[life.shape].append(life)
    pairs, alone, used = [], [], set()
    for exact in (True, False):
        for life in ours.values():
            if life.id in used:
                continue
            free = [other for other in waiting[life.shape] if (exact and other.sent == life.sent) or
                    (not exact and _together(life, other))]  # fmt: skip
            if not free:
                continue
            best = min(free, key=lambda other: abs(other.sent - life.sent))
            waiting[life.shape].remove(best)
            used.add(life.id)
            pairs.append((life, best))
    alone = [life for life in ours.values() if life.id not in used]
    left = [life for lives_ in waiting.values() for life in lives_]
    return pairs, alone, sorted(left, key=lambda life: life.sent)


def _together(one: Life, other: Life) -> bool:
    far = 1 << 62
    apart = abs(one.sent - other.sent)
    return apart <= PRINT_WITHIN or (one.sent <= (other.ended or far) and other.sent <= (one.ended or far))


def peer(life: Life, one: Life, other: Life) -> Life:
    """The other one of a pair."""
    return other if life is one else one


def heard_first(one: Life, other: Life) -> int:
    """ns, when the first of two orders that were sent together had an answer; of others the second."""
    first = [min(filter(None, (life.acked, life.ended)), default=life.sent) for life in (one, other)]
    return min(first) if one.sent == other.sent else max(first)


def only(ours: np.ndarray, theirs: np.ndarray, fields: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(rows of ours, rows of theirs) that the other has not, counted: a row that stands twice has two counterparts."""
    if not len(ours) or not len(theirs):
        return ours, theirs
    both = np.concatenate([_packed(ours, fields), _packed(theirs, fields)])
    _, number = np.unique(both, return_inverse=True)
    mine, other = number[: len(ours)], number[len(ours) :]
    top = int(number.max()) + 1
    return ours[_beyond(mine, np.bincount(other, minlength=top))], theirs[
        _beyond(other, np.bincount(mine, minlength=top))
    ]


def _beyond(number: np.ndarray, had: np.ndarray) -> np.ndarray:
    """bool[n]: the k-th of a number, k beyond how many of it the other has."""
    order = np.argsort(number, kind="stable")
    ranked = number[order]
    first = np.searchsorted(ranked, ranked, "left")
    rank = np.empty(len(number), np.int64)
    rank[order] = np.arange(len(number)) - first
    return rank >= had[number]


def _packed(table: np.ndarray, fields: list[str]) -> np.ndarray:
    """The chosen fields of each row as one opaque value."""
    columns = np.column_stack([table[name].astype(np.int64) for name in fields])
    return np.ascontiguousarray(columns).view([("", np.int64)] * len(fields)).reshape(-1)


def grouped(table: np.ndarray, fields: Iterable[str]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(values of the fields, rows that have them), in the order of the values."""
    names = list(fields)
    if len(table):
        keys = _packed(table, names)
        for key in np.unique(keys):
            yield tuple(int(v) for v in key), table[keys == key]
