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
from polytraders.engine.state import MARKET, MAX_ORDERS, records
from polytraders.rows import ACTION, POST_ONLY, ActionKind, EventKind, OrderType, Outcome, Side

INTERVAL = 100 * units.NS_PER_MS
LATENCY = 10 * units.NS_PER_MS
SIZE = 10 * units.MICRO
CAP = 100 * units.MICRO
DEPOSIT = 10**15
"""micro-pUSD: never short of cash, since the peer's account has no bottom."""
FREE, SENT, LIVE, CANCELLING = 0, 1, 2, 3


def markets(n: int) -> tuple[np.ndarray, int]:
    """(MARKET[n], cells): markets of a 0.01 grid without fees or minimum size, their books in a row."""
    table = records(MARKET, n)
    levels, recip = bk.geometry(TICK)
    table["id"], table["offset"] = np.arange(n), np.arange(n) * 2 * levels
    table["grid"] = table["tick"] = TICK
    table["recip"], table["levels"] = recip, levels
    table["best"] = bk.NO_BID, bk.NO_ASK
    table["payout"], table["group"] = -1, -1
    return table, 2 * levels * n


@inline
def _send(venue, action, kind, order_id, side, level, now):
    action.ts = now
    action.kind = kind
    action.order_id = order_id
    action.price = level * TICK if side == Side.BUY else units.ONE - level * TICK
    action.outcome = Outcome.YES if side == Side.BUY else Outcome.NO
    mt.send(venue.core[0], venue.actions, action)


@njit
def _borrowed(v):
    return mt.Venue(
        borrow(v.core), borrow(v.account), borrow(v.markets), borrow(v.positions), borrow(v.book), borrow(v.orders),
        borrow(v.heads), borrow(v.spans), borrow(v.actions), borrow(v.answers),
    )  # fmt: skip


@njit
def make(venue, rows, book, market, action, start):
    """Run the maker; returns (decisions, fills, net YES position, sum of cash paid less NO shares at 1).

    Five clocks, always the earliest first: the tape at the venue, our actions arriving there, the
    tape reaching us, the venue's answers reaching us, our decision every 100 ms.
    """
    venue, rows, book = _borrowed(venue), borrow(rows), borrow(book)
    never = np.int64(2**62)
    n = rows.shape[0]
    state = np.zeros((2, 101), np.int64)
    id_at = np.zeros((2, 101), np.int64)
    open_at = np.zeros((2, 101), np.int64)  # levels that are not FREE, in no order
    n_open = np.zeros(2, np.int64)
    place = np.zeros((MAX_ORDERS, 2), np.int64)
    core = venue.core[0]
    at_venue, at_us, last_id, decisions, fills = 0, 0, 0, 0, 0
    position, cash = 0, 0
    decide_at = start + INTERVAL
    while at_us < n:
        tape = rows[at_venue].ts_event if at_venue < n else never
        feed = rows[at_us].ts_recv
        arrival = (
            venue.actions[core.actions_head & (mt.RING - 1)].ts if core.actions_head < core.actions_tail else never
        )
        if core.answers_head < core.answers_tail:
            answer = venue.answers[core.answers_head & (mt.RING - 1)].ts_recv
        else:
            answer = never
        first = min(tape, feed, arrival, answer)
        if decide_at < first:
            decisions += 1
            for side in range(2):
                best = bk.bid(market) if side == Side.BUY else bk.ask(market)
                after = position + SIZE if side == Side.BUY else SIZE - position
                for k in range(n_open[side]):
                    level = open_at[side, k]
                    if state[side, level] == LIVE and (level != best or after > CAP):
                        _send(venue, action, ActionKind.CANCEL, id_at[side, level], side, level, decide_at)
                        state[side, level] = CANCELLING
                if after <= CAP and state[side, best] == FREE:
                    last_id += 1
                    state[side, best], id_at[side, best] = SENT, last_id
                    open_at[side, n_open[side]] = best
                    n_open[side] += 1
                    place[last_id & (MAX_ORDERS - 1), 0] = side
                    place[last_id & (MAX_ORDERS - 1), 1] = best
                    _send(venue, action, ActionKind.SUBMIT, last_id, side, best, decide_at)
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
                    fills += 1
                    cash += row.price * row.size // units.ONE
                    if side == Side.BUY:
                        position += row.size
                    else:
                        position -= row.size
                        cash -= row.size
    return decisions, fills, position, cash


def run(rows: np.ndarray) -> dict:
    """The peer's figures from our venue: decisions, fills, position (shares) and balance (pUSD)."""
    table, cells = markets(1)
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
    decisions, fills, position, cash = make(venue, rows, np.zeros(cells, np.int64), table[0], action, start)
    return {
        "decisions": int(decisions),
        "fills": int(fills),
        "position": position / units.MICRO,
        "balance": round(-cash / units.MICRO, 6),
    }
