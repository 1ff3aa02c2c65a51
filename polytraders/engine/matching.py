"""The simulated venue: what Polymarket's operator would have done with our orders on this tape.

It keeps a book of its own, fed by the recorded events at the venue's time (`ts_event`, never later
than we received them, in arrival order), and our orders with their place in the queue. It works in
YES space and answers with event rows that reach the step after the response latency.

What fills us
    arrival      a crossing order walks the recorded levels, best first, at their prices
    trade        a print at our price first eats the queue ahead of us, then us; a print through
                 our price eats us first
    crossing     a level that appears at or through our price on the other side trades with us
What does not: our fills do not remove the recorded liquidity we took, and nobody reacts to us.

Queue models (`VENUE.queue_model`)
    RISK_AVERSE  ahead = whole level at arrival; it shrinks by trades and whenever the level becomes smaller than it
    POWER_PROB   a cancel of `c` falls behind us with probability back^n / (back^n + ahead^n), else ahead

Invariants
    V1  an order never fills beyond its size, nor at a price worse than its own
    V2  post-only never takes; FOK fills whole or not at all; FAK and FOK never rest
    V3  what open orders hold back never exceeds cash or shares
    V4  the answer to an action is never earlier than its arrival, and answers keep their order
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from polytraders.engine import book as bk
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, fee_nano, fee_units
from polytraders.engine.jit import inline, njit
from polytraders.engine.ledger import book_fill, free_shares, hold, need, settle
from polytraders.engine.state import ACCOUNT, MARKET, MAX_ORDERS, POSITION, records
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, Flag, OrderType, Outcome, Side, Status
from polytraders.units import CENT_SHARE, ONE

RING = 1 << 15
"""Actions or answers that may be in flight at one time."""

RISK_AVERSE, POWER_PROB = 0, 1
QUEUE_MODELS = {"risk_averse": RISK_AVERSE, "power_prob": POWER_PROB}

FAR = np.iinfo(np.int64).max
FROM, TO, REACH, SPAN, SPANS = 0, 1, 2, 4, 8
"""Cells of Venue.spans: bids have the first SPAN of them, asks the others."""

RESTING = np.dtype(
    [
        ("id", "<i8"),  # 0 = free row
        ("market", "<i8"),
        ("outcome", "<i8"),
        ("side", "<i8"),
        ("price", "<i8"),  # pips, own token
        ("book_side", "<i8"),  # YES space
        ("level", "<i8"),  # YES space
        ("size", "<i8"),
        ("remaining", "<i8"),
        ("reserved", "<i8"),
        ("flags", "<i8"),
        ("ahead", "<i8"),  # micro-shares queued before us at our level
        ("traded", "<i8"),  # micro-shares traded at our level since its size last changed
        ("next", "<i8"),  # row of the market's next resting order, -1 = last
    ]
)

VENUE = np.dtype(
    [
        ("now", "<i8"),  # ns, venue time
        ("entry_latency", "<i8"),  # ns
        ("response_latency", "<i8"),  # ns
        ("queue_model", "<i8"),
        ("power", "<i8"),  # n of POWER_PROB
        ("partial_fills", "<i8"),  # 0 = a touched order fills whole
        ("actions_head", "<i8"),  # rings: [head, tail)
        ("actions_tail", "<i8"),
        ("answers_head", "<i8"),
        ("answers_tail", "<i8"),
        ("last_arrival", "<i8"),  # ns
        ("last_answer", "<i8"),  # ns
        ("resting", "<i8"),  # orders on the book
        ("n_markets", "<i8"),
    ]
)


class Venue(NamedTuple):
    """State of the simulated venue; the record types it shares with the step mean the same here."""

    core: np.ndarray  # VENUE[1]
    account: np.ndarray  # ACCOUNT[1]
    markets: np.ndarray  # MARKET[n]
    positions: np.ndarray  # POSITION[n]
    book: np.ndarray  # int64[L]
    orders: np.ndarray  # RESTING[MAX_ORDERS]
    heads: np.ndarray  # int64[n]: row of the market's first resting order, best price first, -1 = none
    spans: np.ndarray  # int64[n, 8]: by side FROM, TO, REACH; see `_measure`
    actions: np.ndarray  # ACTION[RING], in flight to the venue; ts = arrival
    answers: np.ndarray  # EVENT[RING], in flight to us


def new_venue(
    markets: np.ndarray,
    cells: int,
    cash: int,
    *,
    entry_latency: int,
    response_latency: int,
    queue_model: str,
    power: int,
    partial_fills: bool,
) -> Venue:
    """A venue with empty books. `markets` is the step's fresh MARKET array (copied); ns, micro-pUSD."""
    core, account = records(VENUE, 1), records(ACCOUNT, 1)
    core["entry_latency"], core["response_latency"] = entry_latency, response_latency
    core["n_markets"] = len(markets)
    core["queue_model"], core["power"], core["partial_fills"] = QUEUE_MODELS[queue_model], power, int(partial_fills)
    account["cash"] = account["deposits"] = cash
    own = records(MARKET, len(markets))
    own[:] = markets
    return Venue(
        core=core,
        account=account,
        markets=own,
        positions=records(POSITION, len(markets)),
        book=np.zeros(cells, np.int64),
        orders=records(RESTING, MAX_ORDERS),
        heads=np.full(len(markets), -1, np.int64),
        spans=np.tile(np.array([FAR, -1, FAR, 0, FAR, -1, 1, 0]), (len(markets), 1)),
        actions=records(ACTION, RING),
        answers=records(EVENT, RING),
    )


