"""intel.liquidity_decay_monitor: money that leaves the inside without a trade, while orders of ours rest there."""

from __future__ import annotations

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
from polytraders.intel import liquidity_decay_monitor as ld
from polytraders.units import NS_PER_S

BOT = "intel.liquidity_decay_monitor"
MICRO = mc.MICRO
PARAMS = ld.SPEC.kernel_params()
BOOK = {"bids": [("0.5", "200")], "asks": [("0.52", "208.333333")]}  # 100 + 100 pUSD inside


def measure(before=400.0, sold=0, bought=0, lost=0.0, watched=0.0, ours=1, params=PARAMS, market=None, **given_):
    """(code, rate, confidence) one second after `before` pUSD stood inside; lost, watched: the sums so far."""
    fields = {"prev_now": NOW - NS_PER_S, "sell_volume": sold * MICRO, "buy_volume": bought * MICRO} | (market or {})
    p = probe(**(BOOK | given_), market=fields, position={"open_orders": ours})
    p.market.x[ld.INSIDE], p.market.x[ld.LOST], p.market.x[ld.WATCHED] = before, lost, watched
    code = p.sense(ld.decide, params)
    return code, float(p.market.x[s.DECAY]), float(p.market.x[s.DECAY_CONFIDENCE])


def test_what_is_gone_and_was_not_traded_was_withdrawn():
    # 400 before, 200 now, 100 shares sold at 0.50: 150 in one second; confidence 1 / (1 + 20)
    code, rate, confidence = measure(sold=100)
    assert code == "INTEL_DECAY_UNSURE"
    assert rate == pytest.approx(150, abs=1e-6) and confidence == pytest.approx(1 / 21)
    # the other side: 100 shares bought at 0.52 are 48 pUSD of the other token's money
    assert measure(bought=100)[1] == pytest.approx(152, abs=1e-6)


def test_the_past_is_halved_in_one_window():
    code, rate, confidence = measure(200.0, lost=30.0, watched=10.0, market={"prev_now": NOW - 20 * NS_PER_S})
    assert code == "INTEL_DECAY_PUBLISHED"
    assert rate == pytest.approx(15 / 25, abs=1e-6) and confidence == pytest.approx(25 / 45)


