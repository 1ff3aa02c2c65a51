"""Our side of the benchmark: each case a fresh process, one JSON line.

python -m bench.ours describe | book MARKETS | twin | maker MARKETS INTERVAL_MS [LOG [BOTS [WORK]]]
python -m bench.ours first_event SPAWNED_NS
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bench import bare, stream, twin
from polytraders import units
from polytraders.engine import book as bk
from polytraders.engine.state import per_market

REPEATS = 7
WARM_UP = 20_000
"""Events of the slice that is run first, so that compiling or loading from the cache is not counted."""

TOUCH_MAKER = {
    "portfolio.cash_pusd": "1000000",  # no limit that is a share of the bankroll is near
    "venue.simulated.queue_model": "risk_averse",
    "venue.simulated.partial_fills": "false",
    "venue.simulated.entry_latency_ms": "10",
    "venue.simulated.response_latency_ms": "10",
    "venue.simulated.fees": "false",
    "strat.maker_tight.join_touch": "true",
    "strat.maker_tight.skew_bps": "0",
    "strat.maker_tight.clip_size_usd": "5",  # 10 shares at 0.50
    "strat.maker_tight.max_inventory_shares": "100",
    "strat.maker_tight.min_volume_24h_usd": "0",
    "strat.maker_tight.max_toxicity": "1",
    "intel.orderflowanalyzer.toxic_ratio": "0.9",
    "disc.marketscanner.min_volume_24h_usd": "0",
    "disc.marketscanner.max_trade_age_s": "86400",
}
"""What brings maker_tight closest to the peer's maker: the touch, about 10 shares, at most 100 held, never a pause."""

BEHIND_MAKER = TOUCH_MAKER | {
    "venue.simulated.entry_latency_ms": "50",
    "venue.simulated.response_latency_ms": "50",
    "strat.maker_tight.join_touch": "false",
    "strat.maker_tight.edge_bps": "150",  # from the middle of a spread of one or two ticks: a tick behind the touch
    "strat.maker_tight.clip_size_usd": "50",  # 100 shares at 0.50
    "strat.maker_tight.max_inventory_shares": "1000",
}
"""The same for the maker behind the touch: about 100 shares, at most 1 000 held, 50 ms each way."""

AT_TOUCH, BEHIND_TOUCH = 0, 1
"""What a maker does where: it joins the touch of the busy stream, or stands a tick behind that of the calm one."""
WORK = {AT_TOUCH: (stream.BUSY, TOUCH_MAKER), BEHIND_TOUCH: (stream.CALM, BEHIND_MAKER)}

CORE_BOTS = (
    *("intel.orderflowanalyzer", "disc.marketscanner", "strat.maker_tight"),
    *("risk.killswitch", "risk.stale_book_guard", "risk.liquidityguard", "risk.portfolioguard"),
    *("exec.fee_slippage_estimator", "exec.smartrouter"),
)
"""The least that a maker trades with; the others are off where only these are measured."""


UNREAD_SENSORS = ("intel.liquidity_decay_monitor", "disc.marketqualityranker", "disc.opportunityqueue")
"""What they find out, neither maker_tight nor a risk or execution bot reads: with them or without, the same orders."""

CORE, EVERY, GATES = 0, 1, 2
"""Which bots are on: CORE_BOTS; all that are on by default; those without UNREAD_SENSORS, which is every risk and
execution bot that is on by default, with the strategy and what these read."""


def bots_off(which: int = CORE) -> dict[str, str]:
    """Settings that leave on what `which` says."""
    from polytraders.bots import KERNEL_BOTS

    if which == EVERY:
        return {}
    off = [bot for bot in KERNEL_BOTS if bot not in CORE_BOTS and not bot.startswith("strat.")]
    return {f"{bot}.mode": "off" for bot in (off if which == CORE else UNREAD_SENSORS)}