@njit
def send(core, actions, action):
    """Put an action of the step on the wire; it arrives after the entry latency, never before an earlier one."""
    arrival = max(action.ts + core.entry_latency, core.last_arrival)
    core.last_arrival = arrival
    slot = core.actions_tail & (RING - 1)
    actions[slot] = action
    actions[slot].ts = arrival
    core.actions_tail += 1


@njit
def _answer(core, answers, kind, market, order_id, price, size, side, ref, flags):
    core.last_answer = max(core.now + core.response_latency, core.last_answer)
    row = answers[core.answers_tail & (RING - 1)]
    row.ts_recv = core.last_answer
    row.ts_event = core.now
    row.kind = kind
    row.market = market
    row.aux = order_id
    row.price = price
    row.size = size
    row.side = side
    row.ref = ref
    row.flags = flags | Flag.LAST
    core.answers_tail += 1


@njit
def _book_price(outcome, price):
    return price if outcome == Outcome.YES else ONE - price


@njit
def _book_side(outcome, side):
    """A NO order stands on the other side of the YES book."""
    return side if outcome == Outcome.YES else 1 - side


@njit
def _release(account, position, order, amount):
    hold(account, position, order.outcome, order.side, -amount)
    order.reserved -= amount


@njit
def _fill(core, account, market, position, answers, order, level_price, size, fee, maker):
    """Fill `size` of an order at a YES-space price; books it and tells the step. V1."""
    price = _book_price(order.outcome, level_price)
    order.remaining -= size
    if order.side == Side.BUY:
        spent = price * size // ONE + fee
        rest = min(need(market, order.side, order.price, order.remaining, order.flags), order.reserved - spent)
        _release(account, position, order, order.reserved - rest)
    else:
        _release(account, position, order, size)
    book_fill(account, position, order.outcome, order.side, price, size, fee, 0)
    _answer(
        core,
        answers,
        EventKind.FILL_CONFIRMED,
        order.market,
        order.id,
        price,
        size,
        order.side,
        fee // MICRO_PER_FEE_UNIT,
        Flag.MAKER if maker else 0,
    )


@njit
def _drop(account, position, order):
    """Give back what a finished order held."""
    if order.reserved != 0:
        _release(account, position, order, order.reserved)
    order.id = 0


@njit
def _measure(spans, heads, orders, market):
    """Note where our orders rest: most of the tape passes elsewhere, and need not ask each of them.

    FROM ... TO are the levels of our orders of a side (FAR ... -1 without any). REACH is the rank (`engine.book`) from
    which a level or an aggressor *of* this side meets our orders of the other one.
    """
    span = spans[market]
    for side in range(2):
        span[side * SPAN + FROM], span[side * SPAN + TO] = FAR, -1
    at = heads[market]
    while at >= 0:
        order = orders[at]
        side = order.book_side * SPAN
        span[side + FROM] = min(span[side + FROM], order.level)
        span[side + TO] = max(span[side + TO], order.level)
        at = order.next
    span[Side.BUY * SPAN + REACH] = span[Side.SELL * SPAN + FROM]
    span[Side.SELL * SPAN + REACH] = -span[Side.BUY * SPAN + TO]


