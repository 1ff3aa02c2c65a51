"""intel.orderflowanalyzer: large, one-sided and followed by the price, or nothing to say."""

from __future__ import annotations

import math
import random

import market_cases as mc
import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine import state as s
from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.intel import orderflowanalyzer as ofa
from polytraders.units import NS_PER_S

BOT = "intel.orderflowanalyzer"
MICRO = mc.MICRO
PARAMS = ofa.SPEC.kernel_params()
BOOK = {"bids": [("0.62", "800")], "asks": [("0.63", "1000")]}
PUBLIC = (s.IMBALANCE, s.FLOW, s.FLOW_ABS, s.TOXICITY, s.VOLATILITY, s.MICROPRICE)


def measure(bought=0, sold=0, trades=0, was=s.BENIGN, mean=6_150.0, params=PARAMS, market=None, **given_):
    """(code, market) after one second of trades; bought, sold in shares, mean: the decayed middle so far, pips."""
    tape = {"buy_volume": bought * MICRO, "sell_volume": sold * MICRO, "n_trades": trades}
    p = probe(**(BOOK | given_), market=tape | {"prev_now": NOW - NS_PER_S, "flow_state": was} | (market or {}))
    p.market.x[ofa.MIDDLE] = p.market.x[ofa.MEAN_MIDDLE] = mean
    return p.sense(ofa.decide, params), p.market


def test_a_rush_as_large_as_the_depth_has_a_toxicity_of_one_half():
    code, m = measure(bought=1_000, trades=12)
    assert code == "INTEL_FLOW_TOXIC" and m.flow_state == s.TOXIC
    assert (m.x[s.TOXICITY], m.x[s.FLOW], m.x[s.FLOW_ABS]) == (0.5, 1_000, 1_000)
    assert m.x[s.IMBALANCE] == pytest.approx(-200 / 1_800)
    assert m.x[s.MICROPRICE] == pytest.approx(6_200 + 100 * 800 / 1_800)
    assert m.x[s.VOLATILITY] == pytest.approx(100)  # one change, from 0.615 to 0.625


def test_a_busy_balanced_second_is_benign():
    code, m = measure(bought=1_500, sold=1_400, trades=40)
    assert code == "INTEL_FLOW_BENIGN"
    assert m.x[s.TOXICITY] == pytest.approx(100 / 3_900)


