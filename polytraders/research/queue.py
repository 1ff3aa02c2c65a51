"""What a recording itself says about queues: virtual orders, and what happened before and behind them.

A virtual order joins the back of a level at a sampled message; the tape goes on as if it were not there. Two things
are asked of what follows.

Cancels     Every level is kept as the list of its additions, first come first. A loss of depth that no print
            explains is a cancel; when exactly one addition there has its size, that one was cancelled, and it stood
            before or behind each virtual order. That is the evidence on who leaves: (shares ahead, shares behind,
            was it behind). A level counts only while nothing in it is older than the recording, or what is ahead would
            go unseen and what is behind not.
Fills       A print through the order's price, an opposite level at it, or prints at it that eat more than was ahead
            fill it. How much was ahead is bounded: cancels that cannot be told stood all behind it (`least` filled) or
            all ahead (`most`). Where both bounds give the same answer, the recording knows whether it filled.

Prints and losses of depth are two messages of one event, and on recordings with `price_change` the print is the later
one (by about 20 ms on the two at hand). A print is therefore matched to losses at its price within `WINDOW` before or
after it, the exact size first.

Not seen: the reaction of others to an order that was not there; orders younger than their level's last addition that
are amended in place (a loss of a part of an addition is no identified cancel).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from polytraders.rows import EventKind, Flag, Side
from polytraders.units import MICRO, NS_PER_S

WINDOW = NS_PER_S
"""ns of venue time within which a print and the loss of depth it made are looked for."""
DEPTH = 3
"""Virtual orders are placed on the best so many levels of a side."""
POWERS = (1, 2, 3, 4, 5)
MODELS = ("risk_averse", *(f"power_prob:{n}" for n in POWERS), "log_prob")
"""Queue models whose fills are compared; the number is the power."""


class Cancel(NamedTuple):
    """One identified cancel as one virtual order saw it. block: what is drawn together in a bootstrap."""

    order: int
    block: int
    ts: int
    ahead: int  # micro-shares before it, the cancelled ones included when they were
    behind: int  # likewise
    was_behind: bool


@dataclass
class Virtual:
    """An order that was never sent. side, price: YES space, pips. ts, until: ns of venue time.

    least, most: filled when no / every cancel that cannot be told stood ahead. filled: by model.
    """

    number: int
    market: int
    row: int
    ts: int
    until: int
    side: int
    price: int
    level: int  # micro-shares there when it came
    ahead_most: float
    ahead_least: float
    ahead: dict[str, float]
    least: bool = False
    most: bool = False
    filled: dict[str, bool] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether the recording says if it filled."""
        return self.least == self.most


@dataclass
class Evidence:
    """Of one recording: cancels seen by virtual orders, the orders, and what depth was lost to, in micro-shares.

    lost: one row a loss of depth at the touch: (block, lost, of it to prints). prints: (all, matched, of them after the
    loss they made); lags: ns from loss to print, venue time, one a matched print.
    """

    cancels: list[Cancel]
    orders: list[Virtual]
    lost: np.ndarray
    cancelled: int
    identified: int
    prints: tuple[int, int, int]
    lags: np.ndarray


def behind_power(ahead: float, behind: float, n: float) -> float:
    """Probability that a cancel falls behind, by the power model; 1 when there is nothing ahead."""
    if ahead <= 0:
        return 1.0
    if behind <= 0:
        return 0.0
    return 1.0 / (1.0 + math.exp(max(min(n * (math.log(ahead) - math.log(behind)), 700.0), -700.0)))


def behind_log(ahead: float, behind: float) -> float:
    """The same by the logarithmic model; micro-shares."""
    f, b = math.log1p(max(ahead, 0.0) / MICRO), math.log1p(max(behind, 0.0) / MICRO)
    return b / (b + f) if b + f > 0 else 1.0


def matched_prints(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int], np.ndarray]:
    """(loss of each row that prints made, size of each print that no loss shows, (prints, matched, matched after
    their loss), lags) of one market's rows; micro-shares, ns."""
    made, alone = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    losses: dict[tuple[int, int], list[list[int]]] = {}
    book: dict[tuple[int, int], int] = {}
    prints: list[tuple[int, int, int, int, int]] = []
    columns = (rows[name].tolist() for name in ("kind", "side", "price", "size", "ts_event"))
    for at, (kind, side, price, size, ts) in enumerate(zip(*columns, strict=True)):
        if kind == EventKind.BOOK_CLEAR:
            book.clear()
        elif kind in (EventKind.LEVEL, EventKind.CHANGE):
            lost = book.get((side, price), 0) - size
            if lost > 0:
                losses.setdefault((side, price), []).append([at, ts, lost])
            book[side, price] = size
        elif kind == EventKind.TRADE:
            prints.append((at, ts, 1 - side, price, size))
    lags, after, n_matched = [], 0, 0
    for at, ts, side, price, size in prints:
        near = [loss for loss in losses.get((side, price), ()) if loss[2] > 0 and abs(loss[1] - ts) <= WINDOW]
        near.sort(key=lambda loss: (loss[2] != size, abs(loss[1] - ts), abs(loss[0] - at)))
        left = size
        for loss in near:
            part = min(left, loss[2])
            made[loss[0]] += part
            loss[2] -= part
            if left == size:
                n_matched += 1
                after += at > loss[0]
                lags.append(ts - loss[1])
            left -= part
            if left == 0:
                break
        alone[at] = left
    return made, alone, (len(prints), n_matched, after), np.array(lags, np.int64)