@njit
def _unlink(core, heads, spans, orders, row):
    order = orders[row]
    before, at = -1, heads[order.market]
    while at != row:
        before, at = at, orders[at].next
    if before < 0:
        heads[order.market] = order.next
    else:
        orders[before].next = order.next
    core.resting -= 1
    _measure(spans, heads, orders, order.market)


@njit
def _link(core, heads, spans, orders, row):
    """Insert by price-time priority: within a side the best price first, then the earlier arrival."""
    order = orders[row]
    before, at = -1, heads[order.market]
    while at >= 0:
        other = orders[at]
        if other.book_side > order.book_side:
            break
        if other.book_side == order.book_side:
            better = order.level > other.level if order.book_side == Side.BUY else order.level < other.level
            if better:
                break
        before, at = at, other.next
    order.next = at
    if before < 0:
        heads[order.market] = row
    else:
        orders[before].next = row
    core.resting += 1
    _measure(spans, heads, orders, order.market)


@njit
def _crosses(market, order):
    if order.book_side == Side.BUY:
        return bk.ask(market) >= 0 and order.level >= bk.ask(market)
    return order.level <= bk.bid(market)


@njit
def _level_size(book, market, side, level):
    return book[market.offset + level if side == Side.BUY else market.offset + market.levels + level]


@njit
def _takeable(book, market, order):
    """Micro-shares on the other side within the order's price, in whole hundredths of a share."""
    total = 0
    if order.book_side == Side.BUY:
        for level in range(max(bk.ask(market), 0), order.level + 1):
            total += _level_size(book, market, Side.SELL, level) // CENT_SHARE * CENT_SHARE
    else:
        for level in range(order.level, bk.bid(market) + 1):
            total += _level_size(book, market, Side.BUY, level) // CENT_SHARE * CENT_SHARE
    return total


@inline
def _take(venue, market, position, order):
    """Walk the other side from its best level to the order's price. One taker fee for the whole walk,
    rounded once: each fill carries the difference of the rounded running sums."""
    step = 1 if order.book_side == Side.BUY else -1
    level = bk.ask(market) if order.book_side == Side.BUY else bk.bid(market)
    nano, charged = 0, 0
    while order.remaining > 0 and 0 <= level < market.levels and (order.level - level) * step >= 0:
        there = _level_size(venue.book, market, 1 - order.book_side, level) // CENT_SHARE * CENT_SHARE
        if there > 0:
            size = min(order.remaining, there)
            price = level * market.grid
            nano += fee_nano(size, price, market.fee_rate, market.fee_exponent)
            fee = fee_units(nano) * MICRO_PER_FEE_UNIT
            _fill(
                venue.core[0],
                venue.account[0],
                market,
                position,
                venue.answers,
                order,
                price,
                size,
                fee - charged,
                False,
            )
            charged = fee
        level += step


@njit
def _refusal(market, action):
    """Reason-code number of the rule a new order breaks, 0 = none. Balance and crossing come later."""
    if market.status != Status.OPEN:
        return Code.EXEC_MARKET_CLOSED
    if action.price < market.tick or action.price > ONE - market.tick or action.price % market.tick != 0:
        return Code.EXEC_OFF_TICK
    if action.size < market.min_size or action.size % CENT_SHARE != 0 or action.size <= 0:
        return Code.EXEC_BELOW_MIN_SIZE
    return 0


