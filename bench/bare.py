"""The physical limit: EVENT rows of one market into dense level arrays and the best prices, nothing else.

No orders, no messages, no market table, no checks: what is left when everything a trading system
needs is taken away. Written for speed (one array, both sides through the same branch: 1.6 times
what the obvious if-bid-else-ask loop does), because a limit that is easy to reach proves nothing.
"""

from __future__ import annotations

import numpy as np

from bench.stream import TICK, TICKS
from polytraders.engine.jit import njit
from polytraders.rows import EventKind

_CHANGE = int(EventKind.CHANGE)
WIDTH = TICKS + 2
"""Cells a side: ticks 0 ... 100, micro-shares."""


@njit(_nrt=True)
def replay(rows, book):
    """Apply every CHANGE row to `book`, int64[2 * WIDTH]: bids by tick, then asks by tick, zeroed by the caller.

    Returns (best bid, best ask) in ticks, 0 and TICKS + 1 when a side is empty.
    """
    best = np.empty(2, np.int64)  # asks count as minus their tick: on both sides more is better
    best[0], best[1] = 0, -TICKS - 1
    for row in rows:
        if row.kind != _CHANGE:
            continue
        tick, size, side = row.price // TICK, row.size, np.int64(row.side)
        book[side * WIDTH + tick] = size
        rank = tick if side == 0 else -tick
        if size > 0:
            best[side] = max(best[side], rank)
        elif rank == best[side]:
            if side == 0:
                while tick > 0 and book[tick] == 0:
                    tick -= 1
                best[0] = tick
            else:
                while tick <= TICKS and book[WIDTH + tick] == 0:
                    tick += 1
                best[1] = -tick
    return best[0], -best[1]


def empty() -> np.ndarray:
    """A book without levels."""
    return np.zeros(2 * WIDTH, np.int64)


def oracle(rows: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The final (book, best bid, best ask) by another way: the last CHANGE of each level, no loop."""
    changes = rows[rows["kind"] == _CHANGE]
    book = empty()
    book[changes["side"] * np.int64(WIDTH) + changes["price"] // TICK] = changes["size"]  # the last of equals stays
    bids, asks = np.flatnonzero(book[:WIDTH]), np.flatnonzero(book[WIDTH:])
    return book, int(bids.max(initial=0)), int(asks.min(initial=TICKS + 1))
