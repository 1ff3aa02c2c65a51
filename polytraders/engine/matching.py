"""The simulated venue: what Polymarket's operator would have done with our orders on this tape.

It keeps a book of its own, fed by the recorded events at the venue's time (`ts_event`, never later
than we received them, in arrival order), and our orders with their place in the queue. It works in
YES space and answers with event rows that reach the step after the response latency.

What fills us
    arrival      a crossing order walks the recorded levels, best first, at their prices
    trade        a print at our price first eats the queue ahead of us, then us; a print through
                 our price eats us first
    crossing     a level that appears at or through our price on the other side trades with us
Complete sets are split, merged and converted when the request arrives, at 1 pUSD a pair and without a fee. A run's
markets of a neg-risk event are taken for all of them: what a conversion would give in others is not received.

Orders of ours at one level stand behind each other: a print eats the queue once, not once for each of them. They
never meet each other (keeping both sides apart is the self-trade guard's work), and nobody reacts to us. What our
takers took is gone for our next taker until the recorded level changes its size (unless `consume` is 0); a post-only
order still counts as crossing there, for that is what the recording says.

Order rules: status, tick, minimum size, decimals and lifetime on arrival (`engine.rules`), then, for an order that
takes, at least 1 pUSD. A good-til-date order leaves the book 60 s before the second that it names.

Taker delay (`MARKET.taker_delay`): an order that would take is accepted, holds its money and waits; then it meets the
book of then, which makers, we too, may have left meanwhile. It cannot be cancelled while it waits: a cancel that comes
lands when the delay is over, on what has not traded.

Settlement: with no delay and no ghosts a fill is final when it is told. Otherwise a fill is told as provisional and,
`settlement_delay` later, as confirmed, or as voided in `ghost_rate` ppm of cases: which ones follows from the order's
id and the fill's number alone. What a void gives back does not return to the book.

Queue models (`VENUE.queue_model`): what a loss of depth without a print means for those ahead of us. Of every such
loss, `trade_share` ppm count as trades, which always come off the front; the rest are cancels.
    RISK_AVERSE  ahead = whole level at arrival; it shrinks by trades and whenever the level becomes smaller than it
    POWER_PROB   a cancel falls behind us with probability back^n / (back^n + ahead^n), else ahead
    LOG_PROB     the same with ln(1 + back) and ln(1 + ahead), in shares

Invariants
    V1  an order never fills beyond its size, nor at a price worse than its own
    V2  post-only never takes; FOK fills whole or not at all; FAK and FOK never rest
    V3  what open orders hold back never exceeds cash or shares
    V4  the answer to an action is later than its arrival, by 1 ns at least; actions and answers keep their order
        whatever the latencies drawn
    V5  a provisional fill is confirmed or voided once, and a void restores the books exactly
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from polytraders.engine import book as bk
from polytraders.engine.fees import MICRO_PER_FEE_UNIT, fee_nano, fee_units
from polytraders.engine.jit import inline, njit, prefetch
from polytraders.engine.ledger import (
    book_fill,
    confirm_fill,
    convert,
    free_shares,
    hold,
    hold_unsettled,
    merge,
    need,
    redeem,
    settle,
    split,
    void_fill,
)
from polytraders.engine.rules import gtd_expires, gtd_too_soon, too_fine, too_little_to_take
from polytraders.engine.state import (
    ACCOUNT,
    AHEAD,
    LEAST_RESPONSE,
    MANY,
    MARKET,
    MAX_ORDERS,
    MAX_UNSETTLED,
    POSITION,
    UNSETTLED,
    lines,
    per_market,
    records,
)
from polytraders.reasons import Code
from polytraders.rows import ACTION, EVENT, POST_ONLY, ActionKind, EventKind, Flag, OrderType, Outcome, Side, Status
from polytraders.units import CENT_SHARE, MICRO, ONE

RING = 1 << 15
"""Actions or answers that may be in flight at one time."""

RISK_AVERSE, POWER_PROB, LOG_PROB = 0, 1, 2
QUEUE_MODELS = {"risk_averse": RISK_AVERSE, "power_prob": POWER_PROB, "log_prob": LOG_PROB}

FAR = np.iinfo(np.int64).max
EXPIRE, MATCH, SETTLE = 0, 1, 2
"""What a timer of the venue is for: a GTD order's end, a delayed order's match, a fill's settlement."""
TIMERS = 2 * MAX_ORDERS + MAX_UNSETTLED
"""Timers that can be of use at one time: one end and one match an order, one settlement a fill."""

FROM, TO, REACH, SPAN, SPANS = 0, 1, 2, 4, 8
"""Cells of LISTED.span: bids have the first SPAN of them, asks the others."""
NOWHERE = np.iinfo(np.int16).max
"""A level beyond all there are."""

