"""risk.self_trade_wash_guard: no order meets one of our own, and no fresh fill is undone for nothing."""

from __future__ import annotations

import random

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import self_trade_wash_guard as sw
from polytraders.rows import OrderType, Outcome, Side
from polytraders.units import NS_PER_MS, NS_PER_S, ONE

BOT = "risk.self_trade_wash_guard"
PARAMS = sw.SPEC.kernel_params()
M = rc.MICRO
BOOK = {"bids": [("0.62", "400")], "asks": [("0.63", "300"), ("0.64", "100")], "age_ms": 200}
BUY = {"price": 6_500, "size": 500 * M, "opposite": 6_400}
TAKE = {"side": 1, "price": 6_200, "size": 20 * M}


def vote(params=PARAMS, intent=BUY, **given_):
    return probe(**(BOOK | given_), intent=intent).judge(sw.decide, params)


def bought(ms_ago, price=6_200, side=0):
    return {"last_fill_ts": NOW - ms_ago * NS_PER_MS, "last_fill_price": price, "last_fill_side": side}


REASONS = [
    ({"intent": BUY | {"opposite": -1}}, "RISK_NO_SELF_TRADE"),
    ({"intent": BUY | {"price": 6_300}}, "RISK_NO_SELF_TRADE"),
    ({"intent": BUY | {"price": 6_400}}, "RISK_SELF_TRADE_DOWNSIZED"),
    ({}, "RISK_SELF_TRADE_DOWNSIZED"),
    ({"intent": BUY | {"opposite": 6_300}}, "RISK_SELF_TRADE"),
    ({"intent": BUY | {"passive_only": 1}}, "RISK_SELF_TRADE"),
    ({"asks": [("0.63", "4.99"), ("0.64", "100")]}, "RISK_SELF_TRADE"),
    ({"asks": [("0.63", "5"), ("0.64", "100")]}, "RISK_SELF_TRADE_DOWNSIZED"),
    ({"intent": BUY | {"size": 5 * M - 1}}, "RISK_SELF_TRADE"),
    ({"bids": []}, "RISK_SELF_TRADE"),
    ({"market": {"feed_up": 0}}, "RISK_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": 6_300}}, "RISK_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": 6_100}}, "RISK_NO_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": -1}, "position": bought(4_999)}, "RISK_WASH_PATTERN"),
    ({"intent": TAKE | {"opposite": -1}, "position": bought(5_000)}, "RISK_NO_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": -1}, "position": bought(1, side=1)}, "RISK_NO_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": -1}, "position": bought(1, price=6_300)}, "RISK_WASH_PATTERN"),
    ({"intent": TAKE | {"opposite": -1}, "position": bought(1, price=6_301)}, "RISK_NO_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": -1, "passive_only": 1}, "position": bought(1)}, "RISK_NO_SELF_TRADE"),
    ({"intent": TAKE | {"opposite": -1, "price": 6_300}, "position": bought(1)}, "RISK_NO_SELF_TRADE"),
    (
        {"intent": TAKE | {"opposite": -1, "price": 6_300, "order_type": OrderType.FAK}, "position": bought(1)},
        "RISK_WASH_PATTERN",
    ),
    # to buy NO at 0.38 is to sell YES at 0.62
    (
        {"intent": {"outcome": 1, "price": 3_800, "size": 9 * M, "opposite": -1}, "position": bought(1)},
        "RISK_WASH_PATTERN",
    ),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_at_its_limit(given_, code):
    assert vote(**given_)[0] == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(sw.SPEC.reason_codes)


def test_an_order_gets_what_stands_before_our_own_at_a_price_below_it():
    assert [vote()[1][k] for k in ("verdict", "max_size", "max_price", "min_price")] == ["RESHAPE", 300 * M, 6_300, -1]
    no = {"side": 1, "outcome": 1, "price": 3_500, "size": 500 * M, "opposite": 3_600}
    assert [vote(intent=no)[1][k] for k in ("max_size", "max_price", "min_price")] == [300 * M, -1, 3_700]


@pytest.mark.parametrize(("tick", "grid"), [(100, 100), (100, 10), (100, 1)])
def test_levels_are_counted_in_ticks_and_not_in_cells_of_the_grid(tick, grid):
    asks = [(6_300 + k * tick, 10 * M) for k in range(20)]
    intent = {"price": 9_900, "size": 999 * M, "opposite": 6_300 + 19 * tick}
    params = sw.SPEC.kernel_params({"overlap_levels": 6})
    assert vote(params, intent, bids=[("0.62", "9")], asks=asks, tick=tick, grid=grid)[1]["max_size"] == 60 * M


def test_without_downsizing_every_overlap_is_a_refusal():
    assert vote(sw.SPEC.kernel_params({"downsize": "false"}))[0] == "RISK_SELF_TRADE"