REASONS = [
    ({"bought": 1_000, "trades": 12}, "INTEL_FLOW_TOXIC"),
    ({"sold": 800, "trades": 12, "mean": 6_350.0}, "INTEL_FLOW_TOXIC"),
    ({"bought": 1_000, "trades": 12, "mean": 6_250.0}, "INTEL_FLOW_BENIGN"),
    ({"bought": 1_000, "trades": 12, "mean": 6_350.0}, "INTEL_FLOW_BENIGN"),
    ({"bought": 1_000, "trades": 3, "market": {"group": 0}}, "INTEL_FLOW_INFORMED"),
    ({"bought": 1_000, "trades": 12, "market": {"group": 0}}, "INTEL_FLOW_TOXIC"),
    ({"bought": 1_000, "trades": 2}, "INTEL_FLOW_NO_DATA"),
    ({"bought": 1_000, "trades": 12, "asks": []}, "INTEL_FLOW_NO_DATA"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    assert measure(**given_)[0] == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(ofa.SPEC.reason_codes)


def test_a_verdict_begins_at_one_threshold_and_ends_at_a_lower_one():
    # 400 of 1 400 are 0.286: below 0.3, above 0.2; 240 of 1 240 are 0.194
    assert measure(bought=400, trades=12)[0] == "INTEL_FLOW_BENIGN"
    assert measure(bought=400, trades=12, was=s.TOXIC)[0] == "INTEL_FLOW_TOXIC"
    assert measure(bought=400, trades=12, was=s.INFORMED)[0] == "INTEL_FLOW_INFORMED"
    assert measure(bought=240, trades=12, was=s.TOXIC)[0] == "INTEL_FLOW_BENIGN"


def test_after_one_window_without_a_trade_half_is_left():
    p = probe(**BOOK, market={"buy_volume": 1_000 * MICRO, "n_trades": 12})
    p.sense(ofa.decide, PARAMS)
    m = p.market
    m.prev_now, m.now, m.book_ts, m.buy_volume, m.n_trades = NOW, NOW + 20 * NS_PER_S, NOW + 20 * NS_PER_S, 0, 0
    p.sense(ofa.decide, PARAMS)
    assert (m.x[s.FLOW], m.x[s.FLOW_ABS], m.x[ofa.SUM_TRADES]) == (500, 500, 6)


def test_depth_is_counted_in_the_tick_in_force():
    deep = {"bids": [("0.62", "100"), ("0.58", "100"), ("0.57", "100")], "asks": [("0.63", "200")], "grid": 10}
    assert measure(**deep, trades=3, tick=100)[1].x[s.IMBALANCE] == 0
    assert measure(**deep, trades=3, tick=10)[1].x[s.IMBALANCE] == pytest.approx(-1 / 3)


@pytest.mark.parametrize("lost", [{"age_ms": 3_001}, {"market": {"feed_up": 0}}, {"bids": []}])
def test_without_a_fresh_two_sided_book_every_feature_is_zero_and_a_verdict_is_gone(lost):
    code, m = measure(bought=1_000, trades=12, was=s.TOXIC, **lost)
    assert (code, m.flow_state) == ("INTEL_FLOW_NO_DATA", s.BENIGN)
    assert [m.x[i] for i in PUBLIC] == [0.0] * len(PUBLIC)
    assert m.x[ofa.SUM_FLOW] == 1_000  # the tape goes on underneath


def test_the_move_across_a_lost_feed_is_not_volatility():
    _, m = measure(bought=1_000, trades=12, market={"feed_up": 0}, mean=2_000.0)
    p = probe(**BOOK)
    p.market.x[:] = m.x
    assert p.sense(ofa.decide, PARAMS) == "INTEL_FLOW_BENIGN"
    assert (p.market.x[s.VOLATILITY], p.market.x[ofa.MEAN_MIDDLE]) == (0.0, 6_250.0)


def test_a_calm_threshold_above_the_toxic_one_does_not_hold_a_verdict_back():
    upside_down = ofa.SPEC.kernel_params({"toxic_ratio": "0.2", "calm_ratio": "0.8"})
    assert measure(bought=400, trades=12, params=upside_down)[0] == "INTEL_FLOW_TOXIC"
    assert measure(bought=400, trades=12, was=s.TOXIC, params=upside_down)[0] == "INTEL_FLOW_TOXIC"


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        ofa.SPEC.kernel_params({"flow_window_s": 3_601})
    assert ofa.SPEC.check() == []
    assert ofa.SPEC.check({"depth_levels": 11}) == ["depth_levels"]


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(mc.cases(), rc.permitted(ofa.SPEC))
def test_features_stay_in_their_ranges(case, params):
    p = probe(**case)
    code, x, m = p.sense(ofa.decide, params), p.market.x, p.market
    assert 0 <= x[s.TOXICITY] <= 1 and -1 <= x[s.IMBALANCE] <= 1 and x[s.VOLATILITY] >= 0
    assert abs(x[s.FLOW]) <= x[s.FLOW_ABS]
    if x[s.MICROPRICE]:
        assert m.best_bid <= x[s.MICROPRICE] <= m.best_ask
    verdicts = {"INTEL_FLOW_TOXIC": s.TOXIC, "INTEL_FLOW_INFORMED": s.INFORMED}
    assert m.flow_state == verdicts.get(code, s.BENIGN)
    if code == "INTEL_FLOW_NO_DATA":
        assert [x[i] for i in (s.FLOW, s.FLOW_ABS, s.TOXICITY)] == [0, 0, 0]
    assert m.group >= 0 or m.flow_state != s.INFORMED or case["market"]["flow_state"] == s.INFORMED


@rc.thousand
@given(st.integers(0, 2**64 - 1), rc.permitted(ofa.SPEC), st.sampled_from([-1, 0]))
def test_the_mirrored_market_has_the_mirrored_flow(seed, params, group):
    steps = mc.draw_sequence(random.Random(seed), n=4)
    plain = mc.play(mc.start_of(steps, group=group), steps)
    other_steps = [
        mc.mirrored(step) | {"buy_volume": step["sell_volume"], "sell_volume": step["buy_volume"]} for step in steps
    ]
    other = mc.play(mc.start_of(other_steps, group=group), other_steps)
    for p, q in zip(plain, other, strict=True):
        assert p.sense(ofa.decide, params) == q.sense(ofa.decide, params)
        x, y = p.market.x, q.market.x
        assert x[s.FLOW] == -y[s.FLOW] and x[s.FLOW_ABS] == y[s.FLOW_ABS] and x[s.TOXICITY] == y[s.TOXICITY]
        assert x[s.IMBALANCE] == -y[s.IMBALANCE]
        assert x[s.VOLATILITY] == pytest.approx(y[s.VOLATILITY], rel=1e-6, abs=1e-6)


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(ofa.SPEC), st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_bought_is_never_less_toxic(case, params, bought, more):
    def toxicity(shares):
        p = probe(**(case | {"market": case["market"] | {"buy_volume": shares * MICRO, "n_trades": 1_000}}))
        p.sense(ofa.decide, params)
        return p.market.x[s.TOXICITY]

    assert toxicity(bought + more) >= toxicity(bought)


@rc.thousand
@given(mc.cases(sound=True), rc.permitted(ofa.SPEC), st.integers(1, 10**6), st.integers(0, 10**10))
def test_more_depth_is_never_more_toxic(case, params, bought, deeper):
    def toxicity(extra):
        book = {"asks": [(price, size + extra) for price, size in case["asks"]]}
        p = probe(**(case | book | {"market": case["market"] | {"buy_volume": bought * MICRO, "n_trades": 1_000}}))
        p.sense(ofa.decide, params)
        return p.market.x[s.TOXICITY]

    assert toxicity(deeper) <= toxicity(0)


@rc.thousand
@given(mc.cases(), rc.permitted(ofa.SPEC))
def test_it_writes_features_and_its_verdict_and_nothing_else(case, params):
    p = probe(**case)
    copies = [r.tobytes() for r in (p.position, p.account, p.ladder)]
    before = p.market.copy()
    p.sense(ofa.decide, params)
    assert [r.tobytes() for r in (p.position, p.account, p.ladder)] == copies
    own = {*PUBLIC, *range(ofa.SUM_FLOW, ofa.SUM_CHANGES + 1)}
    for name in before.dtype.names:
        if name not in ("x", "flow_state"):
            assert np.array_equal(before[name], p.market[name]), name
    rest = [i for i in range(s.N_FEATURES) if i not in own]
    assert np.array_equal(before.x[rest], p.market.x[rest])


@rc.thousand
@given(st.floats(0, 1e16), st.floats(0, 1e8), st.integers(1, 9_999))
def test_volatility_is_the_root_of_the_mean_square_rounded_once(squares, changes, before):
    p = probe(**BOOK, market={"prev_now": NOW - NS_PER_S})
    x = p.market.x
    x[ofa.SUM_SQUARES], x[ofa.SUM_CHANGES], x[ofa.MIDDLE] = squares, changes, before
    p.sense(ofa.decide, PARAMS)
    assert 1 <= x[ofa.SUM_CHANGES] <= 1 + changes and (6_250 - before) ** 2 <= x[ofa.SUM_SQUARES]
    assert x[s.VOLATILITY] == math.sqrt(x[ofa.SUM_SQUARES] / x[ofa.SUM_CHANGES])


def test_compiled_and_plain_python_agree_to_the_bit():
    assert mc.plain_digest(BOT) == mc.digest(BOT)