@inline
def _submit(venue, action):
    row = action.order_id & (MAX_ORDERS - 1)
    market, position, order = venue.markets[action.market], venue.positions[action.market], venue.orders[row]
    refusal = _refusal(market, action)
    if refusal == 0:
        amount = need(market, action.side, action.price, action.size, action.flags)
        if action.side == Side.BUY:
            enough = amount <= venue.account[0].cash
        else:
            enough = amount <= free_shares(position, action.outcome)
        if not enough:
            refusal = Code.EXEC_NOT_ENOUGH_BALANCE
    if refusal != 0:
        _answer(
            venue.core[0],
            venue.answers,
            EventKind.ORDER_REJECT,
            action.market,
            action.order_id,
            action.price,
            refusal,
            action.side,
            0,
            0,
        )
        return
    order.id = action.order_id
    order.market = action.market
    order.outcome = action.outcome
    order.side = action.side
    order.price = action.price
    order.book_side = _book_side(action.outcome, action.side)
    order.level = (_book_price(action.outcome, action.price) * market.recip) >> bk.SHIFT
    order.size = action.size
    order.remaining = action.size
    order.flags = action.flags
    order.reserved = 0
    crosses = _crosses(market, order)
    if action.flags & POST_ONLY and crosses:
        refusal = Code.EXEC_POST_ONLY_CROSSED
    elif action.order_type == OrderType.FOK and (not crosses or _takeable(venue.book, market, order) < order.size):
        refusal = Code.EXEC_FOK_NOT_FILLED
    elif action.order_type == OrderType.FAK and not crosses:
        refusal = Code.EXEC_FAK_NOT_FILLED
    if refusal != 0:
        order.id = 0
        _answer(
            venue.core[0],
            venue.answers,
            EventKind.ORDER_REJECT,
            action.market,
            action.order_id,
            action.price,
            refusal,
            action.side,
            0,
            0,
        )
        return
    hold(venue.account[0], position, order.outcome, order.side, amount)
    order.reserved = amount
    _answer(
        venue.core[0],
        venue.answers,
        EventKind.ORDER_ACK,
        action.market,
        order.id,
        order.price,
        order.size,
        order.side,
        0,
        0,
    )
    if crosses:
        _take(venue, market, position, order)
    if order.remaining == 0:
        _drop(venue.account[0], position, order)
    elif action.order_type == OrderType.FOK or action.order_type == OrderType.FAK:
        _answer(
            venue.core[0],
            venue.answers,
            EventKind.CANCEL,
            action.market,
            order.id,
            0,
            Code.EXEC_CANCELLED,
            order.side,
            0,
            0,
        )
        _drop(venue.account[0], position, order)
    else:
        order.ahead = _level_size(venue.book, market, order.book_side, order.level)
        order.traded = 0
        _link(venue.core[0], venue.heads, venue.spans, venue.orders, row)


@njit
def _cancel(venue, order_id, market, code):
    row = order_id & (MAX_ORDERS - 1)
    order, position = venue.orders[row], venue.positions[market]
    if order.id != order_id:  # already filled, cancelled or never accepted: the fill or refusal is on its way
        return
    _unlink(venue.core[0], venue.heads, venue.spans, venue.orders, row)
    _answer(venue.core[0], venue.answers, EventKind.CANCEL, market, order_id, 0, code, order.side, 0, 0)
    _drop(venue.account[0], position, order)


@njit
def _cancel_market(venue, market, code):
    while venue.heads[market] >= 0:
        _cancel(venue, venue.orders[venue.heads[market]].id, market, code)


@inline
def arrive(venue):
    """The first action in flight reaches the venue at its arrival time."""
    core = venue.core[0]
    action = venue.actions[core.actions_head & (RING - 1)]
    core.actions_head += 1
    core.now = max(core.now, action.ts)
    if action.kind == ActionKind.SUBMIT:
        _submit(venue, action)
    elif action.kind == ActionKind.CANCEL:
        _cancel(venue, action.order_id, action.market, Code.EXEC_CANCELLED)
    elif action.kind == ActionKind.CANCEL_ALL:
        for market in range(core.n_markets):
            _cancel_market(venue, market, Code.EXEC_CANCELLED)


@inline
def _finish(venue, position, order, row):
    if order.remaining == 0:
        _unlink(venue.core[0], venue.heads, venue.spans, venue.orders, row)
        _drop(venue.account[0], position, order)