def peak_rss_mb() -> float:
    """Largest resident size of this process so far, MB (1e6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def describe() -> dict:
    """The one-market stream in numbers; makes all files the bench needs."""
    from polytraders.data.catalog import Catalog
    from polytraders.data.importer import import_files
    from polytraders.data.synth import synthesise

    for mix in (stream.BUSY, stream.CALM):
        stream.cached_peer(mix=mix)
    stream.cached(1_000)
    os.environ["POLYTRADERS_HOME"] = str(home())
    if not Catalog().names():
        folder = Path(mkdtemp(dir=stream.work_folder()))
        import_files(synthesise(folder, seed=7, minutes=30, markets=5)[:1])
        shutil.rmtree(folder)
    busy, calm = (stream.describe(np.load(stream.cached(mix=mix))) for mix in (stream.BUSY, stream.CALM))
    return busy | {"calm": calm}


def home() -> Path:
    """A POLYTRADERS_HOME with one recording in its catalog."""
    return stream.work_folder() / "home"


def first_event(spawned_ns: int) -> dict:
    """Seconds from `spawned_ns` (time.monotonic_ns just before the process began) to the first events' decisions.

    An upper bound: the engine reports after its first chunk, not after its first event.
    """
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.run.backtest import run_backtest

    reported: list[int] = []
    os.environ["POLYTRADERS_HOME"] = str(home())
    recording = Catalog().load(Catalog().names()[0])
    folder = Path(mkdtemp(prefix="run-", dir=stream.work_folder()))
    try:
        run_backtest(
            recording, load_settings(), run_dir=folder / "run", progress=lambda *_: reported.append(time.monotonic_ns())
        )
    finally:
        shutil.rmtree(folder)
    return {"events": len(recording.events), "seconds_to_first_event": (reported[0] - spawned_ns) / 1e9}


def book(markets: int) -> dict:
    """Book-only replay and, with one market, the bare loop; parity before timing, each repeated on its own."""
    rows = np.load(stream.cached(markets))
    result = {"events": len(rows), "events_per_second": len(rows) / median(replay_book(rows, markets)[0])}
    if markets == 1:
        parity(rows)
        limit = []
        for _ in range(REPEATS):
            flat = bare.empty()
            began = time.perf_counter()
            bare.replay(rows, flat)
            limit.append(time.perf_counter() - began)
        result["bare_events_per_second"] = len(rows) / median(limit)
    return result


def replay_book(rows: np.ndarray, markets: int) -> tuple[list[float], np.ndarray, np.ndarray]:
    """(seconds of each repeat, market table, book cells) of our book-only replay."""
    seconds = []
    for _ in range(REPEATS + 1):
        table, cells = twin.markets(markets)
        book_cells = per_market(np.int64, cells)
        began = time.perf_counter()
        bk.replay(book_cells, table, rows)
        seconds.append(time.perf_counter() - began)
    return seconds[1:], table, book_cells


def parity(rows: np.ndarray) -> None:
    """One market: our book, the bare loop's and the one that the rows say are equal, or AssertionError."""
    _, table, ours = replay_book(rows, 1)
    flat = bare.empty()
    best = bare.replay(rows, flat)
    expected = bare.oracle(rows)
    if not ((flat == expected[0]).all() and best == expected[1:]):
        raise AssertionError("the bare loop's book differs from the rows'")
    if not ((ours == flat).all() and best == (bk.bid(table[0]), bk.ask(table[0]))):
        raise AssertionError("our book differs from the bare loop's")


def equal_work() -> dict:
    """The peer's own maker on our venue: no bots, no receipts, no log."""
    rows = np.load(stream.cached())
    twin.run(rows[:WARM_UP].copy())
    began = time.perf_counter()
    result = twin.run(rows)
    seconds = time.perf_counter() - began
    return {"events": len(rows), "seconds": seconds, "events_per_second": len(rows) / seconds} | result


def session(rows: np.ndarray, markets: int, name: str) -> Any:
    """The stream as a session of `markets` plain markets: tick 0.01, no fees, no scheduled end."""
    from polytraders.data.catalog import MarketInfo, Session

    infos = tuple(
        MarketInfo(
            condition_id=f"0x{k:064x}",
            slug=f"bench-{k}",
            question=f"Benchmark market {k}",
            yes_token=f"{2 * k + 1}",
            no_token=f"{2 * k + 2}",
            tick=stream.TICK,
            grid=stream.TICK,
            min_size=5 * units.MICRO,
            fee_rate=0,
            fee_exponent=1,
            rebate_rate=0,
            neg_risk=False,
            event_id="",
            end_ts=0,
        )
        for k in range(markets)
    )
    pin = {"recording": name, "files": {}, "rows": len(rows), "seed": stream.SEED}
    return Session(name=name, events=rows, markets=infos, pin=pin, quality={}, notes=("synthetic: a benchmark",))


def maker(markets: int, interval_ms: int, log: int = 1, bots: int = CORE, work: int = AT_TOUCH) -> dict:
    """A whole backtest of maker_tight, its log written and closed (log = 0: not written).

    bots: CORE, EVERY or GATES. interval_ms 0 decides on every event. work: AT_TOUCH or BEHIND_TOUCH.
    """
    from polytraders.config import load_settings
    from polytraders.run.backtest import run_backtest

    mix, wanted = WORK[work]
    chosen = wanted | {"engine.decide_interval_ms": str(interval_ms)} | bots_off(bots)
    settings = load_settings().with_overrides(chosen)
    rows = np.load(stream.cached(markets, mix=mix))
    folder = Path(mkdtemp(prefix="run-", dir=stream.work_folder()))
    try:
        head = session(rows[:WARM_UP].copy(), markets, "bench-warm-up")
        run_backtest(head, settings, run_dir=folder / "warm-up", log=bool(log))
        whole = session(rows, markets, "bench")
        began = time.perf_counter()
        result = run_backtest(whole, settings, run_dir=folder / "run", log=bool(log))
        seconds = time.perf_counter() - began
        size = sum(file.stat().st_size for file in folder.glob("run/*"))
    finally:
        shutil.rmtree(folder)
    summary = result.summary
    counts = ("evaluations", "decisions", "intents", "orders", "cancels", "fills", "rejects", "halted", "pnl")
    return {
        "events": len(rows),
        "seconds": summary["seconds"],
        "events_per_second": len(rows) / summary["seconds"],
        "seconds_with_start_and_end": seconds,
        "peak_rss_mb": peak_rss_mb(),
        "log_mb": size / 1e6,
    } | {name: summary[name] for name in counts}


CASES = {"describe": describe, "book": book, "twin": equal_work, "maker": maker, "first_event": first_event}


def main(name: str, *arguments: str) -> None:
    """Run one case and print its result."""
    print(json.dumps(CASES[name](*(int(a) for a in arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
