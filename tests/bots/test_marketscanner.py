"""disc.marketscanner: a candidate is where a strategy may look, nothing more."""

from __future__ import annotations

import market_cases as mc
import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.discovery import marketscanner as ms
from polytraders.engine import state as s
from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.rows import Status
from polytraders.units import NS_PER_MS, NS_PER_S

BOT = "disc.marketscanner"
MICRO = mc.MICRO
PARAMS = ms.SPEC.kernel_params()
BOOK = {"bids": [("0.62", "7258")], "asks": [("0.63", "12162")]}


def look(params=PARAMS, market=None, **given_):
    """(code, candidate, score) of a good market, with whatever is given changed."""
    p = probe(**(BOOK | given_), market=mc.LIVE | (market or {}))
    code = p.sense(ms.decide, params)
    return code, int(p.market.candidate), float(p.market.x[s.QUALITY])


def test_the_score_of_a_good_market_by_hand():
    # volume 10 000 / (10 000 + 10 * 500), recency 1, tightness 1, depth 4 499.94 / (4 499.94 + 10 * 50)
    code, candidate, quality = look()
    assert (code, candidate) == ("DISC_MARKET_CANDIDATE", 1)
    assert quality == pytest.approx((10 / 15 + 1 + 1 + 4_499.94 / 4_999.94) / 4)


