"""The peer as an oracle: what its maker decided and what filled, step by step, in whole numbers.

Runs in the peer's environment (requirements-hft.txt), never in ours:

    .venv-hft/bin/python bench/peers/hft_oracle.py FEED.npz OUT.npz

FEED.npz: `data` (the peer's events), `tick` and `lot` (pUSD, shares). OUT.npz: `decisions`, one row each 100 ms:
best bid and ask (ticks, 0 = none), position (shares), sums of the ticks of the bids and of the asks cancelled, new
orders sent (1 = a bid, 2 = an ask, 3 = both); `fills`: venue time (ns since the first event), side (0 = we
bought), tick, shares; and the account at the end. The quoting is hft_maker.py's, with one rule more for real
books: nothing is quoted on a side whose best price is missing.
"""

from __future__ import annotations

import sys

import numpy as np
from hft_maker import CAP, INTERVAL, LATENCY, SIZE
from hftbacktest import FILLED, GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from numba import njit

ASKS = 100_000  # order ids: a bid's is its tick, an ask's is its tick + ASKS


@njit
def collect(hbt, start, fills, n):
    """Append the fills that we learnt of since the last look; returns how many there are now."""
    values = hbt.orders(0).values()
    while values.has_next():
        order = values.get()
        if order.status == FILLED:
            fills[n, 0] = order.exch_timestamp - start
            fills[n, 1] = 0 if order.side == 1 else 1
            fills[n, 2] = order.exec_price_tick
            fills[n, 3] = np.int64(round(order.exec_qty))
            n += 1
    return n


@njit
def make(hbt, tick, ticks, start, decisions, fills):
    """Quote the touch until the data ends and write it all down; returns (decisions, fills)."""
    made, filled = 0, 0
    while hbt.elapse(INTERVAL) == 0:
        filled = collect(hbt, start, fills, filled)
        hbt.clear_inactive_orders(0)
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        bid = bid if 0 < bid < ticks else 0
        ask = ask if 0 < ask < ticks else 0
        position = hbt.position(0)
        quote_bid = position + SIZE <= CAP and bid > 0
        quote_ask = position - SIZE >= -CAP and ask > 0
        row = decisions[made]
        row[0], row[1], row[2] = bid, ask, np.int64(round(position))
        orders = hbt.orders(0)
        values = orders.values()
        while values.has_next():
            order = values.get()
            if order.side == 1:
                stays = quote_bid and order.price_tick == bid
            else:
                stays = quote_ask and order.price_tick == ask
            if not stays and order.cancellable:
                row[3 if order.side == 1 else 4] += order.price_tick
                hbt.cancel(0, order.order_id, False)
        if quote_bid and bid not in orders:
            row[5] += 1
            hbt.submit_buy_order(0, bid, bid * tick, SIZE, GTX, LIMIT, False)
        if quote_ask and ASKS + ask not in orders:
            row[5] += 2
            hbt.submit_sell_order(0, ASKS + ask, ask * tick, SIZE, GTX, LIMIT, False)
        made += 1
    filled = collect(hbt, start, fills, filled)
    return made, filled


def main(feed: str, out: str) -> None:
    """Run and write OUT.npz."""
    given = np.load(feed)
    events, tick, lot = given["data"], float(given["tick"]), float(given["lot"])
    asset = (
        BacktestAsset()
        .data([events])
        .linear_asset(1.0)
        .constant_order_latency(LATENCY, LATENCY)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(tick)
        .lot_size(lot)
        .roi_lb(0.0)
        .roi_ub(1.0)
        .last_trades_capacity(0)
    )
    hbt = ROIVectorMarketDepthBacktest([asset])
    span = int(events["local_ts"][-1] - events["exch_ts"][0])
    decisions = np.zeros((span // INTERVAL + 100, 6), np.int64)
    fills = np.zeros((len(events), 4), np.int64)
    made, filled = make(hbt, tick, round(1 / tick), int(events["exch_ts"][0]), decisions, fills)
    state = hbt.state_values(0)
    np.savez(
        out,
        decisions=decisions[:made],
        fills=fills[:filled],
        position=float(state.position),
        balance=float(state.balance),
        num_trades=int(state.num_trades),
    )
    hbt.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
