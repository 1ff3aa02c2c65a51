"""One dense integer book per condition, in YES space.

A market's cells are `2 * levels` int64 in one flat array from `market.offset` on: the bid size at
level i stands at `offset + i`, the ask size at `offset + levels + i`; level i is the price
`i * market.grid`. A change is one store; only when a best level empties is the next one searched.

Invariants
    B1  the best bid level is the highest level with bid size > 0, or -1; the best ask level the lowest, or -1
    B2  rows are applied in stream order, never re-sorted
"""

from __future__ import annotations

import numpy as np

from polytraders import units
from polytraders.engine.jit import njit
from polytraders.rows import EventKind, Side

SHIFT = 32


def geometry(grid: int) -> tuple[int, int]:
    """(levels, recip) of a grid in pips: `price * recip >> 32` is `price // grid` for 0 ... 10 000."""
    return units.ONE // grid + 1, -(-(1 << SHIFT) // grid)


@njit
def set_bid(book, offset, level, size, best):
    """Store a bid level; returns the new best bid level."""
    book[offset + level] = size
    if size > 0:
        return level if level > best else best
    if level == best:
        level -= 1
        while level >= 0 and book[offset + level] == 0:
            level -= 1
        return level
    return best


@njit
def set_ask(book, offset, levels, level, size, best):
    """Store an ask level; returns the new best ask level."""
    start = offset + levels
    book[start + level] = size
    if size > 0:
        return level if best < 0 or level < best else best
    if level == best:
        level += 1
        while level < levels and book[start + level] == 0:
            level += 1
        return level if level < levels else -1
    return best


@njit
def clear(book, offset, levels):
    """Empty a market's cells; the caller sets both best levels to -1."""
    for i in range(offset, offset + 2 * levels):
        book[i] = 0


@njit
def apply(book, market, row):
    """Apply a BOOK_CLEAR, LEVEL or CHANGE row to the step's own book."""
    if row.kind == EventKind.BOOK_CLEAR:
        clear(book, market.offset, market.levels)
        market.bid_level = -1
        market.ask_level = -1
    else:
        level = (row.price * market.recip) >> SHIFT
        if row.side == Side.BUY:
            market.bid_level = set_bid(book, market.offset, level, row.size, market.bid_level)
        else:
            market.ask_level = set_ask(book, market.offset, market.levels, level, row.size, market.ask_level)


@njit
def replay(book, markets, events):
    """Apply all book rows of a stream; returns how many there were. Nothing else is touched."""
    n = 0
    for i in range(events.shape[0]):
        row = events[i]
        if row.kind <= EventKind.CHANGE:
            apply(book, markets[row.market], row)
            n += 1
    return n


@njit
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
                bid, ask = market.bid_level, market.ask_level
                if bid != last_bid[row.market] or ask != last_ask[row.market]:
                    last_bid[row.market], last_ask[row.market] = bid, ask
                    at[n] = i
                    bids[n] = bid * market.grid if bid >= 0 else -1
                    asks[n] = ask * market.grid if ask >= 0 else -1
                    n += 1
    return n