LISTED = lines(
    [
        # all that a row of the tape needs of a market in which it does not meet us: one line
        ("offset", "<i8"),  # this to `levels`: see engine.book
        ("recip", "<i8"),
        ("best", "<i8", (2,)),
        ("levels", "<i4"),
        ("grid", "<i4"),  # pips
        ("taken", "<i4"),  # 1 = a taker of ours took something here: Venue.taken knows where
        ("head", "<i4"),  # row of the market's first resting order, best price first, -1 = none
        ("span", "<i2", (SPANS,)),  # by side FROM, TO, REACH; see `_measure`
        # the rules in force, and what became of it
        ("min_size", "<i8"),  # micro-shares
        ("fee_rate", "<i8"),  # ppm
        ("rebate_rate", "<i8"),  # ppm
        ("taker_delay", "<i8"),  # ns
        ("fee_exponent", "<i4"),
        ("tick", "<i4"),  # pips
        ("mark2", "<i4"),  # pips x 2, of the day it was listed: the venue values nothing
        ("status", "<i4"),  # rows.Status
        ("payout", "<i4"),  # pips, -1 = not resolved
        ("redeeming", "<i4"),
        ("group", "<i4"),
        ("group_next", "<i4"),
    ]
)
"""A market as the venue knows it; names mean what they mean in MARKET."""

RESTING = lines(
    [
        # all that is touched while it rests: one line
        ("id", "<i8"),  # 0 = free row
        ("remaining", "<i8"),
        ("reserved", "<i8"),
        ("ahead", "<i8"),  # micro-shares queued before us at our level
        ("traded", "<i8"),  # micro-shares traded at our level since its size last changed
        ("market", "<i4"),
        ("next", "<i4"),  # row of the market's next resting order, -1 = last
        ("price", "<i4"),  # pips, own token
        ("level", "<i4"),  # YES space
        ("outcome", "i1"),
        ("side", "i1"),
        ("book_side", "i1"),  # YES space
        ("order_type", "i1"),
        ("flags", "i1"),
        ("delayed", "i1"),  # 1 = waits for its match, on no book
        ("cancelling", "i1"),  # 1 = a cancel came while it was delayed
        ("spare", "i1"),
        ("size", "<i8"),
        ("expires", "<i8"),  # ns, 0 = never
        ("fills", "<i8"),
    ]
)

VENUE = np.dtype(
    [
        ("now", "<i8"),  # ns, venue time
        ("entry_at", "<i8"),  # next cell of Venue.entry
        ("response_at", "<i8"),  # next cell of Venue.response
        ("queue_model", "<i8"),
        ("power", "<i8"),  # n of POWER_PROB
        ("trade_share", "<i8"),  # ppm of a loss of depth without a print that counts as trades
        ("partial_fills", "<i8"),  # 0 = a touched order fills whole
        ("consume", "<i8"),  # 1 = what our takers took is gone until the level changes
        ("delays", "<i8"),  # 1 = takers wait their market's delay
        ("provisional", "<i8"),  # 1 = fills are told as provisional first
        ("settlement_delay", "<i8"),  # ns
        ("ghost_rate", "<i8"),  # ppm of fills that are voided
        ("ghost_seed", "<i8"),
        ("due", "<i8"),  # ns, first timer, FAR = none
        ("n_timers", "<i8"),
        ("timers_set", "<i8"),  # timers so far: orders those of one time
        ("n_unsettled", "<i8"),
        ("unsettled_at", "<i8"),  # row of Venue.unsettled to look for a free one from
        ("delayed", "<i8"),  # orders that wait for their match
        ("full", "<i8"),  # 1 = a fill or timer found no room: the run is not to be believed
        ("actions_head", "<i8"),  # rings: [head, tail)
        ("actions_tail", "<i8"),
        ("answers_head", "<i8"),
        ("answers_tail", "<i8"),
        ("last_arrival", "<i8"),  # ns
        ("last_answer", "<i8"),  # ns
        ("resting", "<i8"),  # orders on the book
        ("n_markets", "<i8"),
        ("least_entry", "<i8"),  # ns, the shortest entry latency
    ]
)


class Venue(NamedTuple):
    """State of the simulated venue; the record types it shares with the step mean the same here."""

    core: np.ndarray  # VENUE[1]
    account: np.ndarray  # ACCOUNT[1]
    markets: np.ndarray  # LISTED[n]
    positions: np.ndarray  # POSITION[n]
    book: np.ndarray  # int64[L]
    orders: np.ndarray  # RESTING[MAX_ORDERS]
    actions: np.ndarray  # ACTION[RING], in flight to the venue; ts = arrival
    answers: np.ndarray  # EVENT[RING], in flight to us
    entry: np.ndarray  # int64[...], ns: entry latencies, used in turn
    response: np.ndarray  # int64[...], ns: response latencies, used in turn
    taken: np.ndarray  # int64[L]: micro-shares of the book's cells that our takers took
    taken_of: np.ndarray  # int64[L]: the cell's recorded size when they did
    timers: np.ndarray  # int64[TIMERS, 4]: binary heap of (ns, number, what for, order id or row of `unsettled`)
    unsettled: np.ndarray  # UNSETTLED[MAX_UNSETTLED], order = 0 is free


