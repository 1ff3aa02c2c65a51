"""The peer's maker, rule for rule, on our venue: equal work, and a proof that both venues say the same.

No bots, no receipts, no log, no ledger of the step: only `engine.matching` (queue, latency, fills,
reservations), a second book as we would have received it, and the quoting of peers/hft_maker.py. A
quote to sell YES at p is a purchase of NO at 1 - p, since nobody is short here.

Parity is what counts: position, cash flow, fills and decisions must equal the peer's to the last digit.
"""

from __future__ import annotations

import numpy as np

from bench.stream import TICK
from polytraders import units
from polytraders.engine import book as bk
from polytraders.engine import matching as mt
from polytraders.engine.jit import borrow, inline, njit
from polytraders.engine.state import MARKET, MAX_ORDERS, per_market, records
from polytraders.rows import ACTION, POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side

INTERVAL = 100 * units.NS_PER_MS
LATENCY = 10 * units.NS_PER_MS
SIZE = 10 * units.MICRO
CAP = 100 * units.MICRO
DEPOSIT = 10**15
"""micro-pUSD: never short of cash, since the peer's account has no bottom."""
FREE, SENT, LIVE, CANCELLING = 0, 1, 2, 3


def markets(n: int, tick: int = TICK) -> tuple[np.ndarray, int]:
    """(MARKET[n], cells): markets of a grid of `tick` pips without fees or minimum size, their books in a row."""
    table = per_market(MARKET, n)
    levels, recip = bk.geometry(tick)
    table["id"], table["offset"] = np.arange(n), np.arange(n) * 2 * levels
    table["grid"] = table["tick"] = tick
    table["recip"], table["levels"] = recip, levels
    table["best"] = bk.NO_BID, bk.NO_ASK
    table["payout"], table["group"] = -1, -1
    return table, 2 * levels * n


@inline
def _send(venue, action, kind, order_id, side, price, now):
    action.ts = now
    action.kind = kind
    action.order_id = order_id
    action.price = price if side == Side.BUY else units.ONE - price
    action.outcome = Outcome.YES if side == Side.BUY else Outcome.NO
    mt.send(venue.core[0], venue.entry, venue.actions, action)


@njit
def _borrowed(v):
    return mt.Venue(
        borrow(v.core), borrow(v.account), borrow(v.markets), borrow(v.positions), borrow(v.book), borrow(v.orders),
        borrow(v.actions), borrow(v.answers), borrow(v.entry), borrow(v.response),
        borrow(v.taken), borrow(v.taken_of), borrow(v.timers), borrow(v.unsettled),
    )  # fmt: skip


