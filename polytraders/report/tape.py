"""What a report needs of a market's data: its best prices, trades and end, on the venue's clock.

`mid2` = bid + ask in pips everywhere, so that a mid needs no fraction.

Invariant
    P2  a mid that lies beyond the market's data, or inside a gap of it, is not known
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from polytraders.engine import book
from polytraders.engine.jit import JIT
from polytraders.engine.setup import market_rows
from polytraders.engine.state import as_rows
from polytraders.rows import EventKind, Flag


class Tape(NamedTuple):
    """One market's data. Arrays by entry: one per message that moved the best prices."""

    recv: np.ndarray  # ns, our clock
    venue: np.ndarray  # ns, the venue's clock: never later than recv, never before the entry ahead
    bid: np.ndarray  # pips, -1 = none
    ask: np.ndarray
    all_venue: np.ndarray  # ns, the venue's clock of every row of the market
    after_gap: np.ndarray  # bool, of the same rows: the first one after a gap
    trade_venue: np.ndarray  # ns, of the trades
    trade_inferred: np.ndarray  # bool, of the trades
    resolved: int  # ns, venue's clock; 0 = never
    resolved_seq: int  # place of that row in the log
    payout: int  # pips per YES share, -1 = not resolved

    @property
    def two_sided(self) -> np.ndarray:
        """bool: both best prices stand and do not cross."""
        return (self.bid >= 0) & (self.ask >= 0) & (self.bid < self.ask)

    def before(self, ts: int) -> tuple[int, int]:
        """(bid, ask) at the venue just before `ts`; (-1, -1) when the book was not two-sided."""
        at = int(np.searchsorted(self.venue, ts, side="left")) - 1
        if at < 0 or not 0 <= self.bid[at] < self.ask[at]:
            return -1, -1
        return int(self.bid[at]), int(self.ask[at])

    def mid2_after(self, ts: int) -> int | None:
        """bid + ask in pips at the venue at `ts`; the payout once resolved; None when it is not known (P2)."""
        if self.resolved and ts >= self.resolved:
            return 2 * self.payout
        later = int(np.searchsorted(self.all_venue, ts, side="right"))
        if later == 0 or (later == len(self.all_venue) and ts > self.all_venue[-1]):
            return None
        if later < len(self.all_venue) and self.after_gap[later]:
            return None
        at = int(np.searchsorted(self.venue, ts, side="right")) - 1
        if at < 0 or not 0 <= self.bid[at] < self.ask[at]:
            return None
        return int(self.bid[at] + self.ask[at])

    def last_mid2(self, interval: int, end: int) -> int:
        """bid + ask in pips that the step last valued the market at, 0 = never: the last two-sided book at one of its
        decision times, `interval` ns apart (0 = every message) and not after `end` (ns, our clock)."""
        known = (self.bid >= 0) & (self.ask >= 0)
        if interval:
            decided = -(-self.recv // interval) * interval
            sampled = np.append(decided[1:] != decided[:-1], True) if len(decided) else np.zeros(0, bool)
            known &= sampled & (decided <= end)
        seen = np.flatnonzero(known)
        return int(self.bid[seen[-1]] + self.ask[seen[-1]]) if len(seen) else 0


def tapes(events: np.ndarray, markets: Sequence[Mapping[str, Any]], wanted: np.ndarray) -> dict[int, Tape]:
    """Best prices, trades and end of the markets whose flag in wanted (bool[markets]) is set. events: EVENT[n]."""
    wanted = np.append(wanted, False)  # the last cell is that of rows of no market
    events = events[wanted[events["market"]] & (events["kind"] <= EventKind.RESOLUTION)]
    top_at, top_bid, top_ask = _tops(events, markets)
    by_market = np.argsort(events["market"], kind="stable")
    place = np.empty_like(by_market)
    place[by_market] = np.arange(len(by_market))
    found = {}
    for market in np.flatnonzero(wanted):
        lo, hi = np.searchsorted(events["market"][by_market], [market, market + 1])
        mine = events[by_market[lo:hi]]
        venue = np.maximum.accumulate(np.minimum(mine["ts_event"], mine["ts_recv"])) if len(mine) else mine["ts_recv"]
        moved = events["market"][top_at] == market
        at = place[top_at[moved]] - lo
        trades = mine["kind"] == EventKind.TRADE
        ends = np.flatnonzero(mine["kind"] == EventKind.RESOLUTION)
        last = ends[0] if len(ends) else None
        found[int(market)] = Tape(
            recv=mine["ts_recv"][at],
            venue=venue[at],
            bid=top_bid[moved],
            ask=top_ask[moved],
            all_venue=venue,
            after_gap=(mine["flags"] & Flag.GAP) != 0,
            trade_venue=venue[trades],
            trade_inferred=(mine["flags"][trades] & Flag.INFERRED) != 0,
            resolved=0 if last is None else int(venue[last]),
            resolved_seq=0 if last is None else int(mine["seq"][last]),
            payout=-1 if last is None else int(mine["price"][last]),
        )
    return found


def _tops(events: np.ndarray, markets: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, best bid, best ask) after each message that moved the top of its market."""
    fresh, cells = market_rows([SimpleNamespace(**market) for market in markets])
    at, bids, asks = (np.empty(len(events), np.int64) for _ in range(3))
    plain = np.ascontiguousarray(events)
    n = book.tops(np.zeros(cells, np.int64), fresh, plain if JIT else as_rows(plain), at, bids, asks)
    return at[:n], bids[:n], asks[:n]
