"""risk.liquidityguard: no order is larger than the book can bear, and no book is trusted that is wide, thin or half."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import assume, given
from hypothesis import strategies as st

from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import liquidityguard as lg
from polytraders.rows import OrderType, Outcome, Side
from polytraders.units import ONE

BOT = "risk.liquidityguard"
PARAMS = lg.SPEC.kernel_params()
M = rc.MICRO
BOOK = {
    "bids": [("0.62", "400"), ("0.61", "250"), ("0.6", "150")],
    "asks": [("0.63", "350"), ("0.64", "200"), ("0.66", "500")],
    "age_ms": 200,
}
REST = {"price": 6_200, "size": 20 * M, "passive_only": 1}


def vote(params=PARAMS, intent=REST, **given_):
    return probe(**(BOOK | given_), intent=intent).judge(lg.decide, params)


def test_a_taker_gets_a_quarter_of_what_is_visible_up_to_its_price():
    asks = [("0.63", "300")] + [(f"0.{cents}", "100") for cents in range(64, 72)]
    code, answer = vote(asks=asks, intent={"price": 7_000, "size": 800 * M})
    assert (code, answer["verdict"], answer["max_size"]) == ("RISK_LIQUIDITY_RESHAPED", "RESHAPE", 250 * M)


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        ({}, "RISK_LIQUIDITY_OK"),
        ({"intent": REST | {"size": 400 * M}}, "RISK_LIQUIDITY_OK"),
        ({"intent": REST | {"size": 400 * M + 1}}, "RISK_LIQUIDITY_RESHAPED"),
        ({"bids": [("0.62", "9.99")], "intent": REST | {"size": 5 * M}}, "RISK_LIQUIDITY_INSUFFICIENT"),
        ({"intent": REST | {"passive_only": 0, "order_type": OrderType.FOK}}, "RISK_LIQUIDITY_INSUFFICIENT"),
        ({"asks": [("0.68", "350")]}, "RISK_LIQUIDITY_OK"),
        ({"asks": [("0.69", "350")]}, "RISK_SPREAD_WIDE"),
        ({"bids": [("0.62", "1.6"), ("0.61", "900")]}, "RISK_TOP_OF_BOOK_THIN"),
        ({"bids": [("0.62", "1.62"), ("0.61", "900")]}, "RISK_LIQUIDITY_OK"),
        ({"asks": [("0.63", "2.7"), ("0.64", "900")]}, "RISK_TOP_OF_BOOK_THIN"),
        ({"asks": []}, "RISK_NO_MARKET_DATA"),
        ({"bids": []}, "RISK_NO_MARKET_DATA"),
        ({"bids": [], "asks": []}, "RISK_NO_MARKET_DATA"),
        ({"bids": [("0.64", "400")]}, "RISK_NO_MARKET_DATA"),
        ({"market": {"feed_up": 0}}, "RISK_NO_MARKET_DATA"),
        ({"market": {"book_ts": 0}}, "RISK_NO_MARKET_DATA"),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code):
    assert vote(**given_)[0] == code


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code in marks} == set(lg.SPEC.reason_codes)


def test_a_sale_of_what_is_held_finds_its_way_out_of_any_book():
    held = {"yes": 50 * M, "yes_cost": 31 * M}
    sale = {"side": Side.SELL, "price": 100, "size": 50 * M}
    for book in ({"bids": [], "asks": []}, {"asks": []}, {"bids": [("0.02", "1")]}):
        assert vote(**book, intent=sale, position=held)[0] == "RISK_LIQUIDITY_OK"
    assert vote(asks=[], intent=sale | {"size": 50 * M + 1}, position=held)[0] == "RISK_NO_MARKET_DATA"
    assert vote(asks=[], intent=sale | {"outcome": Outcome.NO}, position=held)[0] == "RISK_NO_MARKET_DATA"


@pytest.mark.parametrize(("tick", "grid"), [(100, 100), (100, 10), (100, 1), (10, 10)])
def test_ticks_are_counted_and_not_cells_of_the_grid(tick, grid):
    bids = [(6_200 - k * tick, 100 * M) for k in range(8)]
    code, answer = vote(bids=bids, asks=[(6_300, 100 * M)], tick=tick, grid=grid, intent=REST | {"size": 999 * M})
    assert (code, answer["max_size"]) == ("RISK_LIQUIDITY_RESHAPED", 250 * M)  # half of five levels of 100


def test_a_ten_pusd_maker_may_quote_where_a_few_hundred_shares_rest():
    # 10 pUSD are 20 shares at 0.50 and 100 shares at 0.10
    assert vote(bids=[("0.5", "60")], asks=[("0.51", "60")], intent=REST | {"price": 5_000})[0] == "RISK_LIQUIDITY_OK"
    deep = {"bids": [("0.1", "120"), ("0.09", "200")], "asks": [("0.13", "150")]}
    assert vote(**deep, intent=REST | {"price": 1_000, "size": 100 * M})[0] == "RISK_LIQUIDITY_OK"


def test_a_share_beyond_hard_does_not_start():
    for values in ({"max_depth_share": "1.01"}, {"min_top_of_book_usd": "0.09"}, {"max_spread_multiple": 11}):
        with pytest.raises(ConfigError, match="hard"):
            lg.SPEC.kernel_params(values)


@rc.thousand
@given(rc.cases(sound=True), rc.permitted(lg.SPEC))
def test_a_reshape_never_grows_the_order_and_stays_above_the_minimum(case, params):
    code, answer = rc.judge(BOT, case, params)
    if answer["verdict"] == "RESHAPE":
        assert case["market"]["min_size"] <= answer["max_size"] < case["intent"]["size"]
        assert answer["max_size"] % rc.CENT == 0 and code == "RISK_LIQUIDITY_RESHAPED"
    else:
        assert rc.sets_no_constraint(answer)
    assert rc.writes_only_the_vote(BOT, case, params)


@rc.thousand
@given(rc.cases(), rc.permitted(lg.SPEC), st.integers(0, 10**11))
def test_a_larger_order_is_never_treated_more_kindly(case, params, more):
    larger = rc.with_(case, "intent", size=case["intent"]["size"] + more)
    _, small = rc.judge(BOT, case, params)
    _, large = rc.judge(BOT, larger, params)
    assert rc.STRICTNESS[large["verdict"]] >= rc.STRICTNESS[small["verdict"]]
    if small["verdict"] == "RESHAPE" == large["verdict"]:
        assert small["max_size"] == large["max_size"]


@rc.thousand
@given(rc.cases(sound=True), rc.permitted(lg.SPEC), st.integers(0, 10**11))
def test_a_deeper_book_never_leaves_less(case, params, more):
    deeper = case | {side: [(price, size + more) for price, size in case[side]] for side in ("bids", "asks")}
    assert rc.size_after(deeper, rc.judge(BOT, deeper, params)[1]) >= rc.size_after(
        case, rc.judge(BOT, case, params)[1]
    )


@rc.thousand
@given(rc.cases(sound=True), rc.permitted(lg.SPEC))
def test_the_reshaped_order_judged_again_is_approved_unchanged(case, params):
    _, first = rc.judge(BOT, case, params)
    assume(first["verdict"] != "REJECT")
    code, second = rc.judge(BOT, rc.with_(case, "intent", size=rc.size_after(case, first)), params)
    assert (code, second["verdict"]) == ("RISK_LIQUIDITY_OK", "APPROVE")


@rc.thousand
@given(rc.cases(sound=True), rc.permitted(lg.SPEC))
def test_what_may_be_taken_is_at_most_what_is_visible_whatever_is_configured(case, params):
    intent, held = case["intent"], case["position"]
    assume(intent["side"] == Side.BUY or intent["size"] > held["yes" if intent["outcome"] == Outcome.YES else "no"])
    left = rc.size_after(case, rc.judge(BOT, case, params)[1])
    assume(left > 0)
    price = intent["price"] if intent["outcome"] == Outcome.YES else ONE - intent["price"]
    on_bids = (intent["side"] == Side.BUY) == (intent["outcome"] == Outcome.YES)
    best_bid, best_ask = max(p for p, _ in case["bids"]), min(p for p, _ in case["asks"])
    assert best_ask - best_bid <= 10 * 1_000  # ten times the widest reference
    if on_bids:
        meets, side = price >= best_ask, sum(size for p, size in case["asks"] if p <= price)
    else:
        meets, side = price <= best_bid, sum(size for p, size in case["bids"] if p >= price)
    if meets and not intent["passive_only"]:
        assert left <= side
    elif intent["order_type"] < OrderType.FOK:
        assert left <= 2 * sum(size for _, size in case["bids" if on_bids else "asks"])


@rc.thousand
@given(rc.cases(), rc.permitted(lg.SPEC))
def test_an_order_and_its_mirror_image_get_the_same_vote(case, params):
    def turn(side):
        return [(ONE - price, size) for price, size in case[side]]

    held, intent = case["position"], case["intent"]
    swapped = {"yes": held["no"], "no": held["yes"], "yes_cost": held["no_cost"], "no_cost": held["yes_cost"]}
    mirror = case | {"bids": turn("asks"), "asks": turn("bids"), "position": held | swapped}
    mirror = rc.with_(mirror, "intent", outcome=1 - intent["outcome"])
    assert rc.judge(BOT, mirror, params) == rc.judge(BOT, case, params)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
