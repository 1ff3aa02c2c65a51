"""risk.feeandgasguard: no order costs more of its expected gain than it may."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.fees import taker_fee
from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import feeandgasguard as fg
from polytraders.rows import OrderType, Outcome, Side
from polytraders.units import MICRO, ONE

BOT = "risk.feeandgasguard"
M = rc.MICRO
BOOK = {"bids": [("0.49", "400")], "asks": [("0.5", "350")], "age_ms": 200}
TAKE = {"price": 5_000, "size": 100 * M, "fair": 520_000}
GAS = {"gas_per_fill_usd": "0.01"}
REST = {"rest_instead": "true"}


def vote(params=None, rate=30_000, intent=TAKE, market=None, **given_):
    x = probe(**(BOOK | given_), intent=intent, market={"fee_rate": rate, "fee_exponent": 1} | (market or {}))
    return x.judge(fg.decide, fg.SPEC.kernel_params(params))


REASONS = [
    ({"intent": TAKE | {"passive_only": 1}}, "RISK_COSTS_COVERED"),
    ({"rate": 0}, "RISK_COSTS_COVERED"),
    # 100 x 0.03 x 0.25 = 0.75 pUSD; a third of 2.142857 is 0.75
    ({"intent": TAKE | {"fair": 521_429}}, "RISK_COSTS_COVERED"),
    ({"intent": TAKE | {"fair": 521_428}}, "RISK_COSTS_NEAR_EDGE"),
    ({"intent": TAKE | {"fair": 515_000}}, "RISK_COSTS_NEAR_EDGE"),
    ({"intent": TAKE | {"fair": 514_999}}, "RISK_FEE_GAS_HEADROOM"),
    ({"intent": TAKE | {"fair": 0}}, "RISK_FEE_GAS_HEADROOM"),
    ({"intent": TAKE | {"fair": 480_000}}, "RISK_FEE_GAS_HEADROOM"),
    ({"intent": TAKE | {"fair": 480_000, "side": 1}}, "RISK_COSTS_NEAR_EDGE"),
    ({"rate": 40_000}, "RISK_COSTS_NEAR_EDGE"),  # one cent a share: 1 of 2 pUSD
    ({"rate": 40_040}, "RISK_FEE_RATE_HIGH"),  # 1.001 cents
    ({"params": REST, "rate": 70_000}, "RISK_REST_FOR_FEES"),
    ({"params": REST, "intent": TAKE | {"fair": 510_000}}, "RISK_REST_FOR_FEES"),
    ({"params": REST, "rate": 70_000, "intent": TAKE | {"order_type": OrderType.FOK}}, "RISK_FEE_RATE_HIGH"),
    ({"params": REST, "rate": 70_000, "asks": []}, "RISK_FEE_RATE_HIGH"),
    ({"params": REST | GAS, "intent": TAKE | {"fair": 510_000}}, "RISK_FEE_GAS_HEADROOM"),
    ({"params": GAS, "account": {"fills": 999}, "rate": 0}, "RISK_COSTS_COVERED"),
    ({"params": GAS, "account": {"fills": 1_000}, "rate": 0}, "RISK_GAS_BUDGET_SPENT"),
    ({"account": {"fills": 10**9}, "rate": 0}, "RISK_COSTS_COVERED"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_at_its_limit(given_, code):
    got, answer = vote(**given_)
    assert got == code
    verdict = {"RISK_REST_FOR_FEES": "RESHAPE", "RISK_COSTS_COVERED": "APPROVE", "RISK_COSTS_NEAR_EDGE": "APPROVE"}
    assert answer["verdict"] == verdict.get(code, "REJECT")


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(fg.SPEC.reason_codes)


def test_the_worked_example_by_hand():
    assert [vote(rate=70_000)[1][k] for k in ("observed", "limit")] == [175, 100]  # 0.07 x 0.25 = 1.75 cents
    assert [vote()[1][k] for k in ("observed", "limit")] == [750_000, 1_000_000]


def test_a_sale_of_what_is_held_is_never_too_dear():
    sale = TAKE | {"side": 1}
    assert vote(GAS, 700_000, sale, position={"yes": 100 * M}, account={"fills": 10**6})[0] == "RISK_COSTS_COVERED"
    assert vote(None, 700_000, sale, position={"yes": 100 * M - 1})[0] == "RISK_FEE_RATE_HIGH"
    assert vote(None, 700_000, sale | {"outcome": 1}, position={"yes": 100 * M})[0] == "RISK_FEE_RATE_HIGH"


def test_an_order_that_rests_instead_stands_one_tick_before_the_other_side():
    assert [vote(REST, 70_000)[1][k] for k in ("passive_only", "max_price", "min_price")] == [1, 4_900, -1]
    sale = TAKE | {"side": 1, "price": 4_900, "fair": 480_000}
    assert [vote(REST, 70_000, sale)[1][k] for k in ("passive_only", "max_price", "min_price")] == [1, -1, 5_000]


def test_a_limit_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        fg.SPEC.kernel_params({"max_fee_to_edge_ratio": "1.01"})
    assert fg.SPEC.check() == []
    assert fg.SPEC.check({"max_fee_bps": 151}) == ["max_fee_bps"]


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(rc.cases(), rc.permitted(fg.SPEC), st.integers(0, 300_000), st.integers(0, 10**6), st.integers(0, 30_000))
def test_a_higher_rate_more_gas_and_a_worse_fair_price_never_get_a_kinder_verdict(case, params, rate, gas, worse):
    params[fg.REST_INSTEAD] = 0
    intent = case["intent"]
    lower = max(intent["fair"] - worse, 0) if intent["side"] == Side.BUY else intent["fair"] and intent["fair"] + worse
    dearer = rc.with_(rc.with_(case, "market", fee_rate=case["market"]["fee_rate"] + rate), "intent", fair=lower)
    stricter = params.copy()
    stricter[fg.GAS] += gas
    (_, before), (_, after) = rc.judge(BOT, case, params), rc.judge(BOT, dearer, stricter)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), rc.permitted(fg.SPEC))
def test_a_taker_that_passes_pays_at_most_its_gain_and_two_and_a_half_cents_a_share(case, params):
    i, m, held = case["intent"], case["market"], case["position"]
    _, answer = rc.judge(BOT, case, params)
    reduces = i["side"] == Side.SELL and i["size"] <= held["yes" if i["outcome"] == Outcome.YES else "no"]
    if answer["verdict"] == "APPROVE" and not reduces and not i["passive_only"]:
        fee = taker_fee(i["size"], i["price"], m["fee_rate"], m["fee_exponent"])
        edge = (i["fair"] - 100 * i["price"]) * (1 if i["side"] == Side.BUY else -1)
        assert fee == 0 or (i["fair"] > 0 and fee * 10**6 <= i["size"] * edge)
        assert taker_fee(MICRO, i["price"], m["fee_rate"], m["fee_exponent"]) <= 25_000


@rc.thousand
@given(rc.cases(), rc.permitted(fg.SPEC))
def test_an_order_turned_into_a_resting_one_is_approved_unchanged(case, params):
    params[fg.REST_INSTEAD], params[fg.GAS] = 1, 0
    code, answer = rc.judge(BOT, case, params)
    if answer["verdict"] == "RESHAPE":
        assert code == "RISK_REST_FOR_FEES" and answer["passive_only"] == 1 and answer["max_size"] == -1
        again = rc.with_(case, "intent", passive_only=1)
        assert rc.judge(BOT, again, params)[0] == "RISK_COSTS_COVERED"
        best = max(p for p, _ in case["bids"]), min(p for p, _ in case["asks"])
        price = answer["max_price"] if case["intent"]["side"] == Side.BUY else answer["min_price"]
        yes = price if case["intent"]["outcome"] == Outcome.YES else ONE - price
        assert best[0] < yes + case["tick"] and yes - case["tick"] < best[1]  # never beyond the other side
    else:
        assert rc.sets_no_constraint(answer)


@rc.thousand
@given(rc.cases(), rc.permitted(fg.SPEC))
def test_an_order_and_its_mirror_image_in_the_other_token_get_the_same_vote(case, params):
    def turn(side):
        return [(ONE - price, size) for price, size in case[side]]

    held = case["position"]
    mirror = case | {
        "bids": turn("asks"),
        "asks": turn("bids"),
        "position": held | {"yes": held["no"], "no": held["yes"]},
    }
    mirror = rc.with_(mirror, "intent", outcome=1 - case["intent"]["outcome"])
    assert rc.judge(BOT, mirror, params) == rc.judge(BOT, case, params)


@rc.thousand
@given(rc.cases(), rc.permitted(fg.SPEC))
def test_asked_twice_it_says_the_same_and_writes_only_the_vote(case, params):
    assert rc.judge(BOT, case, params) == rc.judge(BOT, case, params)
    assert rc.writes_only_the_vote(BOT, case, params)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
