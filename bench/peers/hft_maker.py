"""The peer: hftbacktest's fastest backtest (ROI vector depth) with the same maker on the same stream.

Runs in its own environment (requirements-hft.txt), never in ours:

    .venv-hft/bin/python bench/peers/hft_maker.py STREAM.npz {maker,behind,every,idle}

Every 100 ms (`every`: on every event and every answer) one resting bid at the best bid and one ask
at the best ask, 10 shares each, post-only, cancelled when the best moves away, no quote that could
take the position beyond 100 shares. `behind`: both a tick behind the best, 100 shares each, at most
1 000 held.
Entry and response latency 10 ms each (`behind`: 50 ms), risk-averse queue, no partial fills, no fees.
Prints one JSON line. Only the run is timed: import, loading and compilation happen before, on a
short slice of the same stream.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from hftbacktest import GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from numba import njit

INTERVAL = 100_000_000  # ns
FOREVER = 1 << 60  # ns
TOUCH = (0, 10.0, 100.0)
BEHIND = (1, 100.0, 1_000.0)
"""Of a maker: ticks behind the best, shares of a quote, most shares held."""
MS = 1_000_000  # ns
TICK = 0.01
LOT = 0.01
ASKS = 1_000  # order ids: a bid's is its tick, an ask's is its tick + ASKS
WARM_UP = 20_000  # events


@njit
def quote(hbt, maker):
    """One decision: both quotes where they belong, what stands elsewhere cancelled."""
    behind, size, cap = maker
    hbt.clear_inactive_orders(0)
    depth = hbt.depth(0)
    bid, ask = depth.best_bid_tick - behind, depth.best_ask_tick + behind
    position = hbt.position(0)
    quote_bid = position + size <= cap
    quote_ask = position - size >= -cap
    orders = hbt.orders(0)
    values = orders.values()
    while values.has_next():
        order = values.get()
        if order.side == 1:
            stays = quote_bid and order.price_tick == bid
        else:
            stays = quote_ask and order.price_tick == ask
        if not stays and order.cancellable:
            hbt.cancel(0, order.order_id, False)
    if quote_bid and bid not in orders:
        hbt.submit_buy_order(0, bid, bid * TICK, size, GTX, LIMIT, False)
    if quote_ask and ASKS + ask not in orders:
        hbt.submit_sell_order(0, ASKS + ask, ask * TICK, size, GTX, LIMIT, False)


@njit
def make(hbt, maker):
    """Quote every INTERVAL until the data ends; returns the number of decisions."""
    decisions = 0
    while hbt.elapse(INTERVAL) == 0:
        decisions += 1
        quote(hbt, maker)
    return decisions


@njit
def make_every(hbt, maker):
    """Quote on every event and answer until the data ends; returns the number of decisions."""
    decisions = 0
    while hbt.wait_next_feed(True, FOREVER) > 1:  # 2 = the tape, 3 = an answer, 1 = the end
        decisions += 1
        quote(hbt, maker)
    return decisions


@njit
def idle(hbt, maker):
    """Let the time pass; returns the number of steps."""
    steps = 0
    while hbt.elapse(INTERVAL) == 0:
        steps += 1
    return steps


def backtest(events: np.ndarray, latency: int):
    """A fresh backtest over `events`; latency: ns, each way."""
    asset = (
        BacktestAsset()
        .data([events])
        .linear_asset(1.0)
        .constant_order_latency(latency, latency)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(TICK)
        .lot_size(LOT)
        .roi_lb(0.0)
        .roi_ub(1.0)
        .last_trades_capacity(0)
    )
    return ROIVectorMarketDepthBacktest([asset])


def main(path: str, work: str) -> None:
    """Warm up, run, print."""
    run = {"maker": make, "behind": make, "every": make_every, "idle": idle}[work]
    maker, latency = (BEHIND, 50 * MS) if work == "behind" else (TOUCH, 10 * MS)
    events = np.load(path)["data"]
    began = time.perf_counter()
    head = events[:WARM_UP].copy()  # named: the backtest keeps a bare pointer to it
    warm = backtest(head, latency)
    run(warm, maker)
    warm.close()
    compiled = time.perf_counter() - began
    hbt = backtest(events, latency)
    began = time.perf_counter()
    decisions = run(hbt, maker)
    seconds = time.perf_counter() - began
    state = hbt.state_values(0)
    result = {
        "engine": "hftbacktest 2.4.4 ROIVector",
        "work": work,
        "events": len(events),
        "seconds": seconds,
        "events_per_second": len(events) / seconds,
        "decisions": int(decisions),
        "position": float(state.position),
        "balance": round(float(state.balance), 6),
        "fills": int(state.num_trades),
        "compile_seconds": compiled,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    hbt.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
