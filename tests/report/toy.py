"""A strategy with no sense but much trade, and random tapes: what the books have to survive."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from polytraders import rows
from polytraders.engine.backtest import VenueModel, simulate
from polytraders.engine.kernels import kernel
from polytraders.engine.setup import Pipeline, PipelineBot, order_bots
from polytraders.reasons import Code
from polytraders.rows import POST_ONLY, EventKind, Flag, OrderType, Status
from polytraders.run.backtest import LogSink, summarise
from polytraders.store.log import LogWriter
from polytraders.store.manifest import bot_row, make_manifest, runtime_row

S = 1_000_000_000
CASH = 1_000_000_000
MARKET = {
    "tick": 100,
    "grid": 100,
    "min_size": 5_000_000,
    "fee_rate": 72_000,
    "fee_exponent": 1,
    "rebate_rate": 200_000,
    "neg_risk": False,
    "event_id": "",
    "end_ts": 0,
    "question": "",
    "assumed": [],
}


@kernel("strat")
def trade(market, position, account, ladder, memory, targets, params):
    """Join both sides; every third decision also take: YES, then NO, then sell what is held."""
    if (
        market.status != Status.OPEN
        or market.best_bid < 100
        or market.best_ask < 0
        or market.best_bid >= market.best_ask
    ):
        return Code.STRAT_MAKER_ONE_SIDED_BOOK
    memory[0] += 1.0
    turn = int(memory[0])
    net = position.yes - position.no
    if net < 60_000_000:
        bid = targets[0]
        bid.want = 1
        if position.no - position.no_reserved >= 7_130_000:
            bid.outcome, bid.side, bid.price = 1, 1, 10_000 - market.best_bid
        else:
            bid.outcome, bid.side, bid.price = 0, 0, market.best_bid
        bid.size = 7_130_000
        bid.passive_only = 1
    if net > -60_000_000:
        ask = targets[4]
        ask.want = 1
        if position.yes - position.yes_reserved >= 7_130_000:
            ask.outcome, ask.side, ask.price = 0, 1, market.best_ask
        else:
            ask.outcome, ask.side, ask.price = 1, 0, 10_000 - market.best_ask
        ask.size = 7_130_000
        ask.passive_only = 1
    if turn % 3 == 0:
        take = targets[1]
        take.want = 1
        take.size = 5_010_000
        if turn % 9 == 0:
            take.outcome, take.side, take.price = 0, 0, market.best_ask
        elif turn % 9 == 3:
            take.outcome, take.side, take.price = 1, 0, 10_000 - market.best_bid
        elif position.yes - position.yes_reserved >= 5_010_000:
            take.outcome, take.side, take.price = 0, 1, market.best_bid
        else:
            take.want = 0
    return Code.STRAT_MAKER_QUOTE_JOIN


@kernel("risk")
def allow(intent, market, position, account, ladder, vote, params):
    return Code.RISK_WITHIN_LIMITS


@kernel("exec")
def route(intent, market, position, account, ladder, plan, params):
    plan.n = 1
    plan.price[0] = intent.price
    plan.size[0] = intent.size
    plan.order_type[0] = OrderType.GTC if intent.passive_only else OrderType.FAK
    plan.flags[0] = POST_ONLY if intent.passive_only else 0
    return Code.EXEC_ROUTE_PASSIVE


def pipeline() -> Pipeline:
    made = (("strat.toy", trade), ("risk.toy", allow), ("exec.toy", route))
    none = np.zeros(32, np.int64)
    return order_bots(
        [
            PipelineBot(
                SimpleNamespace(family=i.partition(".")[0], decide=f, id=i, spec=SimpleNamespace(bot_id=i)),
                3,
                none,
                False,
            )
            for i, f in made
        ]
    )


def tape(seed: int, markets: int = 2, messages: int = 400) -> np.ndarray:
    """EVENT[n]: books that wander, lose a side, are dropped after a gap; trades; some markets resolve."""
    rng = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = []
    bid, half = rng.integers(20, 80, markets), rng.integers(1, 3, markets)
    over = np.zeros(markets, bool)
    now = 1_760_000_000 * S
    for _ in range(messages):
        now += int(rng.exponential(0.15) * S)
        m = int(rng.integers(markets))
        if over[m]:
            continue
        late = int(rng.integers(1, 120)) * 1_000_000
        flags = Flag.GAP if rng.random() < 0.02 else 0
        chance = rng.random()
        if chance < 0.35:
            side = int(rng.integers(2))
            price = int(bid[m] + half[m] * 2 if side == 0 else bid[m]) * 100
            found.append(
                (now + late, now, m, EventKind.TRADE, side, price, int(rng.integers(1, 4_000)) * 10_000, Flag.LAST)
            )
        elif chance < 0.99:
            bid[m] = np.clip(bid[m] + rng.integers(-3, 4), 2, 95)
            half[m] = rng.integers(1, 3)
            found.append((now + late, now, m, EventKind.BOOK_CLEAR, 0, 0, 0, Flag.SNAPSHOT | flags))
            one_sided = rng.random() < 0.05
            for k in range(3):
                found.append((now + late, now, m, EventKind.LEVEL, 0, max(int(bid[m]) - k, 1) * 100, 50_000_000, 0))
                if not one_sided:
                    ask = min(int(bid[m] + half[m] * 2) + k, 99) * 100
                    found.append((now + late, now, m, EventKind.LEVEL, 1, ask, 50_000_000, 0))
            found[-1] = (*found[-1][:-1], Flag.LAST)
        else:
            over[m] = True
            payout = int(rng.choice([0, 5_000, 10_000]))
            found.append((now + late, now, m, EventKind.RESOLUTION, 0, payout, 0, Flag.LAST))
    found.sort(key=lambda row: row[0])
    events = np.zeros(len(found), rows.EVENT)
    for i, name in enumerate(("ts_recv", "ts_event", "market", "kind", "side", "price", "size", "flags")):
        events[name] = [row[i] for row in found]
    events["seq"] = np.arange(len(events))
    return events


def write_run(
    folder: Path,
    seed: int,
    *,
    interval: int = 100_000_000,
    latency: int = 50_000_000,
    fees: bool = True,
    merge_least: int = 0,
    redemption: int = 0,
    new_fees: bool = False,
    **model: int,
) -> Any:
    """A run of the toy on a random tape; returns the simulation. new_fees: halfway, market 0 gets another schedule."""
    infos = [
        MARKET | {"condition_id": f"0x{i:064x}", "slug": f"toy-{i}", "yes_token": "", "no_token": ""} for i in range(2)
    ]
    markets = [SimpleNamespace(**info) for info in infos]
    venue = VenueModel(entry_latency=latency, response_latency=latency, fees=fees, redemption_delay=redemption, **model)
    options = {
        "cash": CASH,
        "interval": interval,
        "sample_interval": S,
        "full_panel": False,
        "merge_least": merge_least,
    }
    events = tape(seed)
    if new_fees:
        at = len(events) // 2
        row = np.zeros(1, rows.EVENT)
        row["ts_recv"] = row["ts_event"] = events["ts_recv"][at]
        row["kind"], row["size"], row["price"], row["aux"] = EventKind.FEES, 31_000, 1, 400_000
        row["flags"] = Flag.LAST
        events = np.insert(events, at, row)
    bots = [bot_row(i, "0", "enforced") for i in ("strat.toy", "risk.toy", "exec.toy")] + [runtime_row()]
    manifest = make_manifest(
        run_id=folder.name, strategy="strat.toy", config={}, config_hash="", markets=infos, bots=bots,
        pins={"recording": "toy"}, models=venue.names(), engine=options, quality={},
    )  # fmt: skip
    made = pipeline()
    with LogWriter(folder, manifest, seal_events=False) as writer:
        simulation = simulate(events, markets, made, venue=venue, sink=LogSink(writer), **options)
        writer.flush()
        writer.close(summarise(simulation, made))
    return simulation