def new_venue(
    markets: np.ndarray,
    cells: int,
    cash: int,
    *,
    entry_latency: int | np.ndarray,
    response_latency: int | np.ndarray,
    queue_model: str,
    power: int,
    partial_fills: bool,
    trade_share: int = 0,
    consume: bool = True,
    delays: bool = True,
    settlement_delay: int = 0,
    ghost_rate: int = 0,
    ghost_seed: int = 0,
) -> Venue:
    """A venue with empty books. `markets` is the step's fresh MARKET array (copied); ns, micro-pUSD, ppm.

    A latency is one number for every message, or int64[k] of which each message takes the next in turn.
    """
    core, account = records(VENUE, 1), records(ACCOUNT, 1)
    core["n_markets"] = len(markets)
    core["least_entry"] = np.min(entry_latency)
    core["queue_model"], core["power"], core["partial_fills"] = QUEUE_MODELS[queue_model], power, int(partial_fills)
    core["trade_share"], core["consume"], core["delays"] = trade_share, int(consume), int(delays)
    core["due"] = FAR
    core["settlement_delay"], core["ghost_rate"], core["ghost_seed"] = settlement_delay, ghost_rate, ghost_seed
    core["provisional"] = int(settlement_delay > 0 or ghost_rate > 0)
    account["cash"] = account["deposits"] = cash
    own = per_market(LISTED, len(markets))
    for name in MARKET.names:
        if name in LISTED.names and name != "pad":
            own[name] = markets[name]
    own["head"] = -1
    own["span"] = NOWHERE, -1, NOWHERE, 0, NOWHERE, -1, 1, 0
    return Venue(
        core=core,
        account=account,
        markets=own,
        positions=per_market(POSITION, len(markets)),
        book=per_market(np.int64, cells),
        orders=per_market(RESTING, MAX_ORDERS, large=len(markets) >= MANY),
        actions=records(ACTION, RING),
        answers=records(EVENT, RING),
        entry=np.atleast_1d(np.asarray(entry_latency, np.int64)),
        response=np.maximum(np.atleast_1d(np.asarray(response_latency, np.int64)), LEAST_RESPONSE),
        taken=np.zeros(cells, np.int64),
        taken_of=np.zeros(cells, np.int64),
        timers=np.zeros((TIMERS, 4), np.int64),
        unsettled=records(UNSETTLED, MAX_UNSETTLED),
    )


@njit
def send(core, entry, actions, action):
    """Put an action of the step on the wire; it arrives after the entry latency, never before an earlier one."""
    arrival = max(action.ts + entry[core.entry_at], core.last_arrival)
    core.entry_at += 1
    if core.entry_at == entry.shape[0]:
        core.entry_at = 0
    core.last_arrival = arrival
    slot = core.actions_tail & (RING - 1)
    actions[slot] = action
    actions[slot].ts = arrival
    core.actions_tail += 1


@njit
def _answer(core, response, answers, kind, market, order_id, price, size, side, ref, flags):
    core.last_answer = max(core.now + response[core.response_at], core.last_answer)
    core.response_at += 1
    if core.response_at == response.shape[0]:
        core.response_at = 0
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
def _timer_set(core, timers, orders, when, what, subject):
    """Start a timer. Full of ends of orders that are gone, the heap is rebuilt without them."""
    if core.n_timers == timers.shape[0]:
        n, core.n_timers = core.n_timers, 0
        for i in range(n):
            if timers[i, 2] == SETTLE or orders[timers[i, 3] & (MAX_ORDERS - 1)].id == timers[i, 3]:
                _timer_up(timers, core.n_timers, timers[i, 0], timers[i, 1], timers[i, 2], timers[i, 3])
                core.n_timers += 1
        if core.n_timers == timers.shape[0]:
            core.full = 1
            return
    core.timers_set += 1
    _timer_up(timers, core.n_timers, when, core.timers_set, what, subject)
    core.n_timers += 1
    core.due = timers[0, 0]


@njit
def _timer_up(timers, at, when, number, what, subject):
    """Put an entry into a heap of `at` entries."""
    while at > 0:
        parent = (at - 1) // 2
        if timers[parent, 0] < when or (timers[parent, 0] == when and timers[parent, 1] < number):
            break
        for cell in range(4):
            timers[at, cell] = timers[parent, cell]
        at = parent
    timers[at, 0], timers[at, 1], timers[at, 2], timers[at, 3] = when, number, what, subject


