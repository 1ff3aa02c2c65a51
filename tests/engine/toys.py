"""Small bots, markets and tapes for the engine's tests."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from polytraders import rows
from polytraders.engine import setup
from polytraders.engine.kernels import kernel
from polytraders.reasons import Code
from polytraders.rows import EventKind, Flag, Side, Status

SHARE = 1_000_000
PUSD = 1_000_000
MS = 1_000_000
S = 1_000_000_000
T0 = 1_776_330_000 * S


@dataclass(frozen=True)
class Info:
    """A market as the engine reads it."""

    tick: int = 100
    grid: int = 100
    min_size: int = 5 * SHARE
    fee_rate: int = 70_000
    fee_exponent: int = 1
    rebate_rate: int = 200_000
    neg_risk: bool = False
    event_id: str = ""
    end_ts: int = 0
    taker_delay: int = 0


@kernel("strat")
def quote_touch(market, position, account, ladder, memory, targets, params):
    """Quote params[0] micro-shares at both best prices, inventory within params[1]; sells what it holds first."""
    if market.status != Status.OPEN or market.best_bid < 0 or market.best_ask < 0:
        return Code.STRAT_MAKER_ONE_SIDED_BOOK
    size, cap = params.v[0], params.v[1]
    inventory = position.yes - position.no
    if inventory < cap:
        t = targets[0]
        t.want, t.size, t.passive_only = 1, size, 1
        if position.no - position.no_reserved >= size:
            t.outcome, t.side, t.price = 1, 1, 10_000 - market.best_bid
        else:
            t.outcome, t.side, t.price = 0, 0, market.best_bid
    if inventory > -cap:
        t = targets[4]
        t.want, t.size, t.passive_only = 1, size, 1
        if position.yes - position.yes_reserved >= size:
            t.outcome, t.side, t.price = 0, 1, market.best_ask
        else:
            t.outcome, t.side, t.price = 1, 0, 10_000 - market.best_ask
    return Code.STRAT_MAKER_QUOTE_JOIN


@kernel("strat")
def scripted(market, position, account, ladder, memory, targets, params):
    """One order: want, outcome, side, price, size, order_type, passive_only; woken again after params[7] ns."""
    t, v = targets[0], params.v
    t.want, t.outcome, t.side, t.price, t.size, t.order_type, t.passive_only = v[0], v[1], v[2], v[3], v[4], v[5], v[6]
    if v[7] > 0:
        market.wake = market.now + v[7]
    return Code.STRAT_EDGE_DETECTED


@kernel("strat")
def accumulate(market, position, account, ladder, memory, targets, params):
    """Bids params[0] micro-shares at the best price until params[1] are held; never sells."""
    if market.best_bid < 0 or position.yes >= params.v[1]:
        return Code.STRAT_MAKER_ONE_SIDED_BOOK
    t = targets[0]
    t.want, t.price, t.size, t.passive_only = 1, market.best_bid, params.v[0], 1
    return Code.STRAT_MAKER_QUOTE_JOIN


@kernel("strat")
def reducing(market, position, account, ladder, memory, targets, params):
    """A sale of params[1] YES at params[0] that may only reduce; woken every 100 ms."""
    t = targets[4]
    t.want, t.side, t.price, t.size, t.passive_only, t.reduce_only = 1, 1, params.v[0], params.v[1], 1, 1
    market.wake = market.now + 100 * MS
    return Code.STRAT_EDGE_DETECTED


@kernel("strat")
def quote_twice(market, position, account, ladder, memory, targets, params):
    """The same bid, 10 shares at 0.49, in two slots."""
    for slot in range(2):
        t = targets[slot]
        t.want, t.price, t.size, t.passive_only = 1, 4_900, 10_000_000, 1
    return Code.STRAT_EDGE_DETECTED


@kernel("risk")
def allow(intent, market, position, account, ladder, vote, params):
    """Approves everything."""
    return Code.RISK_WITHIN_LIMITS


@kernel("risk")
def cap_size(intent, market, position, account, ladder, vote, params):
    """Reshapes to params[0] micro-shares; rejects when params[1] is set, and latches when params[2] is."""
    vote.limit = params.v[0]
    if params.v[1]:
        vote.verdict = rows.Verdict.REJECT
        vote.latch = params.v[2]
        return Code.RISK_PORTFOLIO_LIMIT
    if intent.size > params.v[0]:
        vote.verdict = rows.Verdict.RESHAPE
        vote.max_size = params.v[0]
        return Code.RISK_PORTFOLIO_RESHAPED
    return Code.RISK_WITHIN_LIMITS


@kernel("exec")
def as_is(intent, market, position, account, ladder, plan, params):
    """One order exactly as intended."""
    plan.n = 1
    plan.price[0], plan.size[0], plan.order_type[0] = intent.price, intent.size, intent.order_type
    plan.flags[0] = 1 if intent.passive_only else 0
    return Code.EXEC_ROUTE_PASSIVE if intent.passive_only else Code.EXEC_ROUTE_TAKE


def toy(family: str, decide, params=(), mode: int = 3, name: str = "") -> setup.PipelineBot:
    """A bot without a spec."""
    values = np.zeros(32, np.int64)
    values[: len(params)] = params
    bot = SimpleNamespace(
        family=family, decide=decide, spec=SimpleNamespace(bot_id=name or f"{family}.{decide.__name__}")
    )
    return setup.PipelineBot(bot, mode, values, False)


def maker(size: int = 10 * SHARE, cap: int = 100 * SHARE, risk=None) -> setup.Pipeline:
    """Touch maker, permissive risk, orders as intended."""
    return setup.order_bots([toy("strat", quote_touch, (size, cap)), risk or toy("risk", allow), toy("exec", as_is)])


def script(
    price, size, *, side=Side.BUY, outcome=0, order_type=0, passive=1, wake=0, want=1, risk=None
) -> setup.Pipeline:
    """One standing wish."""
    wish = (want, outcome, side, price, size, order_type, passive, wake)
    return setup.order_bots([toy("strat", scripted, wish), risk or toy("risk", allow), toy("exec", as_is)])


class Tape:
    """Event rows written by hand. Times in ms after T0; prices in pips; sizes in shares."""

    def __init__(self, latency_ms: int = 0):
        self.rows: list[tuple] = []
        self.latency = latency_ms * MS
        self.market = 0

    def add(self, ms, kind, *, side=0, price=0, size=0, aux=0, flags=Flag.LAST, market=None):
        at = T0 + round(ms * MS)
        self.rows.append(
            (at + self.latency, at, len(self.rows) + 1, price, round(size * SHARE), aux,
             self.market if market is None else market, 0, kind, side, flags)
        )  # fmt: skip
        return self

    def bid(self, ms, price, size):
        return self.add(ms, EventKind.CHANGE, side=Side.BUY, price=price, size=size)

    def ask(self, ms, price, size):
        return self.add(ms, EventKind.CHANGE, side=Side.SELL, price=price, size=size)

    def trade(self, ms, price, size, side):
        return self.add(ms, EventKind.TRADE, side=side, price=price, size=size)

    def clock(self, ms):
        return self.add(ms, EventKind.CLOCK, market=-1)

    def resolve(self, ms, payout):
        return self.add(ms, EventKind.RESOLUTION, price=payout)

    def events(self) -> np.ndarray:
        return np.array(self.rows, dtype=rows.EVENT)


def random_tape(seed: int, n: int, markets: int = 1, ticks: bool = True, resolve: bool = True) -> np.ndarray:
    """A wandering, never crossed book per market with trades, tick changes and a resolution: ~n rows, grid 10 pips."""
    rng = np.random.Generator(np.random.PCG64(seed))
    mid = rng.integers(30, 70, markets)
    half = np.ones(markets, int)
    tape, t = Tape(), 0.0
    for m in range(markets):
        tape.market = m
        for k in range(1, 6):
            tape.bid(0, int(mid[m] - k) * 100, 100).ask(0, int(mid[m] + k) * 100, 100)
    while len(tape.rows) < n:
        t += float(rng.exponential(40))
        m = int(rng.integers(markets))
        tape.market = m
        bid, ask, draw = int(mid[m] - half[m]), int(mid[m] + half[m]), rng.random()
        if draw < 0.25:
            side = int(rng.integers(2))
            tape.trade(t, (ask if side == Side.BUY else bid) * 100, float(rng.integers(1, 400)) / 2, side)
        elif draw < 0.35:
            up = (rng.random() < 0.5 and ask < 94) or bid < 6
            if up:
                tape.ask(t, ask * 100, 0).ask(t, (ask + 1) * 100, 80).bid(
                    t, (bid + 1) * 100, float(rng.integers(1, 90))
                )
            else:
                tape.bid(t, bid * 100, 0).bid(t, (bid - 1) * 100, 80).ask(
                    t, (ask - 1) * 100, float(rng.integers(1, 90))
                )
            mid[m] += 1 if up else -1
        elif draw < 0.36 and ticks:
            tape.add(t, EventKind.TICK_SIZE, price=10 if rng.random() < 0.5 else 100, aux=100)
        else:
            side, k = int(rng.integers(2)), int(rng.integers(0, 4))
            price = (bid - k if side == Side.BUY else ask + k) * 100
            (tape.bid if side == Side.BUY else tape.ask)(t, price, float(rng.integers(1, 600)) / 2)
    if resolve:
        for m in range(markets):
            tape.market = m
            tape.resolve(t + 100, int(rng.choice([0, 5_000, 10_000])))
    return tape.events()
