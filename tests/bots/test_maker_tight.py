"""strat.maker_tight: passive, bounded, symmetric, paid, and gone when in doubt."""

from __future__ import annotations

from typing import Any

import market_cases as mc
import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.engine.backtest import Collected, feed
from polytraders.engine.probe import NOW, probe
from polytraders.engine.setup import PipelineBot, new_state, order_bots
from polytraders.engine.state import MODE_ENFORCED, WANT_QUOTE, records
from polytraders.errors import ConfigError
from polytraders.rows import EVENT, ActionKind, EventKind, Flag, Outcome, Side, Status
from polytraders.strategies import maker_tight as mt
from polytraders.units import NS_PER_MS, NS_PER_S, ONE

BOT = "strat.maker_tight"
MICRO = mc.MICRO
CENT = mc.CENT
PARAMS = mt.SPEC.kernel_params()
BOOK = {"bids": [("0.62", "7258")], "asks": [("0.63", "7142")], "tick": 10}


def ask(params=None, market=None, **given_):
    """Code and quotes for a calm 0.62 / 0.63 book with a tick of 0.001, with whatever is given changed."""
    case = BOOK | {"market": mc.LIVE | (market or {})} | given_
    return probe(**case).propose(mt.decide, mt.SPEC.kernel_params(params))


def quotes_of(case: dict[str, Any], params: np.ndarray) -> list[Any]:
    """The wanted targets of a case, as records."""
    p = probe(**case)
    p.propose(mt.decide, params)
    return [t for t in p.targets if t.want == WANT_QUOTE]


def yes_price(t: Any) -> int:
    return int(t.price) if t.outcome == Outcome.YES else ONE - int(t.price)


def adds_yes(t: Any) -> bool:
    """True for a quote of the bid side: a purchase of YES or a sale of NO."""
    return (t.side == Side.BUY) == (t.outcome == Outcome.YES)


# ------------------------------------------------------------------------------------------ worked examples


def test_the_worked_example_quotes_621_and_629():
    code, quotes = ask()
    assert code == "STRAT_MAKER_QUOTE_INSIDE"
    assert [(q["slot"], q["outcome"], q["side"], q["price"], q["size"]) for q in quotes] == [
        (0, "YES", "BUY", "0.621", "8.05"),  # 5 / 0.621 = 8.0515...
        (4, "NO", "BUY", "0.371", "13.47"),  # an ask at 0.629; 5 / 0.371 = 13.477...
    ]
    assert all(q["passive_only"] for q in quotes)


def test_edge_is_distance_to_fair_plus_rebate():
    # 40 bps + 0.072 * 0.621 * 0.379 * 0.2 = 33.89 bps, and on the other side 0.072 * 0.371 * 0.629 * 0.2 = 33.60
    assert [q["edge_bps"] for q in ask()[1]] == [73.89, 73.60]
    assert [q["edge_bps"] for q in ask(market={"rebate_rate": 0})[1]] == [40, 40]


def test_a_ladder_steps_down_on_both_sides():
    deep = {"ladder_levels": 3, "level_step_bps": 10, "clip_size_usd": 400, "max_inventory_shares": 4_000}
    _, quotes = ask(deep)
    assert [q["price"] for q in quotes] == ["0.621", "0.62", "0.619", "0.371", "0.37", "0.369"]
    assert [q["slot"] for q in quotes] == [0, 1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("bid", "ask_", "no"), [("0.62", "0.63", "0.37"), ("0.62", "0.621", "0.379"), ("0.4", "0.6", "0.4")]
)
def test_joining_without_an_edge_stands_exactly_at_the_touch(bid, ask_, no):
    joiner = {"edge_bps": 0, "min_edge_bps": 0, "min_spread_bps": 0, "skew_bps": 0, "join_touch": True}
    code, quotes = ask({k: str(v).lower() for k, v in joiner.items()}, bids=[(bid, "9")], asks=[(ask_, "9")])
    assert (code, [q["price"] for q in quotes]) == ("STRAT_MAKER_QUOTE_JOIN", [bid, no])