@njit
def _timer_pop(core, timers):
    """Take the first timer out."""
    core.n_timers -= 1
    n, at = core.n_timers, 0
    when, number = timers[n, 0], timers[n, 1]
    what, subject = timers[n, 2], timers[n, 3]
    while 2 * at + 1 < n:
        child = 2 * at + 1
        if child + 1 < n and (
            timers[child + 1, 0] < timers[child, 0]
            or (timers[child + 1, 0] == timers[child, 0] and timers[child + 1, 1] < timers[child, 1])
        ):
            child += 1
        if timers[child, 0] > when or (timers[child, 0] == when and timers[child, 1] > number):
            break
        for cell in range(4):
            timers[at, cell] = timers[child, cell]
        at = child
    timers[at, 0], timers[at, 1], timers[at, 2], timers[at, 3] = when, number, what, subject
    core.due = timers[0, 0] if n > 0 else FAR


@njit
def _await_settlement(core, unsettled, timers, orders, account, position, order, price, size, fee, cost, flags):
    """A fill that was just booked is provisional: remember it until the chain has spoken."""
    if core.n_unsettled == unsettled.shape[0]:
        core.full = 1
        return
    row = core.unsettled_at
    while unsettled[row].order != 0:
        row = (row + 1) & (MAX_UNSETTLED - 1)
    core.unsettled_at = (row + 1) & (MAX_UNSETTLED - 1)
    core.n_unsettled += 1
    fill = unsettled[row]
    fill.order = order.id
    fill.number = order.fills
    fill.market = order.market
    fill.outcome = order.outcome
    fill.side = order.side
    fill.price = price
    fill.size = size
    fill.fee = fee
    fill.rebate = 0
    fill.cost = cost
    fill.flags = flags
    fill.due = core.now + core.settlement_delay
    hold_unsettled(account, position, fill)
    _timer_set(core, timers, orders, fill.due, SETTLE, row)


@njit
def is_ghost(seed, order_id, number, rate):
    """True for the fills that the chain refuses: `rate` ppm of them, by order id and number of the fill alone."""
    x = np.int64(seed) * 7046029254386353131 + np.int64(order_id) * 1442695040888963407 + np.int64(number)
    for _ in range(2):
        x = (x ^ (x >> 29)) * 3935559000370003845
    x ^= x >> 32
    return ((x & 0xFFFFFFFF) * 1_000_000 >> 32) < rate


@njit
def _fill(venue, market, position, order, level_price, size, fee, maker):
    """Fill `size` of an order at a YES-space price; books it and tells the step. V1."""
    core, account = venue.core[0], venue.account[0]
    price = _book_price(order.outcome, level_price)
    order.remaining -= size
    if order.side == Side.BUY:
        spent = price * size // ONE + fee
        rest = min(need(market, order.side, order.price, order.remaining, order.flags), order.reserved - spent)
        _release(account, position, order, order.reserved - rest)
    else:
        _release(account, position, order, size)
    cost = book_fill(account, position, order.outcome, order.side, price, size, fee, 0)
    kind, flags = EventKind.FILL_CONFIRMED, Flag.MAKER if maker else 0
    if core.provisional:
        kind = EventKind.FILL_PROVISIONAL
        order.fills += 1
        _await_settlement(
            core, venue.unsettled, venue.timers, venue.orders, account, position, order, price, size, fee, cost, flags
        )
    _answer(
        core,
        venue.response,
        venue.answers,
        kind,
        order.market,
        order.id,
        price,
        size,
        order.side,
        fee // MICRO_PER_FEE_UNIT,
        flags,
    )


@njit
def _settle_fill(venue, row):
    """The chain has spoken about a provisional fill. V5."""
    core, account, fill = venue.core[0], venue.account[0], venue.unsettled[row]
    market, position = venue.markets[fill.market], venue.positions[fill.market]
    kind = EventKind.FILL_CONFIRMED
    if is_ghost(core.ghost_seed, fill.order, fill.number, core.ghost_rate):
        kind = EventKind.FILL_VOIDED
        void_fill(account, position, fill)
        if market.status == Status.RESOLVED:
            settle(account, position, market.payout, market.redeeming)
    else:
        confirm_fill(account, position, fill)
    _answer(
        core,
        venue.response,
        venue.answers,
        kind,
        fill.market,
        fill.order,
        fill.price,
        fill.size,
        fill.side,
        fill.fee // MICRO_PER_FEE_UNIT,
        fill.flags,
    )
    fill.order = 0
    core.n_unsettled -= 1


@njit
def _drop(account, position, order):
    """Give back what a finished order held."""
    if order.reserved != 0:
        _release(account, position, order, order.reserved)
    order.id = 0