def test_a_limit_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        sw.SPEC.kernel_params({"overlap_levels": 51})
    assert sw.SPEC.check() == []
    assert sw.SPEC.check({"wash_window_s": 1}) == ["wash_window_s"]


# ---------------------------------------------------------------------------------------------- properties


def draw(seed: int) -> dict:
    """A case in which, more often than not, the order would walk the book up to one of our own."""
    r = random.Random(seed)
    case = rc.draw_case(r, sound=r.random() < 0.8)
    bids, asks, intent, tick = case["bids"], case["asks"], case["intent"], case["tick"]
    if bids and asks and r.random() < 0.7:
        buys = intent["side"] == intent["outcome"]
        best = min(p for p, _ in asks) if buys else max(p for p, _ in bids)
        own = best + (1 if buys else -1) * r.randint(0, 5) * tick
        price = own + (1 if buys else -1) * r.randint(-1, 4) * tick
        own, price = (min(max(p, tick), ONE - tick) for p in (own, price))
        if intent["outcome"] == Outcome.NO:
            own, price = ONE - own, ONE - price
        case["intent"] = intent | {"opposite": own, "price": price, "passive_only": r.choice([0, 0, 0, 1])}
    return case


cases = st.integers(0, 2**64 - 1).map(draw)


def after(case, answer):
    """The case with its intent as the step makes it of the vote."""
    intent, changed = case["intent"], {}
    if answer["verdict"] == "RESHAPE":
        changed["size"] = rc.size_after(case, answer)
        if answer["max_price"] >= 0 and intent["side"] == Side.BUY:
            changed["price"] = min(intent["price"], answer["max_price"])
        if answer["min_price"] >= 0 and intent["side"] == Side.SELL:
            changed["price"] = max(intent["price"], answer["min_price"])
    return rc.with_(case, "intent", **changed)


def reaches(intent):
    own = intent["opposite"]
    return own >= 0 and (intent["price"] >= own if intent["side"] == Side.BUY else intent["price"] <= own)


@rc.thousand
@given(cases, rc.permitted(sw.SPEC))
def test_no_order_that_passes_reaches_one_of_our_own_whatever_is_configured(case, params):
    _, answer = rc.judge(BOT, case, params)
    if answer["verdict"] != "REJECT":
        assert not reaches(after(case, answer)["intent"])


@rc.thousand
@given(cases, rc.permitted(sw.SPEC))
def test_a_reshape_never_grows_the_order_and_stays_above_the_minimum(case, params):
    code, answer = rc.judge(BOT, case, params)
    if answer["verdict"] == "RESHAPE":
        assert code == "RISK_SELF_TRADE_DOWNSIZED" and answer["max_size"] % rc.CENT == 0
        assert case["market"]["min_size"] <= rc.size_after(case, answer) <= case["intent"]["size"]
    else:
        assert rc.sets_no_constraint(answer)
    assert rc.writes_only_the_vote(BOT, case, params)


@rc.thousand
@given(cases, rc.permitted(sw.SPEC))
def test_the_reshaped_order_judged_again_is_not_reshaped(case, params):
    _, first = rc.judge(BOT, case, params)
    if first["verdict"] == "RESHAPE":
        assert rc.judge(BOT, after(case, first), params)[0] in ("RISK_NO_SELF_TRADE", "RISK_WASH_PATTERN")


def test_the_cases_above_meet_every_verdict_often():
    verdicts = [rc.judge(BOT, draw(seed), PARAMS)[1]["verdict"] for seed in range(500)]
    assert min(verdicts.count(v) for v in ("APPROVE", "RESHAPE", "REJECT")) > 30


@rc.thousand
@given(cases, rc.permitted(sw.SPEC), st.integers(0, 9 * NS_PER_S), st.integers(0, 500))
def test_a_longer_window_or_a_wider_gap_never_lets_pass_what_was_refused(case, params, longer, wider):
    stricter = params.copy()
    stricter[sw.WASH_WINDOW] += longer
    stricter[sw.WASH_GAP] += wider
    (_, before), (_, then) = rc.judge(BOT, case, params), rc.judge(BOT, case, stricter)
    assert rc.STRICTNESS[then["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(cases, rc.permitted(sw.SPEC))
def test_an_order_and_its_mirror_image_in_the_other_token_get_the_same_vote(case, params):
    def turn(side):
        return [(ONE - price, size) for price, size in case[side]]

    fill = case["position"]
    turned = {"last_fill_price": ONE - fill["last_fill_price"], "last_fill_side": 1 - fill["last_fill_side"]}
    mirror = case | {"bids": turn("asks"), "asks": turn("bids"), "position": fill | turned}
    mirror = rc.with_(mirror, "intent", outcome=1 - case["intent"]["outcome"])
    assert rc.judge(BOT, mirror, params) == rc.judge(BOT, case, params)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