REASONS = [
    ({}, "INTEL_DECAY_UNSURE"),
    ({"watched": 10.0}, "INTEL_DECAY_PUBLISHED"),
    ({"ours": 0}, "INTEL_DECAY_UNSURE"),
    ({"ours": 0, "watched": 5.0}, "INTEL_DECAY_PUBLISHED"),
    ({"ours": 0, "watched": 4.9}, "INTEL_DECAY_UNSURE"),
    ({"watched": 10.0, "age_ms": 2_000}, "INTEL_DECAY_PUBLISHED"),
    ({"watched": 10.0, "age_ms": 2_001}, "INTEL_DECAY_NO_DATA"),
    ({"watched": 10.0, "market": {"feed_up": 0}}, "INTEL_DECAY_NO_DATA"),
    ({"watched": 10.0, "asks": []}, "INTEL_DECAY_NO_DATA"),
    ({"watched": 10.0, "bids": [], "asks": []}, "INTEL_DECAY_NO_DATA"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_at_its_limit(given_, code):
    got, rate, confidence = measure(**given_)
    assert got == code
    if code == "INTEL_DECAY_NO_DATA":
        assert (rate, confidence) == (0, 0)


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(ld.SPEC.reason_codes)


def test_nothing_is_counted_while_nothing_of_ours_rests_or_across_a_lost_feed():
    assert measure(ours=0, lost=30.0, watched=10.0)[1:] == (3.0, 10 / 30)
    p = probe(**BOOK, market={"feed_up": 0, "prev_now": NOW - NS_PER_S}, position={"open_orders": 1})
    p.market.x[ld.INSIDE], p.market.x[ld.LOST], p.market.x[ld.WATCHED] = 900.0, 30.0, 10.0
    assert p.sense(ld.decide, PARAMS) == "INTEL_DECAY_NO_DATA"
    p.market.feed_up = 1
    assert p.sense(ld.decide, PARAMS) == "INTEL_DECAY_PUBLISHED" and p.market.x[s.DECAY] == 3.0


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        ld.SPEC.kernel_params({"window_s": 601})
    assert ld.SPEC.check() == []
    assert ld.SPEC.check({"min_confidence": "0.05"}) == ["min_confidence"]


# ---------------------------------------------------------------------------------------------- properties

SUMS = st.tuples(
    st.floats(0, 1e6), st.floats(0, 1e6), st.just(0.0) | st.floats(1e-9, 3_600), st.integers(0, 2)
)  # the shortest time is a nanosecond


def seen(case, params, sums):
    p = probe(**case | {"position": case["position"] | {"open_orders": sums[3]}})
    p.market.x[ld.INSIDE], p.market.x[ld.LOST], p.market.x[ld.WATCHED] = sums[:3]
    code = p.sense(ld.decide, params)
    return code, float(p.market.x[s.DECAY]), float(p.market.x[s.DECAY_CONFIDENCE])


@rc.thousand
@given(mc.cases(), rc.permitted(ld.SPEC), SUMS)
def test_the_rate_is_never_negative_and_the_confidence_lies_in_0_to_1(case, params, sums):
    code, rate, confidence = seen(case, params, sums)
    assert rate >= 0 and 0 <= confidence < 1
    if code == "INTEL_DECAY_NO_DATA":
        assert rate == confidence == 0
    if code == "INTEL_DECAY_PUBLISHED":
        assert confidence * 1e6 >= params[ld.MIN_CONFIDENCE]


@rc.thousand
@given(mc.cases(), rc.permitted(ld.SPEC), SUMS, st.floats(0, 1e5), st.integers(0, 10**10))
def test_more_withdrawn_is_never_a_lower_rate_and_more_traded_never_a_higher_one(case, params, sums, more, traded):
    _, rate, _ = seen(case, params, sums)
    if sums[0] > 0:  # with 0, nothing was known
        assert seen(case, params, (sums[0] + more, *sums[1:]))[1] >= rate
    tape = {"sell_volume": case["market"]["sell_volume"] + traded}
    assert seen(case | {"market": case["market"] | tape}, params, sums)[1] <= rate


@rc.thousand
@given(mc.cases(), rc.permitted(ld.SPEC), SUMS)
def test_the_mirrored_market_has_the_same_rate_and_confidence(case, params, sums):
    assert seen(mc.mirrored(case), params, sums) == seen(case, params, sums)


@rc.thousand
@given(mc.cases(), rc.permitted(ld.SPEC), SUMS)
def test_it_writes_its_own_cells_and_nothing_else(case, params, sums):
    p = probe(**case | {"position": case["position"] | {"open_orders": sums[3]}})
    copies, before = [r.tobytes() for r in (p.position, p.account, p.ladder)], p.market.copy()
    p.sense(ld.decide, params)
    assert [r.tobytes() for r in (p.position, p.account, p.ladder)] == copies
    for name in before.dtype.names:
        if name != "x":
            assert np.array_equal(before[name], p.market[name]), name
    own = {s.DECAY, s.DECAY_CONFIDENCE, ld.INSIDE, ld.LOST, ld.WATCHED}
    rest = [i for i in range(s.N_FEATURES) if i not in own]
    assert np.array_equal(before.x[rest], p.market.x[rest])


@rc.thousand
@given(mc.cases(), rc.permitted(ld.SPEC), SUMS)
def test_decided_again_at_the_same_time_nothing_more_is_withdrawn(case, params, sums):
    p = probe(**case | {"position": {"open_orders": sums[3]}})
    p.market.x[ld.INSIDE], p.market.x[ld.LOST], p.market.x[ld.WATCHED] = sums[:3]
    first = p.sense(ld.decide, params)
    after = p.market.x.copy()
    p.market.prev_now, p.market.buy_volume, p.market.sell_volume = p.market.now, 0, 0
    assert p.sense(ld.decide, params) == first and np.array_equal(after, p.market.x)


def test_compiled_and_plain_python_agree_to_the_bit_over_sequences_with_orders_of_ours():
    r, plain = random.Random(11), getattr(ld.decide, "py_func", ld.decide)
    for i in range(60):
        steps, params = mc.draw_sequence(r), mc.draw_params(r, ld.SPEC, i)
        one, two = mc.start_of(steps), mc.start_of(steps)
        for a, b in zip(mc.play(one, steps), mc.play(two, steps), strict=True):
            a.position.open_orders = b.position.open_orders = r.randint(0, 2)
            assert a.sense(ld.decide, params) == b.sense(plain, params)
            assert a.market.tobytes() == b.market.tobytes()


def test_compiled_and_plain_python_agree_to_the_bit():
    assert mc.plain_digest(BOT) == mc.digest(BOT)