@inline
def _on_trade(venue, market, event):
    """A print of `event.size` with aggressor `event.side` at `event.price`."""
    position = venue.positions[market.id]
    level = (event.price * market.recip) >> bk.SHIFT
    left = event.size  # not yet matched to our orders that stood before the printed level
    ours = 0  # of ours filled at the printed level: they were part of what the print ate
    partial = venue.core[0].partial_fills
    row = venue.heads[market.id]
    while row >= 0:
        order = venue.orders[row]
        after = order.next
        if order.book_side != event.side:  # a selling aggressor hits bids, a buying one lifts asks
            through = order.level > level if order.book_side == Side.BUY else order.level < level
            size = 0
            if through:
                size = min(order.remaining, left) if partial else order.remaining
                left -= min(size, left)
            elif order.level == level:
                order.ahead -= left - ours
                order.traded += left - ours
                if order.ahead < 0:
                    size = min(order.remaining, -order.ahead) if partial else order.remaining
                    order.ahead = 0
            size = size // CENT_SHARE * CENT_SHARE
            if size > 0:
                if not through:
                    ours += min(size, left - ours)
                _fill(
                    venue.core[0],
                    venue.account[0],
                    market,
                    position,
                    venue.answers,
                    order,
                    order.level * market.grid,
                    size,
                    0,
                    True,
                )
                _finish(venue, position, order, row)
        row = after


@inline
def _on_depth(venue, market, side, level, before, after):
    """The level's recorded size went from `before` to `after`: move our queue positions there."""
    core = venue.core[0]
    row = venue.heads[market.id]
    while row >= 0:
        order = venue.orders[row]
        if order.book_side == side and order.level == level:
            if core.queue_model == POWER_PROB:
                cancelled = before - after - order.traded
                if cancelled > 0:
                    front, back = float(order.ahead), float(max(before - order.ahead, 0))
                    f, b = front, back
                    for _ in range(1, core.power):
                        f *= front
                        b *= back
                    behind = b / (b + f) if b + f > 0.0 else 1.0
                    # what should have fallen behind us but found no room there fell ahead
                    estimate = front - (1.0 - behind) * cancelled + min(back - behind * cancelled, 0.0)
                    order.ahead = max(int(np.ceil(estimate)), 0)
            order.traded = 0
            order.ahead = min(order.ahead, after)
        row = order.next


@inline
def _on_crossing(venue, market, side, level, size):
    """A recorded level at or through our resting price on the other side would have met us."""
    position = venue.positions[market.id]
    partial = venue.core[0].partial_fills
    left = size
    row = venue.heads[market.id]
    while row >= 0:
        order = venue.orders[row]
        after = order.next
        if order.book_side != side:
            met = order.level <= level if side == Side.BUY else order.level >= level
            if met:
                fill = min(order.remaining, left) // CENT_SHARE * CENT_SHARE if partial else order.remaining
                left -= fill
                if fill > 0:
                    _fill(
                        venue.core[0],
                        venue.account[0],
                        market,
                        position,
                        venue.answers,
                        order,
                        order.level * market.grid,
                        fill,
                        0,
                        True,
                    )
                    _finish(venue, position, order, row)
        row = after


@inline
def observe(venue, event, now):
    """The tape moves at the venue: one recorded market row at venue time `now`."""
    venue.core[0].now = now
    market = venue.markets[event.market]
    kind = event.kind
    if kind == EventKind.CHANGE or kind == EventKind.LEVEL:
        level, side, size = (event.price * market.recip) >> bk.SHIFT, np.int64(event.side) & 1, event.size
        before = venue.book[market.offset + side * market.levels + level]
        bk.set_level(venue.book, market, side, level, size)
        span, cells = venue.spans[market.id], side * SPAN
        if span[cells + FROM] <= level <= span[cells + TO] and before != size:
            _on_depth(venue, market, side, level, before, size)
        if bk.rank(side, level) >= span[cells + REACH] and size > before:
            _on_crossing(venue, market, side, level, size - before)
    elif kind == EventKind.TRADE:
        level, side = (event.price * market.recip) >> bk.SHIFT, np.int64(event.side) & 1
        if bk.rank(side, level) >= venue.spans[market.id, side * SPAN + REACH]:
            _on_trade(venue, market, event)
    elif kind == EventKind.BOOK_CLEAR:
        bk.apply(venue.book, market, event)
    elif kind == EventKind.TICK_SIZE:
        market.tick = event.price
    elif kind == EventKind.STATUS:
        market.status = event.aux
    elif kind == EventKind.RESOLUTION:
        market.status = Status.RESOLVED
        _cancel_market(venue, event.market, Code.EXEC_CANCELLED_MARKET_RESOLVED)
        settle(venue.account[0], venue.positions[event.market], event.price)