@njit
def _measure(orders, market):
    """Note where our orders rest: most of the tape passes elsewhere, and need not ask each of them.

    FROM ... TO are the levels of our orders of a side (NOWHERE ... -1 without any). REACH is the rank (`engine.book`)
    from which a level or an aggressor *of* this side meets our orders of the other one.
    """
    span = market.span
    for side in range(2):
        span[side * SPAN + FROM], span[side * SPAN + TO] = NOWHERE, -1
    at = market.head
    while at >= 0:
        order = orders[at]
        side = order.book_side * SPAN
        span[side + FROM] = min(span[side + FROM], order.level)
        span[side + TO] = max(span[side + TO], order.level)
        at = order.next
    span[Side.BUY * SPAN + REACH] = span[Side.SELL * SPAN + FROM]
    span[Side.SELL * SPAN + REACH] = -span[Side.BUY * SPAN + TO]


@njit
def _unlink(core, market, orders, row):
    order = orders[row]
    before, at = -1, market.head
    while at != row:
        before, at = at, orders[at].next
    if before < 0:
        market.head = order.next
    else:
        orders[before].next = order.next
    core.resting -= 1
    _measure(orders, market)


@njit
def _link(core, market, orders, row):
    """Insert by price-time priority: within a side the best price first, then the earlier arrival."""
    order = orders[row]
    before, at = -1, market.head
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
        market.head = row
    else:
        orders[before].next = row
    core.resting += 1
    _measure(orders, market)


@njit
def _crosses(market, order):
    if order.book_side == Side.BUY:
        return bk.ask(market) >= 0 and order.level >= bk.ask(market)
    return order.level <= bk.bid(market)


@njit
def _level_size(book, market, side, level):
    return book[market.offset + level if side == Side.BUY else market.offset + market.levels + level]


@njit
def _offered(book, taken, taken_of, market, side, level):
    """Micro-shares that a taker of ours finds at a level, in whole hundredths of a share."""
    cell = market.offset + level + (market.levels if side == Side.SELL else 0)
    size = book[cell]
    if market.taken and taken_of[cell] == size:
        size -= taken[cell]
    return size // CENT_SHARE * CENT_SHARE


@njit
def _consume(book, taken, taken_of, market, side, level, size):
    """A taker of ours took from a level: the recording still shows it, our next taker does not find it."""
    cell = market.offset + level + (market.levels if side == Side.SELL else 0)
    if taken_of[cell] != book[cell]:
        taken[cell], taken_of[cell] = 0, book[cell]
    taken[cell] += size
    market.taken = 1


@njit
def _takeable(book, taken, taken_of, market, order):
    """Micro-shares on the other side within the order's price."""
    total = 0
    if order.book_side == Side.BUY:
        for level in range(max(bk.ask(market), 0), order.level + 1):
            total += _offered(book, taken, taken_of, market, Side.SELL, level)
    else:
        for level in range(order.level, bk.bid(market) + 1):
            total += _offered(book, taken, taken_of, market, Side.BUY, level)
    return total


@inline
def _within(venue, market, order):
    """Micro-shares that the order would take at once."""
    if _crosses(market, order):
        return _takeable(venue.book, venue.taken, venue.taken_of, market, order)
    return 0


@inline
def _take(venue, market, position, order):
    """Walk the other side from its best level to the order's price. One taker fee for the whole walk,
    rounded once: each fill carries the difference of the rounded running sums."""
    core = venue.core[0]
    step = 1 if order.book_side == Side.BUY else -1
    level = bk.ask(market) if order.book_side == Side.BUY else bk.bid(market)
    nano, charged = 0, 0
    while order.remaining > 0 and 0 <= level < market.levels and (order.level - level) * step >= 0:
        there = _offered(venue.book, venue.taken, venue.taken_of, market, 1 - order.book_side, level)
        if there > 0:
            size = min(order.remaining, there)
            price = level * market.grid
            nano += fee_nano(size, price, market.fee_rate, market.fee_exponent)
            fee = fee_units(nano) * MICRO_PER_FEE_UNIT
            _fill(venue, market, position, order, price, size, fee - charged, False)
            charged = fee
            if core.consume:
                _consume(venue.book, venue.taken, venue.taken_of, market, 1 - order.book_side, level, size)
        level += step


@njit
def _refusal(market, action, now):
    """Reason-code number of the rule a new order breaks, 0 = none. Balance and crossing come later."""
    if market.status != Status.OPEN:
        return Code.EXEC_MARKET_CLOSED
    if action.price < market.tick or action.price > ONE - market.tick or action.price % market.tick != 0:
        return Code.EXEC_OFF_TICK
    if action.size < market.min_size or action.size <= 0:
        return Code.EXEC_BELOW_MIN_SIZE
    if too_fine(action.order_type, action.side, action.price, action.size):
        return Code.EXEC_TOO_MANY_DECIMALS
    if action.order_type == OrderType.GTD and gtd_too_soon(action.expiry, now):
        return Code.EXEC_GTD_TOO_SOON
    return 0


