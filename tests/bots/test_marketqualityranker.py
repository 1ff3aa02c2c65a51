"""disc.marketqualityranker: one number for how good a market is to trade, and no candidate below the minimum."""

from __future__ import annotations

import random

import market_cases as mc
import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.discovery import marketqualityranker as mq
from polytraders.engine import state as s
from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.units import NS_PER_MS, NS_PER_S

BOT = "disc.marketqualityranker"
MICRO = mc.MICRO
PARAMS = mq.SPEC.kernel_params()
BOOK = {"bids": [("0.02", "400")], "asks": [("0.03", "500")]}


def look(params=PARAMS, scan=0.8, volatility=400.0, left=120, **given_):
    """(code, candidate, rating) of the worked example, with whatever is given changed."""
    market = {"end_ts": NOW + left * NS_PER_S if left is not None else 0}
    p = probe(**(BOOK | given_), market=market, features={"QUALITY": scan, "VOLATILITY": volatility})
    code = p.sense(mq.decide, params)
    return code, int(p.market.candidate), float(p.market.x[s.RATING])


def test_the_worked_example_by_hand():
    # 400 shares at 0.02 are 8 pUSD of half 50; the price moves twice too much; 120 s of 300
    code, candidate, rating = look()
    assert (code, candidate) == ("DISC_QUALITY_RATED", 1)
    assert rating == pytest.approx(0.4 * 0.8 + 0.2 * 8 / 58 + 0 + 0.2 * 0.4)


@pytest.mark.parametrize(
    ("given_", "rating"),
    [
        ({"scan": 1.0}, 0.4 + 0.2 * 8 / 58 + 0.08),
        ({"volatility": 0.0}, 0.32 + 0.2 * 8 / 58 + 0.2 + 0.08),
        ({"volatility": 100.0}, 0.32 + 0.2 * 8 / 58 + 0.1 + 0.08),
        ({"left": None}, 0.32 + 0.2 * 8 / 58 + 0.2),
        ({"left": 300}, 0.32 + 0.2 * 8 / 58 + 0.2),
        ({"left": 9_999}, 0.32 + 0.2 * 8 / 58 + 0.2),
        ({"bids": [("0.02", "2500")], "asks": [("0.03", "500")]}, 0.32 + 0.2 * 50 / 100 + 0.08),
    ],
)
def test_a_part_adds_its_weight_and_nothing_more(given_, rating):
    assert look(**given_)[2] == pytest.approx(rating)