class _Level:
    """Additions at one price, oldest first: [micro-shares, row, known]."""

    __slots__ = ("adds", "orders")

    def __init__(self) -> None:
        self.adds: list[list[int]] = []
        self.orders: list[Virtual] = []

    def size(self) -> int:
        return sum(add[0] for add in self.adds)

    def split(self, row: int) -> tuple[int, int]:
        """(ahead, behind) of an order that came with `row`."""
        ahead = sum(add[0] for add in self.adds if add[1] <= row)
        return ahead, self.size() - ahead

    def eat(self, size: int) -> None:
        """Take from the front."""
        while size > 0 and self.adds:
            part = min(size, self.adds[0][0])
            self.adds[0][0] -= part
            size -= part
            if self.adds[0][0] == 0:
                del self.adds[0]

    def drop(self, size: int) -> tuple[int, bool]:
        """Take a cancel away; returns (row of the addition that left, True) or (-1, False) when it cannot be told."""
        same = [at for at, add in enumerate(self.adds) if add[0] == size and add[2]]
        if len(same) == 1 and all(add[2] for add in self.adds):
            return self.adds.pop(same[0])[1], True
        while size > 0 and self.adds:
            most = max(range(len(self.adds)), key=lambda at: (not self.adds[at][2], self.adds[at][0]))
            part = min(size, self.adds[most][0])
            self.adds[most][0] -= part
            self.adds[most][2] = 0
            size -= part
            if self.adds[most][0] == 0:
                del self.adds[most]
        return -1, False


def gather(events: np.ndarray, *, orders: int, horizon: int, seed: int, block: int, match: bool = True) -> Evidence:
    """Evidence of a session's rows. orders: virtual ones to place, over all markets. horizon: ns that each stands.

    block: ns; what happens in one market within one is drawn together in a bootstrap. match: False takes each message
    for itself, in the order recorded, as the simulated venue does: a loss told before its print is a cancel then, and
    the print eats once more. Deterministic in `seed`; the orders are the same either way.
    """
    random = np.random.default_rng(seed)
    found = Evidence([], [], np.zeros((0, 3), np.int64), 0, 0, (0, 0, 0), np.zeros(0, np.int64))
    lost: list[tuple[int, int, int]] = []
    lags = []
    counts = np.zeros(3, np.int64)
    for market in np.unique(events["market"][events["market"] >= 0]):
        rows = events[events["market"] == market]
        made, alone, prints, lag = matched_prints(rows)
        if not match:
            made[:], alone = 0, np.where(rows["kind"] == EventKind.TRADE, rows["size"], 0)
        counts += prints
        lags.append(lag)
        share = orders * len(rows) / len(events)
        room = np.flatnonzero(
            (rows["flags"] & Flag.LAST != 0)
            & (rows["kind"] <= EventKind.CHANGE)
            & (rows["ts_event"] <= rows["ts_event"].max() - horizon)
        )
        n = min(int(share) + (random.random() < share % 1), len(room))
        places = {int(at): random.random(2) for at in random.choice(room, n, replace=False)} if n else {}
        _market(int(market), rows, made, alone, places, horizon, block, found, lost)
    found.lost = np.array(lost, np.int64).reshape(-1, 3)
    found.prints = (int(counts[0]), int(counts[1]), int(counts[2]))
    found.lags = np.concatenate(lags) if lags else found.lags
    return found


