"""One dense integer book per condition, in YES space.

A market's cells are `2 * levels` int64 in one flat array from `market.offset` on: the bid size at
level i stands at `offset + i`, the ask size at `offset + levels + i`; level i is the price
`i * market.grid`. A change is one store; only when a best level empties is the next one searched.

The best of a side is kept as a rank, `market.best[side]`, for which more is better on both sides: a
bid's level, an ask's negative level. Nobody can foretell which side a row is for, so both take the
same path: a branch there would be guessed wrong half the time and cost as much as all the rest.

Invariants
    B1  `bid(market)` is the highest level with bid size > 0, or -1; `ask(market)` the lowest with ask size, or -1
    B2  rows are applied in stream order, never re-sorted
"""

from __future__ import annotations

import numpy as np

from polytraders import units
from polytraders.engine.jit import borrow, inline, njit, prefetch
from polytraders.rows import EventKind, Side

SHIFT = 32
AHEAD = 16
"""Rows that a replay asks for a market's record ahead of time: with thousands of them it is in no near cache."""
NO_BID, NO_ASK = -1, -(1 << 40)
"""Ranks of an empty side: worse than any level's."""


def geometry(grid: int) -> tuple[int, int]:
    """(levels, recip) of a grid in pips: `price * recip >> 32` is `price // grid` for 0 ... 10 000."""
    return units.ONE // grid + 1, -(-(1 << SHIFT) // grid)


@njit
def bid(market):
    """Best bid level, -1 = none."""
    return market.best[Side.BUY]


@njit
def ask(market):
    """Best ask level, -1 = none."""
    return -market.best[Side.SELL] if market.best[Side.SELL] != NO_ASK else -1


@njit
def rank(side, level):
    """`level` of a bid, `-level` of an ask: better levels have more."""
    return (level ^ -side) + side


@njit
def _next_rank(book, start, levels, side, level):
    """Rank of the best level behind `level`, whose cell has just become empty."""
    if side == Side.BUY:
        while level >= 0 and book[start + level] == 0:
            level -= 1
        return level
    while level < levels and book[start + level] == 0:
        level += 1
    return -level if level < levels else NO_ASK


@inline
def set_level(book, market, side, level, size):
    """Store the size of one level and keep the side's best. side 0 or 1."""
    start = market.offset + side * market.levels
    prefetch(book, start + level, 0, 1)  # stores wait for their lines one after the other; what is fetched does not
    book[start + level] = size
    better = rank(side, level)
    if size > 0:
        market.best[side] = max(market.best[side], better)
    elif better == market.best[side]:
        market.best[side] = _next_rank(book, start, market.levels, side, level)


@njit
def clear(book, market):
    """Empty a market's cells."""
    for i in range(market.offset, market.offset + 2 * market.levels):
        book[i] = 0
    market.best[Side.BUY], market.best[Side.SELL] = NO_BID, NO_ASK


@inline
def apply(book, market, row):
    """Apply a BOOK_CLEAR, LEVEL or CHANGE row to the step's own book."""
    if row.kind == EventKind.BOOK_CLEAR:
        clear(book, market)
    else:  # `& 1` says that the side is no negative index
        set_level(book, market, np.int64(row.side) & 1, (row.price * market.recip) >> SHIFT, row.size)


@njit
def replay(book, markets, events):
    """Apply all book rows of a stream; returns how many there were. Nothing else is touched."""
    n = 0
    rows, book, markets, events = events.shape[0], borrow(book, 0), borrow(markets, 0), borrow(events, 0)
    for i in range(rows):
        if i + AHEAD < rows:
            prefetch(markets, np.int64(events[i + AHEAD].market), 0, 1)
        row = events[i]
        if row.kind <= EventKind.CHANGE:
            apply(book, markets[row.market], row)
            n += 1
    return n


@njit(_nrt=True)
def tops(book, markets, events, at, bids, asks):
    """Best prices after each complete message, for analysis.

    Fills `at` (row index), `bids`, `asks` (pips, -1 = none), int64[len(events)] each, and returns
    how many entries: one per row with Flag.LAST on which the market's best prices changed.
    `markets` and `book` must be fresh.
    """
    n = 0
    last_bid = np.full(markets.shape[0], -2, np.int64)
    last_ask = np.full(markets.shape[0], -2, np.int64)
    for i in range(events.shape[0]):
        row = events[i]
        if row.kind <= EventKind.CHANGE:
            market = markets[row.market]
            apply(book, market, row)
            if row.flags & 1:
                low, high = bid(market), ask(market)
                if low != last_bid[row.market] or high != last_ask[row.market]:
                    last_bid[row.market], last_ask[row.market] = low, high
                    at[n] = i
                    bids[n] = low * market.grid if low >= 0 else -1
                    asks[n] = high * market.grid if high >= 0 else -1
                    n += 1
    return n