@njit
def _end(venue, position, order, code):
    """What is left of an order leaves the venue."""
    core = venue.core[0]
    _answer(core, venue.response, venue.answers, EventKind.CANCEL, order.market, order.id, 0, code, order.side, 0, 0)
    _drop(venue.account[0], position, order)


@inline
def _match(venue, market, position, order, row):
    """An accepted order meets the book: it takes what is within its price, and rests if it may."""
    if _crosses(market, order):
        _take(venue, market, position, order)
    if order.remaining == 0:
        _drop(venue.account[0], position, order)
    elif order.order_type == OrderType.FOK or order.order_type == OrderType.FAK:
        _end(venue, position, order, Code.EXEC_CANCELLED)
    else:
        order.ahead = _level_size(venue.book, market, order.book_side, order.level)
        order.traded = 0
        _link(venue.core[0], market, venue.orders, row)
        if order.expires > 0:
            _timer_set(venue.core[0], venue.timers, venue.orders, order.expires, EXPIRE, order.id)


@inline
def _submit(venue, action):
    core = venue.core[0]
    row = action.order_id & (MAX_ORDERS - 1)
    market, position, order = venue.markets[action.market], venue.positions[action.market], venue.orders[row]
    amount, within = 0, 0
    refusal = _refusal(market, action, core.now)
    if refusal == 0:
        amount = need(market, action.side, action.price, action.size, action.flags)
        if action.side == Side.BUY:
            enough = amount <= venue.account[0].cash
        else:
            enough = amount <= free_shares(position, action.outcome)
        if not enough:
            refusal = Code.EXEC_NOT_ENOUGH_BALANCE
    if refusal == 0:
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
        order.order_type = action.order_type
        order.expires = gtd_expires(action.expiry) if action.order_type == OrderType.GTD else 0
        order.reserved = order.delayed = order.cancelling = order.fills = 0
        fills_now = action.order_type == OrderType.FOK or action.order_type == OrderType.FAK
        if action.flags & POST_ONLY:
            if _crosses(market, order):
                refusal = Code.EXEC_POST_ONLY_CROSSED
        else:
            within = _within(venue, market, order)
            if (within > 0 or fills_now) and too_little_to_take(action.price, action.size):
                refusal = Code.EXEC_BELOW_MIN_MARKETABLE
            elif action.order_type == OrderType.FOK and within < order.size:
                refusal = Code.EXEC_FOK_NOT_FILLED
            elif action.order_type == OrderType.FAK and within == 0:
                refusal = Code.EXEC_FAK_NOT_FILLED
        if refusal != 0:
            order.id = 0
    if refusal != 0:
        _answer(
            core,
            venue.response,
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
    order.delayed = int(within > 0 and core.delays and market.taker_delay > 0)
    _answer(
        core,
        venue.response,
        venue.answers,
        EventKind.ORDER_ACK,
        action.market,
        order.id,
        order.price,
        order.size,
        order.side,
        0,
        Flag.DELAYED if order.delayed else 0,
    )
    if order.delayed:
        core.delayed += 1
        _timer_set(core, venue.timers, venue.orders, core.now + market.taker_delay, MATCH, order.id)
    else:
        _match(venue, market, position, order, row)


@njit
def _match_delayed(venue, order_id):
    """A taker's delay is over: it is checked again, and meets the book of now."""
    row = order_id & (MAX_ORDERS - 1)
    order = venue.orders[row]
    if order.id != order_id:  # its market was resolved while it waited
        return
    market, position = venue.markets[order.market], venue.positions[order.market]
    venue.core[0].delayed -= 1
    order.delayed = 0
    if market.status != Status.OPEN:
        _end(venue, position, order, Code.EXEC_MARKET_CLOSED)
        return
    if order.order_type == OrderType.FOK and _within(venue, market, order) < order.size:
        _end(venue, position, order, Code.EXEC_FOK_NOT_FILLED)
        return
    if order.order_type == OrderType.FAK and _within(venue, market, order) == 0:
        _end(venue, position, order, Code.EXEC_FAK_NOT_FILLED)
        return
    _match(venue, market, position, order, row)
    if order.id == order_id and order.cancelling:
        _cancel(venue, order_id, order.market, Code.EXEC_CANCELLED)


@njit
def _cancel(venue, order_id, market, code):
    row = order_id & (MAX_ORDERS - 1)
    order, position = venue.orders[row], venue.positions[market]
    if order.id != order_id:  # already filled, cancelled or never accepted: the fill or refusal is on its way
        return
    if order.delayed:  # not now
        order.cancelling = 1
        return
    _unlink(venue.core[0], venue.markets[market], venue.orders, row)
    _end(venue, position, order, code)


@njit
def _cancel_market(venue, market, code):
    while venue.markets[market].head >= 0:
        _cancel(venue, venue.orders[venue.markets[market].head].id, market, code)
    if venue.core[0].delayed > 0:
        for row in range(MAX_ORDERS):
            order = venue.orders[row]
            if order.id > 0 and order.delayed and order.market == market:
                order.cancelling = 1
                if code == Code.EXEC_CANCELLED_MARKET_RESOLVED:
                    venue.core[0].delayed -= 1
                    _end(venue, venue.positions[market], order, code)


@njit
def _change_sets(core, account, markets, positions, response, answers, action):
    """Split, merge or convert as the collateral contracts do; a refusal answers with size 0. Orders keep what they
    hold back: only free cash and free shares count."""
    market, position, size = markets[action.market], positions[action.market], action.size
    done = size > 0 and size % CENT_SHARE == 0
    if action.kind == ActionKind.SPLIT:
        kind = EventKind.SPLIT
        if done := done and size <= account.cash and market.status != Status.RESOLVED:
            split(account, position, size, market.mark2)
    elif action.kind == ActionKind.MERGE:
        kind = EventKind.MERGE
        if done := done and size <= min(free_shares(position, Outcome.YES), free_shares(position, Outcome.NO)):
            merge(account, position, size)
    else:
        kind = EventKind.CONVERT
        n, chosen, at = 0, 0, action.market
        while n == 0 or at != action.market:
            if n < 63 and action.price >> n & 1:
                chosen += 1
                done = done and size <= free_shares(positions[at], Outcome.NO)
            done = done and markets[at].status != Status.RESOLVED
            n += 1
            at = markets[at].group_next
        if done := done and market.group >= 0 and 2 <= n < 64 and chosen > 0 and action.price >> n == 0:
            convert(account, markets, positions, action.market, action.price, size, 0)
    _answer(core, response, answers, kind, action.market, action.order_id, action.price, size if done else 0, 0, 0, 0)


@njit
def fetch_arrival(core, markets, positions, book, orders, actions):
    """Actions come in bursts, each of another market: ask for what those behind the next will need."""
    if core.actions_head + AHEAD >= core.actions_tail:
        return
    action = actions[(core.actions_head + AHEAD) & (RING - 1)]
    prefetch(markets, np.int64(action.market), 0, 2)
    prefetch(positions, np.int64(action.market), 0, 2)
    prefetch(orders, action.order_id & (MAX_ORDERS - 1), 0, 2)
    action = actions[(core.actions_head + AHEAD // 2) & (RING - 1)]
    market = markets[action.market]
    level = (_book_price(action.outcome, action.price) * market.recip) >> bk.SHIFT
    side = np.int64(_book_side(action.outcome, action.side))
    prefetch(book, market.offset + side * market.levels + level, 0, 1)
    prefetch(orders, np.int64(market.head), 0, 1)


@njit
def fetch_tape(markets, book, orders, events, order, straight, at, n):
    """Every `AHEAD` rows of the tape: ask for the cells that the next `AHEAD` will change and for our orders there, and
    for the markets of as many behind those. order, straight, at, n: of `engine.loop`."""
    for i in range(at, min(at + AHEAD, n)):
        head = markets[max(events[i if straight else order[i]].market, 0)].head
        if head >= 0:
            prefetch(orders, np.int64(orders[head].next), 0, 1)
    for i in range(at + AHEAD, min(at + 2 * AHEAD, n)):
        row = events[i if straight else order[i]]
        market, side = markets[max(row.market, 0)], np.int64(row.side) & 1
        level = (row.price * market.recip) >> bk.SHIFT
        prefetch(book, market.offset + side * market.levels + level, 0, 1)
        prefetch(orders, np.int64(market.head), 0, 1)
    for i in range(at + 2 * AHEAD, min(at + 3 * AHEAD, n)):
        prefetch(markets, np.int64(events[i if straight else order[i]].market), 0, 1)


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
    else:
        _change_sets(
            venue.core[0],
            venue.account[0],
            venue.markets,
            venue.positions,
            venue.response,
            venue.answers,
            action,
        )


@njit
def expire(venue):
    """The venue's first timer (`core.due`) runs out: an order's life or delay, or a fill's settlement."""
    core, timers = venue.core[0], venue.timers
    core.now = max(core.now, core.due)
    what, subject = timers[0, 2], timers[0, 3]
    _timer_pop(core, timers)
    if what == SETTLE:
        _settle_fill(venue, subject)
    elif what == MATCH:
        _match_delayed(venue, subject)
    else:
        order = venue.orders[subject & (MAX_ORDERS - 1)]
        if order.id == subject:
            _cancel(venue, subject, order.market, Code.EXEC_CANCELLED_EXPIRED)


@inline
def _finish(venue, market, position, order, row):
    if order.remaining == 0:
        _unlink(venue.core[0], market, venue.orders, row)
        _drop(venue.account[0], position, order)


@inline
def _on_trade(venue, market, at, event):
    """A print of `event.size` with aggressor `event.side` at `event.price`."""
    position = venue.positions[at]
    level = (event.price * market.recip) >> bk.SHIFT
    left = event.size  # not yet matched to our orders that stood before the printed level
    ours = 0  # of ours filled at the printed level: they were part of what the print ate
    partial = venue.core[0].partial_fills
    row = market.head
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
                _fill(venue, market, position, order, order.level * market.grid, size, 0, True)
                _finish(venue, market, position, order, row)
        row = after


@njit
def _behind(core, ahead, level):
    """Probability that a cancel at a level of this size falls behind us, with `ahead` of it before us."""
    front, back = float(ahead), float(max(level - ahead, 0))
    if core.queue_model == LOG_PROB:
        f, b = math.log(1.0 + front / MICRO), math.log(1.0 + back / MICRO)
    else:
        f, b = front, back
        for _ in range(1, core.power):
            f *= front
            b *= back
    return b / (b + f) if b + f > 0.0 else 1.0


@inline
def _on_depth(venue, market, side, level, before, after):
    """The level's recorded size went from `before` to `after`: move our queue positions there."""
    core = venue.core[0]
    guessing = core.queue_model != RISK_AVERSE or core.trade_share > 0
    row = market.head
    while row >= 0:
        order = venue.orders[row]
        if order.book_side == side and order.level == level:
            if guessing:
                lost = before - after - order.traded
                if lost > 0:
                    traded = lost // CENT_SHARE * core.trade_share // MICRO * CENT_SHARE
                    order.ahead = max(order.ahead - traded, 0)
                    if core.queue_model != RISK_AVERSE:
                        behind = _behind(core, order.ahead, before - traded)
                        back = float(max(before - traded - order.ahead, 0))
                        cancelled = lost - traded
                        # what should have fallen behind us but found no room there fell ahead
                        estimate = order.ahead - (1.0 - behind) * cancelled + min(back - behind * cancelled, 0.0)
                        order.ahead = max(int(np.ceil(estimate)), 0)
            order.traded = 0
            order.ahead = min(order.ahead, after)
        row = order.next


@inline
def _on_crossing(venue, market, at, side, level, size):
    """A recorded level at or through our resting price on the other side would have met us."""
    position = venue.positions[at]
    partial = venue.core[0].partial_fills
    left = size
    row = market.head
    while row >= 0:
        order = venue.orders[row]
        after = order.next
        if order.book_side != side:
            met = order.level <= level if side == Side.BUY else order.level >= level
            if met:
                fill = min(order.remaining, left) // CENT_SHARE * CENT_SHARE if partial else order.remaining
                left -= fill
                if fill > 0:
                    _fill(venue, market, position, order, order.level * market.grid, fill, 0, True)
                    _finish(venue, market, position, order, row)
        row = after


@inline
def observe(venue, event, now):
    """The tape moves at the venue: one recorded market row at venue time `now`."""
    venue.core[0].now = now
    market = venue.markets[event.market]
    kind = event.kind
    if kind == EventKind.CHANGE or kind == EventKind.LEVEL:
        level, side, size = (event.price * market.recip) >> bk.SHIFT, np.int64(event.side) & 1, event.size
        cell = market.offset + side * market.levels + level
        if market.taken and venue.taken_of[cell] != size:
            venue.taken[cell] = 0
        before = venue.book[cell]
        bk.set_level(venue.book, market, side, level, size)
        cells = side * SPAN
        if market.span[cells + FROM] <= level <= market.span[cells + TO] and before != size:
            _on_depth(venue, market, side, level, before, size)
        if bk.rank(side, level) >= market.span[cells + REACH] and size > before:
            _on_crossing(venue, market, event.market, side, level, size - before)
    elif kind == EventKind.TRADE:
        level, side = (event.price * market.recip) >> bk.SHIFT, np.int64(event.side) & 1
        if bk.rank(side, level) >= market.span[side * SPAN + REACH]:
            _on_trade(venue, market, event.market, event)
    elif kind == EventKind.BOOK_CLEAR:
        bk.apply(venue.book, market, event)
    elif kind == EventKind.TICK_SIZE:
        market.tick = event.price
    elif kind == EventKind.STATUS:
        market.status = event.aux
    elif kind == EventKind.RESOLUTION:
        market.status = Status.RESOLVED
        market.payout = event.price
        market.redeeming = event.aux
        _cancel_market(venue, event.market, Code.EXEC_CANCELLED_MARKET_RESOLVED)
        settle(venue.account[0], venue.positions[event.market], event.price, event.aux)
    elif kind == EventKind.REDEMPTION:
        market.redeeming = 0
        redeem(venue.account[0], venue.positions[event.market])
    elif kind == EventKind.FEES:
        market.fee_rate, market.fee_exponent, market.rebate_rate = event.size, event.price, event.aux
    elif kind == EventKind.TAKER_DELAY:
        market.taker_delay = event.size