REASONS = [
    ({}, "DISC_MARKET_CANDIDATE"),
    ({"market": {"volume_24h": 500 * MICRO - 1}}, "DISC_LOW_VOLUME"),
    ({"market": {"trade_ts": NOW - 900 * NS_PER_S - 1}}, "DISC_NO_RECENT_TRADE"),
    ({"market": {"trade_ts": 0}}, "DISC_NO_RECENT_TRADE"),
    ({"bids": [("0.6", "7258")], "asks": [("0.66", "12162")]}, "DISC_SPREAD_WIDE"),
    ({"bids": [("0.62", "60")]}, "DISC_LOW_LIQUIDITY"),
    ({"asks": [("0.63", "100")]}, "DISC_LOW_LIQUIDITY"),
    ({"market": {"status": Status.PAUSED}}, "DISC_NOT_OPEN"),
    ({"market": {"status": Status.RESOLVED}}, "DISC_NOT_OPEN"),
    ({"market": {"end_ts": NOW + 30 * NS_PER_S - 1}}, "DISC_NEAR_CLOSE"),
    ({"asks": []}, "DISC_NO_DATA"),
    ({"bids": [], "asks": []}, "DISC_NO_DATA"),
    ({"market": {"feed_up": 0}}, "DISC_NO_DATA"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    got, candidate, quality = look(**given_)
    assert got == code
    assert (candidate, quality > 0) == ((1, True) if code == "DISC_MARKET_CANDIDATE" else (0, False))


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(ms.SPEC.reason_codes)


def test_limits_are_still_inside():
    for inside in (
        {"market": {"volume_24h": 500 * MICRO}},
        {"market": {"trade_ts": NOW - 900 * NS_PER_S}},
        {"market": {"end_ts": NOW + 30 * NS_PER_S}},
        {"bids": [("0.6", "7258")], "asks": [("0.65", "12162")]},
        {"bids": [("0.5", "100")], "asks": [("0.55", "1000")]},
    ):
        assert look(**inside)[0] == "DISC_MARKET_CANDIDATE"


def test_between_two_scans_only_an_obstacle_changes_the_conclusion():
    p = probe(**BOOK, market=mc.LIVE)
    m = p.market
    assert p.sense(ms.decide, PARAMS) == "DISC_MARKET_CANDIDATE"
    m.best_ask, m.now = 7_000, NOW + 4_999 * NS_PER_MS
    assert p.sense(ms.decide, PARAMS) == "DISC_MARKET_CANDIDATE"
    m.now = NOW + 5_000 * NS_PER_MS
    assert (p.sense(ms.decide, PARAMS), int(m.candidate)) == ("DISC_SPREAD_WIDE", 0)
    m.best_ask, m.now = 6_300, NOW + 5_001 * NS_PER_MS
    assert (p.sense(ms.decide, PARAMS), int(m.candidate)) == ("DISC_SPREAD_WIDE", 0)
    m.status = Status.HALTED
    assert (p.sense(ms.decide, PARAMS), int(m.candidate)) == ("DISC_NOT_OPEN", 0)
    m.status = Status.OPEN
    assert (p.sense(ms.decide, PARAMS), int(m.candidate)) == ("DISC_MARKET_CANDIDATE", 1)


@pytest.mark.parametrize(
    ("field", "value"), [("feed_up", 0), ("status", Status.PAUSED), ("best_ask", -1), ("end_ts", NOW + NS_PER_S)]
)
def test_an_obstacle_ends_a_candidacy_at_once(field, value):
    p = probe(**BOOK, market=mc.LIVE)
    p.sense(ms.decide, PARAMS)
    p.market[field] = value
    p.sense(ms.decide, PARAMS)
    assert (int(p.market.candidate), p.market.x[s.QUALITY]) == (0, 0.0)


def test_depth_is_counted_in_the_tick_in_force():
    deep = {"bids": [("0.62", "60"), ("0.58", "4000")], "grid": 10}
    assert look(**deep, tick=100)[0] == "DISC_MARKET_CANDIDATE"
    assert look(**deep, tick=10)[0] == "DISC_LOW_LIQUIDITY"


def test_open_floors_do_not_let_a_market_without_trades_or_orders_pass():
    open_door = ms.SPEC.kernel_params({"min_volume_24h_usd": 0, "min_depth_usd": 0})
    assert look(open_door, market={"volume_24h": 0})[0] == "DISC_LOW_VOLUME"
    assert look(open_door, bids=[])[0] == "DISC_NO_DATA"


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        ms.SPEC.kernel_params({"max_spread_bps": 5_001})
    assert ms.SPEC.check() == []
    assert ms.SPEC.check({"min_volume_24h_usd": 99}) == ["min_volume_24h_usd"]


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(mc.cases(), rc.permitted(ms.SPEC))
def test_a_score_lies_in_0_to_1_and_only_a_candidate_has_one(case, params):
    p = probe(**case)
    code = p.sense(ms.decide, params)
    m, quality = p.market, p.market.x[s.QUALITY]
    assert 0 <= quality <= 1
    assert (m.candidate == 1) == (code == "DISC_MARKET_CANDIDATE") == (quality > 0)
    if m.candidate:
        assert m.best_ask - m.best_bid <= 5_000 and m.now - m.trade_ts <= 86_400 * NS_PER_S
        assert m.volume_24h >= params[ms.MIN_VOLUME] and m.status == Status.OPEN and m.feed_up


@rc.thousand
@given(mc.cases(), rc.permitted(ms.SPEC), st.integers(0, 10**12), st.integers(0, 10**11), st.integers(0, 10**10))
def test_more_volume_a_later_trade_or_more_depth_never_costs_a_candidate_or_its_score(case, params, money, later, size):
    def seen(one):
        p = probe(**one)
        p.sense(ms.decide, params)
        return int(p.market.candidate), float(p.market.x[s.QUALITY])

    m = case["market"]
    traded = m["trade_ts"] and min(m["trade_ts"] + later, NOW)
    better = case | {
        "market": m | {"volume_24h": m["volume_24h"] + money, "trade_ts": traded},
        "bids": [(price, held + size) for price, held in case["bids"]],
        "asks": [(price, held + size) for price, held in case["asks"]],
    }
    candidate, quality = seen(case)
    candidate_after, quality_after = seen(better)
    assert candidate_after >= candidate and quality_after >= quality - 1e-12


@rc.thousand
@given(rc.permitted(ms.SPEC), st.integers(1, 60), st.integers(0, 30), st.integers(1, 5_000))
def test_a_tighter_market_never_has_the_lower_score(params, ticks, closer, shares):
    def seen(spread):  # the bid stands, so the depth of the thinner side can only grow as the ask comes nearer
        return look(params, bids=[(3_000, shares * MICRO)], asks=[(3_000 + 100 * spread, 10**12)])

    _, candidate, quality = seen(ticks)
    _, candidate_after, quality_after = seen(max(ticks - closer, 1))
    assert candidate_after >= candidate and quality_after >= quality - 1e-12


@rc.thousand
@given(mc.cases(), rc.permitted(ms.SPEC))
def test_the_mirrored_market_gets_the_same_conclusion_and_score(case, params):
    def seen(one):
        p = probe(**one)
        return p.sense(ms.decide, params), int(p.market.candidate), float(p.market.x[s.QUALITY])

    assert seen(mc.mirrored(case)) == seen(case)


@rc.thousand
@given(mc.cases(), rc.permitted(ms.SPEC))
def test_asked_twice_it_says_the_same_and_writes_only_its_own(case, params):
    p = probe(**case)
    copies = [r.tobytes() for r in (p.position, p.account, p.ladder)]
    before = p.market.copy()
    first = p.sense(ms.decide, params)
    after = p.market.copy()
    assert p.sense(ms.decide, params) == first and p.market.tobytes() == after.tobytes()
    assert [r.tobytes() for r in (p.position, p.account, p.ladder)] == copies
    for name in before.dtype.names:
        if name not in ("x", "candidate"):
            assert np.array_equal(before[name], after[name]), name
    rest = [i for i in range(s.N_FEATURES) if i not in (s.QUALITY, ms.LAST_SCAN, ms.LAST_CODE)]
    assert np.array_equal(before.x[rest], after.x[rest])


def test_compiled_and_plain_python_agree_to_the_bit():
    assert mc.plain_digest(BOT) == mc.digest(BOT)