REASONS = [
    ({}, "DISC_QUALITY_RATED"),
    ({"left": 60}, "DISC_QUALITY_BELOW_THRESHOLD"),
    ({"volatility": float("nan")}, "DISC_QUALITY_BELOW_THRESHOLD"),
    ({"scan": 0.0}, "DISC_QUALITY_NOT_SCANNED"),
    ({"scan": float("nan")}, "DISC_QUALITY_NOT_SCANNED"),
    ({"account": {"switch": 1}}, "DISC_QUALITY_FROZEN"),
    ({"account": {"halted": 4_003}}, "DISC_QUALITY_FROZEN"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    got, candidate, rating = look(**given_)
    assert got == code
    if code != "DISC_QUALITY_FROZEN":
        assert (candidate, rating > 0) == ((1, True) if code == "DISC_QUALITY_RATED" else (0, False))


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(mq.SPEC.reason_codes)


def test_between_two_ratings_only_the_scanner_and_a_kill_switch_change_anything():
    p = probe(**BOOK, features={"QUALITY": 0.8})
    m = p.market
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_RATED"
    m.x[s.VOLATILITY], m.now = 1e9, NOW + 999 * NS_PER_MS
    m.x[s.QUALITY] = 0.3
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_RATED"
    m.now = NOW + 1_000 * NS_PER_MS
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_BELOW_THRESHOLD"
    m.x[s.QUALITY] = 0.0
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_NOT_SCANNED"
    m.x[s.QUALITY], m.x[s.VOLATILITY] = 0.8, 0.0
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_RATED"


def test_a_candidate_that_another_bot_took_back_is_one_again():
    p = probe(**BOOK, features={"QUALITY": 0.8})
    p.sense(mq.decide, PARAMS)
    p.market.candidate = 0
    assert p.sense(mq.decide, PARAMS) == "DISC_QUALITY_RATED" and p.market.candidate == 1


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        mq.SPEC.kernel_params({"min_quality_score": "0.19"})
    assert mq.SPEC.check() == []
    assert mq.SPEC.check({"min_quality_score": "0.29"}) == ["min_quality_score"]


# ---------------------------------------------------------------------------------------------- properties

PARTS = st.tuples(st.just(0.0) | st.floats(0, 1), st.floats(0, 1_000))


def with_parts(case, parts):
    return case | {"features": case["features"] | {"QUALITY": parts[0], "VOLATILITY": parts[1]}}


def seen(case, params):
    p = probe(**case)
    return p.sense(mq.decide, params), int(p.market.candidate), float(p.market.x[s.RATING])


@rc.thousand
@given(mc.cases(), rc.permitted(mq.SPEC), PARTS)
def test_a_rating_lies_in_0_to_1_and_only_a_candidate_has_one(case, params, parts):
    code, candidate, rating = seen(with_parts(case, parts), params)
    assert 0 <= rating <= 1 + 1e-12
    assert (candidate == 1) == (code == "DISC_QUALITY_RATED") == (rating > 0)
    if candidate:
        assert parts[0] > 0 and rating * 1e6 >= params[mq.MIN_QUALITY] >= 200_000


@rc.thousand
@given(mc.cases(), rc.permitted(mq.SPEC), PARTS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**9))
def test_a_better_scan_more_money_more_calm_and_more_time_never_lower_the_rating(case, params, parts, up, calm, more):
    case = with_parts(case, parts)
    m = case["market"]
    better = with_parts(case, (max(parts[0], up), parts[1] * calm)) | {
        "market": m | {"end_ts": m["end_ts"] and m["end_ts"] + more},
        "bids": [(price, size + more) for price, size in case["bids"]],
        "asks": [(price, size + more) for price, size in case["asks"]],
    }
    _, candidate, rating = seen(case, params)
    _, candidate_after, rating_after = seen(better, params)
    assert rating_after >= rating - 1e-12
    if rating * 1e6 > params[mq.MIN_QUALITY] + 1:
        assert candidate_after >= candidate


@rc.thousand
@given(mc.cases(), rc.permitted(mq.SPEC), PARTS)
def test_the_mirrored_market_gets_the_same_rating(case, params, parts):
    case = with_parts(case, parts)
    assert seen(mc.mirrored(case), params) == seen(case, params)


@rc.thousand
@given(mc.cases(), rc.permitted(mq.SPEC), PARTS)
def test_asked_twice_it_says_the_same_and_writes_only_its_own(case, params, parts):
    p = probe(**with_parts(case, parts))
    copies = [r.tobytes() for r in (p.position, p.account, p.ladder)]
    before = p.market.copy()
    first = p.sense(mq.decide, params)
    after = p.market.copy()
    assert p.sense(mq.decide, params) == first and p.market.tobytes() == after.tobytes()
    assert [r.tobytes() for r in (p.position, p.account, p.ladder)] == copies
    for name in before.dtype.names:
        if name not in ("x", "candidate"):
            assert np.array_equal(before[name], after[name]), name
    rest = [i for i in range(s.N_FEATURES) if i not in (s.RATING, mq.RATED_AT, mq.RATED)]
    assert np.array_equal(before.x[rest], after.x[rest])


def test_compiled_and_plain_python_agree_to_the_bit_where_markets_are_rated():
    r, plain = random.Random(12), getattr(mq.decide, "py_func", mq.decide)
    for i in range(1_000):
        case, params = with_parts(mc.draw_case(r), (r.random(), r.uniform(0, 400))), mc.draw_params(r, mq.SPEC, i)
        one, two = probe(**case), probe(**case)
        assert one.sense(mq.decide, params) == two.sense(plain, params)
        assert one.market.tobytes() == two.market.tobytes()


def test_compiled_and_plain_python_agree_to_the_bit():
    assert mc.plain_digest(BOT) == mc.digest(BOT)