def test_a_long_position_leans_both_quotes_down_and_sells_what_it_holds():
    # 30 of 40 held: the fair price falls by 50 * 3/4 = 37.5 bps to 0.62125
    _, quotes = ask(position={"yes": 30 * MICRO})
    assert [(q["side"], q["outcome"], q["price"]) for q in quotes] == [
        ("BUY", "YES", "0.617"),
        ("SELL", "YES", "0.626"),
    ]


def test_the_bid_is_cut_to_the_room_that_is_left():
    _, quotes = ask(position={"yes": 34 * MICRO})
    assert quotes[0]["size"] == "6"
    _, quotes = ask(position={"yes": 36 * MICRO})  # 4 are below the venue's minimum of 5
    assert [q["side"] for q in quotes] == ["SELL"]


def test_a_resting_sale_does_not_take_away_its_own_reason():
    resting = {"yes": 10 * MICRO, "yes_reserved": 10 * MICRO}
    assert ask(position=resting)[1] == ask(position={"yes": 10 * MICRO})[1]
    _, quotes = ask(position={"yes": 4 * MICRO, "yes_reserved": 4 * MICRO})
    assert (quotes[1]["side"], quotes[1]["size"]) == ("SELL", "4")
    _, quotes = ask(position={"yes": 4 * MICRO})
    assert (quotes[1]["side"], quotes[1]["outcome"]) == ("BUY", "NO")


# ------------------------------------------------------------------------------------------------- reasons


