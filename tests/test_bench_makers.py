"""The benchmark's makers: which bots each case has on, and that the sensors one of them leaves out change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from bench import ours, stream
from polytraders.bots import KERNEL_BOTS, BotMode
from polytraders.config import load_settings
from polytraders.engine.backtest import Collected, simulate
from polytraders.rows import ActionKind, EventKind, Outcome, Side
from polytraders.run.backtest import engine_options, venue_model
from polytraders.run.pipeline import build_pipeline
from polytraders.units import ONE

EVENTS = 60_000


def settings(which: int):
    """Settings of a maker that decides every 100 ms."""
    return load_settings().with_overrides(
        ours.TOUCH_MAKER | {"engine.decide_interval_ms": "100"} | ours.bots_off(which)
    )


def on(which: int) -> set[str]:
    return {bot.bot.id for bot in build_pipeline(settings(which), "strat.maker_tight")[0].bots}


def test_the_cases_have_on_what_they_say():
    by_default = load_settings()
    every = {b for b in KERNEL_BOTS if by_default.bot(b).mode is not BotMode.OFF} - {"strat.momentum"}
    assert on(ours.EVERY) == every and len(every) == 26
    assert on(ours.CORE) == set(ours.CORE_BOTS)
    gates = on(ours.GATES)
    assert every - gates == set(ours.UNREAD_SENSORS)
    assert [sum(b.startswith(family) for b in gates) for family in ("risk.", "exec.")] == [13, 7]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return stream.one_market(EVENTS)


def test_the_sensors_left_out_change_no_order(rows):
    sent = {}
    for which in (ours.GATES, ours.EVERY):
        chosen, sink = settings(which), Collected()
        pipeline, _ = build_pipeline(chosen, "strat.maker_tight")
        market = ours.session(rows, 1, "bench").markets
        simulate(rows, market, pipeline, venue=venue_model(chosen), sink=sink, **engine_options(chosen))
        sent[which] = sink.rows("actions")
    assert len(sent[ours.EVERY]) > 2_000
    assert sent[ours.GATES].tobytes() == sent[ours.EVERY].tobytes()


def test_the_maker_behind_the_touch_stands_a_tick_behind_it():
    """As the peer's does: at each order, against the best prices of the rows received by then."""
    rows, sink = stream.one_market(EVENTS, mix=stream.CALM), Collected()
    chosen = load_settings().with_overrides(ours.BEHIND_MAKER | {"engine.decide_interval_ms": "100"})
    pipeline, _ = build_pipeline(chosen, "strat.maker_tight")
    simulate(
        rows, ours.session(rows, 1, "bench").markets, pipeline, venue=venue_model(chosen), sink=sink,
        **engine_options(chosen),
    )  # fmt: skip
    sent = sink.rows("actions")
    sent = sent[sent["kind"] == ActionKind.SUBMIT]
    best, books, at = [], ({}, {}), 0
    for order in sent:
        while at < len(rows) and rows["ts_recv"][at] <= order["ts"]:
            row = rows[at]
            if row["kind"] == EventKind.CHANGE:
                books[row["side"]][int(row["price"])] = int(row["size"])
            at += 1
        bid = max(price for price, size in books[Side.BUY].items() if size)
        ask = min(price for price, size in books[Side.SELL].items() if size)
        price = int(order["price"]) if order["outcome"] == Outcome.YES else ONE - int(order["price"])
        buys = (order["side"] == Side.BUY) == (order["outcome"] == Outcome.YES)
        best.append((bid - price if buys else price - ask) // stream.TICK)
    assert len(best) > 200
    assert np.mean(np.array(best) == 1) > 0.95
