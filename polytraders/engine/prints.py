"""Prints that arrive after the loss of depth they made: the venue's order of the two, put right.

Recordings with `price_change` messages tell of a trade twice: the level it took from shrinks, and some 20 ms later the
print follows. Taken in that order a queue is eaten twice: the loss counts as cancels, then the print as trades. A print
within `lag` behind a loss of at least its size at its price is therefore put in front of that loss at the simulated
venue, at the loss's own time. What we hear, and when, does not change.
"""

from __future__ import annotations

import numpy as np

from polytraders.rows import EventKind, Side
from polytraders.units import ONE


def pair_prints(events: np.ndarray, times: np.ndarray, lag: int) -> np.ndarray:
    """int64[n]: for each print that belongs in front of an earlier row, the index of that row; else -1.

    events: EVENT[n] by receive time. times: int64[n], ns, when each row happens at the venue. lag: ns. A loss is shared
    out among prints in the order of their arrival; each print takes the loss of exactly its size if there is one, else
    the nearest that is large enough.
    """
    first = np.full(len(events), -1, np.int64)
    depth = np.flatnonzero((events["kind"] == EventKind.CHANGE) | (events["kind"] == EventKind.LEVEL))
    prints = np.flatnonzero(events["kind"] == EventKind.TRADE)
    if lag <= 0 or not len(depth) or not len(prints):
        return first
    level = _level(events[depth], events["side"][depth])
    order = np.lexsort((depth, level))
    depth, level = depth[order], level[order]
    size = events["size"][depth]
    lost = np.zeros(len(depth), np.int64)
    lost[1:] = np.where(level[1:] == level[:-1], size[:-1] - size[1:], 0)
    lost[events["kind"][depth] != EventKind.CHANGE] = 0  # a snapshot's level is no change
    lost[_cleared_between(events, depth, level)] = 0
    at = lost > 0
    depth, level, lost = depth[at], level[at], lost[at].copy()
    place, start = np.unique(level, return_index=True)
    stop = np.append(start[1:], len(level))
    for i, key in zip(prints, _level(events[prints], 1 - events["side"][prints]), strict=True):
        k = np.searchsorted(place, key)
        if k == len(place) or place[k] != key:
            continue
        near = slice(*(start[k] + np.searchsorted(depth[start[k] : stop[k]], (i - MOST_ROWS, i))))
        rows, left = depth[near], lost[near]
        fits = (left >= events["size"][i]) & (times[i] - times[rows] <= lag)
        if fits.any():
            exact = fits & (left == events["size"][i])
            chosen = np.flatnonzero(exact if exact.any() else fits)[-1]
            left[chosen] -= events["size"][i]  # a view: the next print finds the rest
            first[i] = rows[chosen]
    return first


MOST_ROWS = 1 << 16
"""Rows of the stream that are searched before a print."""


def _level(rows: np.ndarray, side: np.ndarray) -> np.ndarray:
    """One number for market, side of the book and price."""
    return (rows["market"].astype(np.int64) * len(Side) + side) * (ONE + 1) + rows["price"]


def _cleared_between(events: np.ndarray, depth: np.ndarray, level: np.ndarray) -> np.ndarray:
    """bool[len(depth)]: the book was cleared between this row and the one before it of its level."""
    found = np.zeros(len(depth), bool)
    clears = np.flatnonzero(events["kind"] == EventKind.BOOK_CLEAR)
    of = events["market"][clears]
    here = events["market"][depth]
    for market in np.unique(of):
        at = clears[of == market]
        mine = np.flatnonzero(here == market)
        passed = np.searchsorted(at, depth[mine])
        found[mine[1:]] = (passed[1:] != passed[:-1]) & (np.diff(mine) == 1)
    return found


def venue_order(times: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(times, order) at the venue with each paired print in front of its row. times: int64[n] by arrival."""
    paired = np.flatnonzero(first >= 0)
    moved = times.copy()
    moved[paired] = times[first[paired]]
    rank = 2 * np.arange(len(times), dtype=np.int64)
    rank[paired] = 2 * first[paired] - 1
    order = np.lexsort((rank, moved))  # prints of one loss keep their order: the sort is stable
    return moved[order], order