REASONS = [
    ({}, "STRAT_MAKER_QUOTE_INSIDE"),
    ({"tick": 100}, "STRAT_MAKER_QUOTE_JOIN"),
    ({"bids": [("0.624", "9")], "asks": [("0.625", "9")]}, "STRAT_MAKER_NO_EDGE"),
    ({"params": {"min_edge_bps": 60}, "market": {"fee_rate": 0}}, "STRAT_MAKER_NO_EDGE"),
    ({"market": {"flow_state": 1}}, "STRAT_MAKER_FLOW_TOXIC"),
    ({"market": {"flow_state": 2}}, "STRAT_MAKER_FLOW_TOXIC"),
    ({"features": {"TOXICITY": 0.51}}, "STRAT_MAKER_FLOW_TOXIC"),
    ({"market": {"candidate": 0}}, "STRAT_MAKER_NOT_CANDIDATE"),
    ({"market": {"volume_24h": 100 * MICRO - 1}}, "STRAT_MAKER_NOT_CANDIDATE"),
    ({"market": {"status": Status.PAUSED}}, "STRAT_MAKER_NOT_CANDIDATE"),
    ({"params": {"clip_size_usd": 2}, "market": {"min_size": 20 * MICRO}}, "STRAT_MAKER_NOT_CANDIDATE"),
    ({"age_ms": 2_001}, "STRAT_MAKER_STALE_INPUT"),
    ({"bids": [], "asks": []}, "STRAT_MAKER_STALE_INPUT"),
    ({"asks": []}, "STRAT_MAKER_ONE_SIDED_BOOK"),
    ({"market": {"end_ts": NOW + 30 * NS_PER_S}}, "STRAT_MAKER_NEAR_CLOSE"),
    (
        {
            "params": {"edge_bps": 100},
            "position": {"yes": 40 * MICRO},
            "bids": [("0.995", "9")],
            "asks": [("0.999", "9")],
        },
        "STRAT_MAKER_INVENTORY_FULL",
    ),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    got, quotes = ask(**given_)
    assert got == code
    assert bool(quotes) == code.startswith("STRAT_MAKER_QUOTE")


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(mt.SPEC.reason_codes)


@pytest.mark.parametrize(
    "given_",
    [
        {"age_ms": 60_000},
        {"age_ms": -5},
        {"market": {"feed_up": 0}},
        {"features": {"TOXICITY": float("nan")}},
        {"features": {"TOXICITY": 1.5}},
        {"features": {"TOXICITY": -0.5}},
    ],
)
def test_an_input_that_is_missing_old_or_impossible_withdraws_everything(given_):
    assert ask(**given_) == ("STRAT_MAKER_STALE_INPUT", [])


def test_limits_are_still_inside():
    assert ask(age_ms=2_000)[1]
    assert ask(features={"TOXICITY": 0.5})[1]
    assert ask(market={"volume_24h": 100 * MICRO})[1]
    assert ask(market={"end_ts": NOW + 30 * NS_PER_S + 1})[1]
    assert ask({"min_spread_bps": 99})[1] and not ask({"min_spread_bps": 100})[1]
    assert ask({"min_edge_bps": 40}, market={"fee_rate": 0})[1]


def test_six_parameters_have_a_search_space_within_their_limits():
    searched = [p for p in mt.SPEC.parameters if p.search_space]
    assert len(searched) >= 6
    assert {"edge_bps", "clip_size_usd", "min_spread_bps", "ladder_levels", "max_inventory_shares", "skew_bps"} <= {
        p.name for p in searched
    }


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        mt.SPEC.kernel_params({"clip_size_usd": 1_001})
    assert mt.SPEC.check() == []
    assert mt.SPEC.check({"edge_bps": 9}) == ["edge_bps"]


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC))
def test_quotes_are_passive_on_the_tick_and_never_meet(case, params):
    quotes = quotes_of(case, params)
    m = probe(**case).market
    bids = [yes_price(t) for t in quotes if adds_yes(t)]
    asks = [yes_price(t) for t in quotes if not adds_yes(t)]
    assert all(price < m.best_ask for price in bids) and all(price > m.best_bid for price in asks)
    assert all(m.tick <= price <= ONE - m.tick and price % m.tick == 0 for price in bids + asks)
    assert not bids or not asks or max(bids) < min(asks)
    assert len(set(bids)) == len(bids) and len(set(asks)) == len(asks)
    assert all(t.passive_only for t in quotes)


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC))
def test_filling_every_quote_never_carries_the_inventory_past_its_limit(case, params):
    most, held = int(params[mt.MAX_INVENTORY]), case["position"]
    net = held["yes"] - held["no"]
    quotes = quotes_of(case, params)
    bought = sum(int(t.size) for t in quotes if adds_yes(t))
    sold = sum(int(t.size) for t in quotes if not adds_yes(t))
    assert bought == 0 or net + bought <= most
    assert sold == 0 or net - sold >= -most
    assert most <= 10_000 * MICRO


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC))
def test_a_quote_costs_at_most_two_clips_and_sells_only_what_is_held(case, params):
    sold = {Outcome.YES: 0, Outcome.NO: 0}
    for t in quotes_of(case, params):
        own = int(t.price) if t.side == Side.BUY else ONE - int(t.price)
        assert 0 < int(t.size) * own <= 2 * int(params[mt.CLIP]) * ONE
        assert t.size % CENT == 0
        if t.side == Side.SELL:
            sold[Outcome(int(t.outcome))] += int(t.size)
        else:
            assert t.size >= case["market"]["min_size"]
    assert sold[Outcome.YES] <= case["position"]["yes"] and sold[Outcome.NO] <= case["position"]["no"]


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC))
def test_every_quote_is_paid_at_least_the_smallest_edge(case, params):
    for t in quotes_of(case, params):
        own = int(t.price) if t.side == Side.BUY else ONE - int(t.price)
        fair = int(t.fair) if t.side == Side.BUY else mt.FINE * ONE - int(t.fair)
        assert t.edge >= mt.FINE * params[mt.MIN_EDGE]
        assert fair - mt.FINE * own >= mt.FINE * params[mt.EDGE]


@rc.thousand
@given(mc.cases(), rc.permitted(mt.SPEC))
def test_the_mirrored_market_gives_the_mirrored_quotes(case, params):
    def seen(one, flip):
        p = probe(**one)
        code, _ = p.propose(mt.decide, params)
        quotes = [
            (
                (int(t.slot) + 4 * flip) % 8,
                int(t.outcome) ^ flip,
                *(int(t[f]) for f in ("side", "price", "size", "edge")),
            )
            for t in p.targets
            if t.want == WANT_QUOTE
        ]
        return code, sorted(quotes), int(p.market.wake)

    assert seen(mc.mirrored(case), 1) == seen(case, 0)


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC), st.integers(0, 100 * MICRO))
def test_more_inventory_never_raises_a_quote(case, params, more):
    longer = case | {"position": case["position"] | {"yes": case["position"]["yes"] + more}}
    before = {int(t.slot): yes_price(t) for t in quotes_of(case, params)}
    after = {int(t.slot): yes_price(t) for t in quotes_of(longer, params)}
    assert all(after[slot] <= before[slot] for slot in before.keys() & after.keys())


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(mt.SPEC), st.integers(0, 300))
def test_asking_for_more_edge_never_brings_a_quote_nearer(case, params, more):
    wider = params.copy()
    wider[mt.EDGE] += more
    near = {int(t.slot): yes_price(t) for t in quotes_of(case, params)}
    far = {int(t.slot): yes_price(t) for t in quotes_of(case, wider)}
    for slot in near.keys() & far.keys():
        assert far[slot] <= near[slot] if slot < 4 else far[slot] >= near[slot]