@njit(_nrt=True)
def make(venue, rows, book, market, action, start, told, filled):
    """Run the maker; returns (decisions, fills, net YES position, sum of cash paid less NO shares at 1).

    Five clocks, always the earliest first: the tape at the venue, our actions arriving there, the
    tape reaching us, the venue's answers reaching us, our decision every 100 ms. Decisions and fills
    are written to `told` (int64[, 6]) and `filled` (int64[, 4]), as many as have room, see `record`;
    the last row of both is scrap.
    """
    venue, rows, book = _borrowed(venue), borrow(rows), borrow(book)
    never = np.int64(2**62)
    n = rows.shape[0]
    levels, grid = market.levels, market.grid
    state = np.zeros((2, levels), np.int64)
    id_at = np.zeros((2, levels), np.int64)
    open_at = np.zeros((2, levels), np.int64)  # levels that are not FREE, in no order
    n_open = np.zeros(2, np.int64)
    place = np.zeros((MAX_ORDERS, 2), np.int64)
    core = venue.core[0]
    at_venue, at_us, last_id, decisions, fills = 0, 0, 0, 0, 0
    position, cash = 0, 0
    decide_at = start + INTERVAL
    while True:
        tape = rows[at_venue].ts_event if at_venue < n else never
        feed = rows[at_us].ts_recv if at_us < n else never
        arrival = (
            venue.actions[core.actions_head & (mt.RING - 1)].ts if core.actions_head < core.actions_tail else never
        )
        if core.answers_head < core.answers_tail:
            answer = venue.answers[core.answers_head & (mt.RING - 1)].ts_recv
        else:
            answer = never
        first = min(tape, feed, arrival, answer)
        if first == never:
            break
        if decide_at < first:
            note = told[min(decisions, told.shape[0] - 1)]
            note[0], note[1] = max(bk.bid(market), 0), max(bk.ask(market), 0)
            note[2] = position // units.MICRO
            decisions += 1
            for side in range(2):
                best = bk.bid(market) if side == Side.BUY else bk.ask(market)
                after = position + SIZE if side == Side.BUY else SIZE - position
                for k in range(n_open[side]):
                    level = open_at[side, k]
                    if state[side, level] == LIVE and (level != best or after > CAP):
                        _send(venue, action, ActionKind.CANCEL, id_at[side, level], side, level * grid, decide_at)
                        state[side, level] = CANCELLING
                        note[3 + side] += level
                if after <= CAP and best >= 0 and state[side, best] == FREE:
                    last_id += 1
                    state[side, best], id_at[side, best] = SENT, last_id
                    open_at[side, n_open[side]] = best
                    n_open[side] += 1
                    place[last_id & (MAX_ORDERS - 1), 0] = side
                    place[last_id & (MAX_ORDERS - 1), 1] = best
                    note[5] += 1 + side
                    _send(venue, action, ActionKind.SUBMIT, last_id, side, best * grid, decide_at)
            decide_at += INTERVAL
        elif first == tape:
            mt.observe(venue, rows[at_venue], tape)
            at_venue += 1
        elif first == arrival:
            mt.arrive(venue)
        elif first == feed:
            row = rows[at_us]
            if row.kind <= EventKind.CHANGE:
                bk.apply(book, market, row)
            at_us += 1
        else:
            row = venue.answers[core.answers_head & (mt.RING - 1)]
            core.answers_head += 1
            side, level = place[row.aux & (MAX_ORDERS - 1), 0], place[row.aux & (MAX_ORDERS - 1), 1]
            if row.kind == EventKind.ORDER_ACK:
                if state[side, level] == SENT:
                    state[side, level] = LIVE
            else:
                state[side, level] = FREE
                n_open[side] -= 1
                for k in range(n_open[side]):
                    if open_at[side, k] == level:
                        open_at[side, k] = open_at[side, n_open[side]]
                if row.kind == EventKind.FILL_CONFIRMED:
                    note = filled[min(fills, filled.shape[0] - 1)]
                    note[0], note[1], note[2], note[3] = row.ts_event - start, side, level, row.size // units.MICRO
                    fills += 1
                    cash += row.price * row.size // units.ONE
                    if side == Side.BUY:
                        position += row.size
                    else:
                        position -= row.size
                        cash -= row.size
    return decisions, fills, position, cash


def _run(rows, tick, told, filled):
    table, cells = markets(1, tick)
    venue = mt.new_venue(
        table,
        cells,
        DEPOSIT,
        entry_latency=LATENCY,
        response_latency=LATENCY,
        queue_model="risk_averse",
        power=1,
        partial_fills=False,
    )
    action = records(ACTION, 1)[0]
    action.size = SIZE
    action.order_type = OrderType.GTC
    action.flags = POST_ONLY
    start = int(rows["ts_event"][0])
    book = np.zeros(cells, np.int64)
    decisions, fills, position, cash = make(venue, rows, book, table[0], action, start, told, filled)
    return {
        "decisions": int(decisions),
        "fills": int(fills),
        "position": position / units.MICRO,
        "balance": round(-cash / units.MICRO, 6),
    }


def run(rows: np.ndarray) -> dict:
    """The peer's figures from our venue: decisions, fills, position (shares) and balance (pUSD)."""
    return _run(rows, TICK, np.zeros((1, 6), np.int64), np.zeros((1, 4), np.int64))


def record(rows: np.ndarray, tick: int = TICK) -> tuple[dict, np.ndarray, np.ndarray]:
    """`run`, and what it did: (figures, decisions int64[n, 6], fills int64[m, 4]).

    A decision: best bid and best ask (ticks, 0 = none), position (shares), sums of the ticks of the bids and of
    the asks cancelled, new orders (1 = a bid, 2 = an ask, 3 = both). A fill: venue time (ns since the first row),
    rows.Side in YES space, tick, shares; in the order of time, side, tick. `rows` are of one market, only book
    rows and trades, their `ts_event` never running back.
    """
    span = int(rows["ts_recv"][-1] - rows["ts_event"][0])
    told = np.zeros((span // INTERVAL + 100, 6), np.int64)
    filled = np.zeros((len(rows) + 1, 4), np.int64)
    figures = _run(rows, tick, told, filled)
    filled = filled[: figures["fills"]]
    return figures, told[: figures["decisions"]], filled[np.lexsort(filled.T[2::-1])]
