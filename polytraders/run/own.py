"""What rests of ours, taken out of the book before the step sees it.

A venue's market channel shows our own orders among all others. A strategy that quotes inside the touch would take its
own quote for somebody else's, better it, and climb against itself until the spread is gone; a recording, on which it
was tested, has no orders of ours. So each level comes to the step, and into the log, without what rests of ours there.

The market channel and the news of our orders are two connections, and nothing says which of them tells first. An order
therefore counts from its submit until its end is known:

- before the venue has it, a row of its level is told too small by it; the venue tells the level again when it has it
- after the venue has let it go, the same, if the row came before its end was known: that level is put right by a row
  of ours when the end is known (`heard`)

So a level is never told with our order in it for longer than the two connections are apart, and in between at worst too
small. A row of ours is no news of the market: it is made only where the venue told something within `NEWS`, so that a
feed that died is found stale no later than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polytraders.engine.book import SHIFT
from polytraders.rows import EVENT, ActionKind, EventKind, Flag, OrderType, Outcome, Side
from polytraders.units import NS_PER_S, ONE

if TYPE_CHECKING:
    from polytraders.engine.state import State
    from polytraders.run.orders import Orders

NEWS = 2 * NS_PER_S
"""ns since the venue's last row of a market within which one of ours may follow."""
_RESTING = (OrderType.GTC, OrderType.GTD)

Level = tuple[int, int, int]
"""(market, side of the book, price in pips of YES)."""


def level_of(action: np.void) -> Level:
    """Where an order stands in the book of its condition."""
    side, price = int(action["side"]), int(action["price"])
    if action["outcome"] == Outcome.NO:
        side, price = int(Side.SELL if side == Side.BUY else Side.BUY), ONE - price
    return int(action["market"]), side, price


class OwnOrders:
    """The levels at which we rest. orders: the runner's book; state: the step's."""

    def __init__(self, orders: Orders, state: State):
        self.orders, self.state = orders, state
        self._left: dict[int, tuple[Level, int]] = {}  # number of an order that may rest -> where, micro-shares
        self._ours: dict[Level, int] = {}
        self._taken: dict[Level, int] = {}  # what the step's book leaves out now
        self._told = np.zeros(len(state.markets), np.int64)  # ns of the venue's last row
        for number in orders.open():
            self._add(number)

    def adjust(self, rows: np.ndarray) -> None:
        """Take ours out of the book rows of EVENT[k], in place. rows: as the venue told them, with their ts_recv."""
        book = np.flatnonzero(rows["kind"] <= EventKind.CHANGE)
        if not len(book):
            return
        self._told[rows["market"][book]] = rows["ts_recv"][book]
        if not (self._ours or self._taken):
            return
        for at in book:
            row = rows[at]
            market = int(row["market"])
            if row["kind"] == EventKind.BOOK_CLEAR:
                self._taken = {level: size for level, size in self._taken.items() if level[0] != market}
                continue
            level = market, int(row["side"]), int(row["price"])
            if taken := min(self._ours.get(level, 0), int(row["size"])):
                row["size"] -= taken
                self._taken[level] = taken
            else:
                self._taken.pop(level, None)

    def heard(self, rows: np.ndarray, actions: np.ndarray, now: int) -> np.ndarray:
        """Learn of EVENT[k] and ACTION[j] that the runner's book has taken in; rows that put levels right. now: ns."""
        for action in actions[actions["kind"] == ActionKind.SUBMIT]:
            self._add(int(action["order_id"]))
        fewer: dict[Level, None] = {}
        for number in rows["aux"][(rows["kind"] >= EventKind.ORDER_ACK) & (rows["kind"] <= EventKind.CANCEL)]:
            if (had := self._left.get(int(number))) is None:
                continue
            level, before = had
            sent = self.orders.by_id.get(int(number))
            left = 0 if sent is None or sent.ended else max(int(sent.action["size"]) - sent.filled, 0)
            if left < before:
                self._set(int(number), level, left)
                fewer[level] = None
        return self._mended(fewer, now)

    def _add(self, number: int) -> None:
        sent = self.orders.by_id[number]
        if not sent.ended and int(sent.action["order_type"]) in _RESTING:
            self._set(number, level_of(sent.action), int(sent.action["size"]) - sent.filled)

    def _set(self, number: int, level: Level, left: int) -> None:
        before = self._left.pop(number, (level, 0))[1]
        if left > 0:
            self._left[number] = level, left
        rest = self._ours.pop(level, 0) + left - before
        if rest > 0:
            self._ours[level] = rest

    def _mended(self, levels: dict[Level, None], now: int) -> np.ndarray:
        made = []
        for level in levels:
            market, side, price = level
            had = self._taken.get(level, 0)
            of = self.state.markets[market]
            cell = of["offset"] + side * of["levels"] + ((price * of["recip"]) >> SHIFT)
            whole = int(self.state.book[cell]) + had
            taken = min(self._ours.get(level, 0), whole)
            if taken == had or now - self._told[market] > NEWS:
                continue
            made.append((market, side, price, whole - taken))
            if taken:
                self._taken[level] = taken
            else:
                self._taken.pop(level)
        rows = np.zeros(len(made), EVENT)
        for row, (market, side, price, size) in zip(rows, made, strict=True):
            row["kind"], row["flags"] = EventKind.CHANGE, Flag.LAST | Flag.INFERRED
            row["market"], row["side"], row["price"], row["size"] = market, side, price, size
        return rows
