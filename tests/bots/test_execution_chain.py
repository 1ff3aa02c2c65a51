"""The execution bots behind the router together, in a whole run: what reaches the venue, and how much at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind
from polytraders.units import CENT_SHARE, NS_PER_MS

BEHIND_THE_ROUTER = (
    "exec.antitoxicfill",
    "exec.orderlifecyclemanager",
    "exec.dustandroundingcleaner",
    "exec.queuewarden",
    "exec.cancelreplaceoptimizer",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    """{"on" and "off": (sink, ids, session)} of the maker on a made-up session, with answers after 600 ms."""
    from polytraders.config import load_settings
    from polytraders.data.catalog import Catalog
    from polytraders.data.importer import import_files
    from polytraders.data.synth import synthesise
    from polytraders.engine.backtest import Collected, VenueModel, simulate
    from polytraders.run.pipeline import build_pipeline

    folder, found = tmp_path_factory.mktemp("chain"), {}
    recording = synthesise(folder / "made-up", 5, 10, 4)[0]
    import_files([recording], "made-up", root=folder / "catalog")
    session = Catalog(folder / "catalog").load("made-up")
    committed = load_settings(Path(__file__).parents[2] / "settings.ini")
    for name, mode in (("on", "enforced"), ("off", "off")):
        settings = committed.with_overrides({f"{bot}.mode": mode for bot in BEHIND_THE_ROUTER})
        pipeline, _ = build_pipeline(settings, "strat.maker_tight")
        sink = Collected()
        simulate(
            session.events,
            session.markets,
            pipeline,
            cash=settings.portfolio.cash_micro,
            interval=settings.engine.decide_interval_ns,
            rejudge=settings.engine.rejudge_interval_ns,
            venue=VenueModel(entry_latency=300 * NS_PER_MS, response_latency=300 * NS_PER_MS),
            sink=sink,
        )
        found[name] = sink, pipeline.ids, session
    return found


def most_at_once(sink) -> int:
    """Most orders of one slot that could trade at the same time, by what the step had heard of."""
    open_, most = {}, 0
    steps = [(int(a["seq"]), 1, a) for a in sink.rows("actions")]
    steps += [(k + 1, 0, e) for k, e in enumerate(sink.rows("events")) if e["kind"] >= EventKind.ORDER_ACK]
    for _, _, row in sorted(steps, key=lambda step: step[:2]):
        if "order_id" in row.dtype.names:
            if row["kind"] == ActionKind.SUBMIT:
                open_[int(row["order_id"])] = [(int(row["market"]), int(row["slot"])), int(row["size"])]
                most = max(most, *Counter(slot for slot, _ in open_.values()).values())
        elif (order := open_.get(int(row["aux"]))) is not None:
            if row["kind"] == EventKind.FILL_CONFIRMED:
                order[1] -= int(row["size"])
            if row["kind"] in (EventKind.ORDER_REJECT, EventKind.CANCEL) or order[1] <= 0:
                del open_[int(row["aux"])]
    return most


def codes(sink, ids, bot: str) -> set[str]:
    """Names of the codes that a bot gave."""
    table = sink.rows("decisions")
    return {Code(int(code)).name for code in np.unique(table["code"][table["bot"] == ids.index(bot)])}


def test_with_slow_answers_no_slot_has_more_than_two_orders_that_may_trade(runs):
    with_them, ids, _ = runs["on"]
    without, _, _ = runs["off"]
    assert most_at_once(with_them) == 2 < most_at_once(without)
    assert "EXEC_LIFECYCLE_WAITING" in codes(with_them, ids, "exec.orderlifecyclemanager")


def test_every_order_has_a_whole_size_of_at_least_the_minimum(runs):
    sink, _, session = runs["on"]
    sent = sink.rows("actions")
    sent = sent[sent["kind"] == ActionKind.SUBMIT]
    least = np.array([market.min_size for market in session.markets])[sent["market"]]
    assert len(sent) > 100 and (sent["size"] % CENT_SHARE == 0).all() and (sent["size"] >= least).all()


def test_the_maker_still_trades_and_asks_the_venue_for_less(runs):
    (on, ids, _), (off, _, _) = runs["on"], runs["off"]

    def fills(sink):
        return int((sink.rows("events")["kind"] == EventKind.FILL_CONFIRMED).sum())

    assert len(on.rows("actions")) < len(off.rows("actions"))
    assert fills(on) > fills(off) // 2
    for bot in BEHIND_THE_ROUTER:
        assert "EXEC_PLAN_STANDS" in codes(on, ids, bot)