@rc.thousand
@given(mc.cases(), rc.permitted(mt.SPEC))
def test_asked_twice_it_answers_twice_the_same_and_touches_nothing_but_its_targets(case, params):
    p = probe(**case)
    before = [r.tobytes() for r in (p.position, p.account, p.ladder, p.memory)]
    first = p.propose(mt.decide, params)
    wake = int(p.market.wake)
    assert p.propose(mt.decide, params) == first and int(p.market.wake) == wake
    assert [r.tobytes() for r in (p.position, p.account, p.ladder, p.memory)] == before


@rc.thousand
@given(mc.cases(), rc.permitted(mt.SPEC))
def test_while_it_quotes_it_asks_to_be_woken_before_its_reason_ends(case, params):
    p = probe(**case)
    _, quotes = p.propose(mt.decide, params)
    m = p.market
    if not quotes:
        assert m.wake == 0
        return
    assert m.now < m.wake <= m.book_ts + params[mt.MAX_AGE] + 1
    m.now = m.wake
    code, quotes = p.propose(mt.decide, params)
    assert not quotes and code in ("STRAT_MAKER_STALE_INPUT", "STRAT_MAKER_NEAR_CLOSE")


def test_compiled_and_plain_python_agree_to_the_bit():
    assert mc.plain_digest(BOT) == mc.digest(BOT)


# -------------------------------------------------------------------------------------------- in the step


def _rows(*rows: dict[str, int]) -> np.ndarray:
    events = records(EVENT, len(rows))
    for i, row in enumerate(rows):
        for name, value in ({"seq": i, "flags": Flag.LAST} | row).items():
            events[i][name] = value
        events[i].ts_event = events[i].ts_recv
    return events


class _Market:
    tick, grid, min_size, fee_rate, fee_exponent, rebate_rate, event_id, end_ts = 10, 10, 5 * MICRO, 0, 1, 0, "", 0


def test_quotes_are_withdrawn_in_a_market_that_falls_silent():
    bots = [load_bot(b) for b in ("intel.orderflowanalyzer", "disc.marketscanner", BOT, "exec.smartrouter")]
    pipeline = order_bots([PipelineBot(b, MODE_ENFORCED, b.spec.kernel_params(), False) for b in bots])
    state = new_state([_Market()], pipeline, cash=1_000 * MICRO, interval=100 * NS_PER_MS, sample_interval=0)
    level = {"kind": EventKind.LEVEL, "ts_recv": NOW}
    events = _rows(
        level | {"price": 6_200, "size": 7_258 * MICRO, "side": Side.BUY, "flags": 0},
        level | {"price": 6_300, "size": 7_142 * MICRO, "side": Side.SELL},
        {"kind": EventKind.TRADE, "ts_recv": NOW, "price": 6_300, "size": 2_000 * MICRO, "side": Side.BUY},
        {"kind": EventKind.CLOCK, "ts_recv": NOW + 10 * NS_PER_S, "market": -1},
    )
    sink = Collected()
    feed(events, state, pipeline, sink)
    actions = sink.rows("actions")
    sent = actions[actions["kind"] == ActionKind.SUBMIT]
    cancelled = actions[actions["kind"] == ActionKind.CANCEL]
    assert sorted(sent["price"]) == [3_710, 6_210]
    assert set(cancelled["order_id"]) == set(sent["order_id"])
    assert NOW + 2 * NS_PER_S < cancelled["ts"].min() <= cancelled["ts"].max() <= NOW + 2_200 * NS_PER_MS