def _market(market, rows, made, alone, places, horizon, block, found: Evidence, lost) -> None:
    """One market's rows: keep the levels, place the orders of `places`, see what becomes of them."""
    levels: dict[tuple[int, int], _Level] = {}
    based = False
    standing: list[Virtual] = []
    columns = (rows[name].tolist() for name in ("kind", "side", "price", "size", "ts_event"))
    begin = int(rows["ts_event"].min())
    for at, (kind, side, price, size, ts) in enumerate(zip(*columns, strict=True)):
        if standing and standing[0].until < ts:
            standing = _expire(standing, levels, ts)
        if kind == EventKind.BOOK_CLEAR:
            for order in standing:
                order.until = -1  # what was ahead is no longer known: it does not count
            standing, based = [], True
            levels = {}
        elif kind in (EventKind.LEVEL, EventKind.CHANGE):
            level = levels.get((side, price))
            first = level is None
            if level is None:
                level = levels[side, price] = _Level()
            before = level.size()
            if size > before:
                new = based and kind == EventKind.CHANGE
                level.adds.append([size - before, at, int(new or not first)])
                _cross(standing, levels, 1 - side, price)
            elif size < before:
                touch = price == _best(levels, side)
                eaten = min(int(made[at]), before - size)
                cancel = before - size - eaten
                if touch:
                    lost.append((market << 32 | (ts - begin) // block, before - size, eaten))
                if eaten:
                    _eat(level, eaten)
                if cancel:
                    _leave(level, cancel, before - eaten, market << 32 | (ts - begin) // block, ts, found)
        elif kind == EventKind.TRADE:
            _through(standing, 1 - side, price)
            level = levels.get((1 - side, price))
            if level is not None and alone[at]:
                _reach(level.orders, int(alone[at]))
        if at in places:
            order = _place(market, at, ts, ts + horizon, places[at], levels, len(found.orders))
            if order is not None:
                found.orders.append(order)
                standing.append(order)
                levels[order.side, order.price].orders.append(order)


def _sizes(levels: dict[tuple[int, int], _Level], side: int) -> list[int]:
    return [price for (s, price), level in levels.items() if s == side and level.adds]


def _best(levels: dict[tuple[int, int], _Level], side: int) -> int:
    prices = _sizes(levels, side)
    return (max(prices) if side == Side.BUY else min(prices)) if prices else -1


def _place(market, at, ts, until, draws, levels, number) -> Virtual | None:
    """An order at the back of one of the best levels of a drawn side, None when the book has not that many."""
    side, rank = int(draws[0] < 0.5), int(draws[1] * DEPTH)
    if _best(levels, Side.BUY) < 0 or _best(levels, Side.SELL) < 0:
        return None
    if _best(levels, Side.BUY) >= _best(levels, Side.SELL):
        return None
    prices = sorted(_sizes(levels, side), reverse=side == Side.BUY)
    if rank >= len(prices):
        return None
    size = levels[side, prices[rank]].size()
    ahead = dict.fromkeys(MODELS, float(size))
    filled = dict.fromkeys(MODELS, False)
    return Virtual(
        number, market, at, ts, until, side, prices[rank], size, float(size), float(size), ahead, filled=filled
    )


def _expire(standing: list[Virtual], levels: dict[tuple[int, int], _Level], ts: int) -> list[Virtual]:
    for order in standing:
        if order.until < ts:
            levels[order.side, order.price].orders.remove(order)
    return [order for order in standing if order.until >= ts]


def _fill(order: Virtual) -> None:
    order.least = order.most = True
    order.filled = dict.fromkeys(MODELS, True)


def _cross(standing: list[Virtual], levels, side: int, price: int) -> None:
    """A level appeared on the other side: orders at or through its price would have met it."""
    for order in standing:
        if order.side == side and (order.price >= price if side == Side.BUY else order.price <= price):
            _fill(order)


def _through(standing: list[Virtual], side: int, price: int) -> None:
    for order in standing:
        if order.side == side and (order.price > price if side == Side.BUY else order.price < price):
            _fill(order)


def _reach(orders: list[Virtual], size: int) -> None:
    """Prints of `size` at the level: the queue ahead shrinks, and what it does not hold back is ours."""
    for order in orders:
        order.least |= size > order.ahead_most
        order.most |= size > order.ahead_least
        order.ahead_most = max(order.ahead_most - size, 0.0)
        order.ahead_least = max(order.ahead_least - size, 0.0)
        for model, ahead in order.ahead.items():
            order.filled[model] |= size > ahead
            order.ahead[model] = max(ahead - size, 0.0)


def _eat(level: _Level, size: int) -> None:
    _reach(level.orders, size)
    level.eat(size)


def _leave(level: _Level, size: int, before: int, block: int, ts: int, found: Evidence) -> None:
    """A cancel of `size` in a level of `before`: what each order there learns, and what each model makes of it."""
    splits = [level.split(order.row) for order in level.orders]
    row, told = level.drop(size)
    found.cancelled += 1
    found.identified += told
    after = float(before - size)
    for order, (ahead, behind) in zip(level.orders, splits, strict=True):
        if told:
            was_behind = row > order.row
            if ahead > 0 and behind > 0:
                found.cancels.append(Cancel(order.number, block, ts, ahead, behind, was_behind))
            if not was_behind:
                order.ahead_most = max(order.ahead_most - size, 0.0)
                order.ahead_least = max(order.ahead_least - size, 0.0)
        else:
            order.ahead_least = max(order.ahead_least - size, 0.0)
        order.ahead_most = min(order.ahead_most, after)
        order.ahead_least = min(order.ahead_least, after)
        for model, own in order.ahead.items():
            order.ahead[model] = _modelled(model, own, float(before), float(size))


def _modelled(model: str, ahead: float, before: float, cancelled: float) -> float:
    """What a queue model makes of a cancel: shares ahead afterwards (as the simulated venue does it)."""
    after = before - cancelled
    if model == "risk_averse":
        return min(ahead, after)
    back = max(before - ahead, 0.0)
    if model == "log_prob":
        share = behind_log(ahead, back)
    else:
        share = behind_power(ahead, back, float(model.rpartition(":")[2]))
    estimate = ahead - (1.0 - share) * cancelled + min(back - share * cancelled, 0.0)
    return min(max(estimate, 0.0), after)


def finished(found: Evidence) -> Iterator[Virtual]:
    """The orders whose whole stay was seen."""
    return (order for order in found.orders if order.until >= 0)
