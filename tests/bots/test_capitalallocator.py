"""risk.capitalallocator: no market, event or strategy ties up more of the capital than its budget."""

from __future__ import annotations

import random

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import capitalallocator as ca
from polytraders.rows import Side

BOT = "risk.capitalallocator"
M = rc.MICRO
BUY = {"price": 5_000, "size": 40 * M}


def vote(equity=1_000, used=0, here=0, cluster=0, params=None, intent=BUY, position=None, account=None):
    """(code, vote); equity, used (the whole account), here and cluster in pUSD."""
    x = probe(
        intent=intent | {"cluster": cluster * M},
        position={"yes_cost": here * M} | (position or {}),
        account={"equity": equity * M, "cost": used * M} | (account or {}),
    )
    return x.judge(ca.decide, ca.SPEC.kernel_params(params))


REASONS = [
    ({}, "RISK_WITHIN_LIMITS"),
    ({"equity": 20_000, "used": 1_580}, "RISK_WITHIN_LIMITS"),
    ({"equity": 20_000, "used": 1_581}, "RISK_STRATEGY_CAP_NEAR"),
    ({"equity": 20_000, "used": 1_980}, "RISK_STRATEGY_CAP_NEAR"),
    ({"equity": 20_000, "used": 1_981}, "RISK_STRATEGY_BUDGET_EXCEEDED"),
    ({"equity": 20_000, "used": 1_998}, "RISK_STRATEGY_BUDGET_SPENT"),
    ({"used": 31, "here": 31}, "RISK_MARKET_RESHAPED"),
    ({"used": 48, "here": 48}, "RISK_MARKET_LIMIT"),
    ({"used": 81, "cluster": 81}, "RISK_CLUSTER_RESHAPED"),
    ({"used": 98, "cluster": 98}, "RISK_CLUSTER_LIMIT"),
    ({"used": 931}, "RISK_PORTFOLIO_RESHAPED"),
    ({"used": 948}, "RISK_PORTFOLIO_LIMIT"),
    ({"used": 949, "intent": BUY | {"side": 1}}, "RISK_WITHIN_LIMITS"),
    ({"equity": 0}, "RISK_PORTFOLIO_LIMIT"),
    ({"account": {"switch": 1}}, "RISK_KILL_SWITCH_ACTIVE"),
    ({"account": {"halted": 4_003}, "intent": BUY | {"side": 1}}, "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_at_its_limit(given_, code):
    assert vote(**given_)[0] == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(ca.SPEC.reason_codes)


def test_the_worked_example_by_hand():
    # 92 of 100 used in the event, 8 left, 16 shares at 0.50
    code, answer = vote(used=92, cluster=92)
    assert (code, answer["max_size"]) == ("RISK_CLUSTER_RESHAPED", 16 * M)
    assert (answer["observed"], answer["limit"]) == (112 * M, 100 * M)


def test_a_quote_that_replaces_itself_is_not_counted_twice():
    rest = {"position": {"buy_reserved": 20 * M}, "account": {"reserved": 20 * M}, "used": 30, "here": 30}
    assert vote(**rest)[0] == "RISK_MARKET_LIMIT"
    assert vote(**rest, intent=BUY | {"replaces": 20 * M})[0] == "RISK_WITHIN_LIMITS"


def test_the_equity_is_the_total_when_it_is_less_than_the_configured_one():
    assert vote(equity=100, used=0)[1]["max_size"] == 10 * M  # 5 % of 100 are 5 pUSD
    assert vote(equity=10**6, params={"portfolio_total_max_usd": 100})[1]["max_size"] == 10 * M


def test_a_limit_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        ca.SPEC.kernel_params({"market_share_pct": 101})
    assert ca.SPEC.check() == []
    assert ca.SPEC.check({"min_remaining_buffer_pct": 1}) == ["min_remaining_buffer_pct"]


# ---------------------------------------------------------------------------------------------- properties


@rc.thousand
@given(rc.cases(), rc.permitted(ca.SPEC))
def test_a_reshape_never_grows_the_order_and_stays_above_the_minimum(case, params):
    code, answer = rc.judge(BOT, case, params)
    if answer["verdict"] == "RESHAPE":
        assert case["market"]["min_size"] <= answer["max_size"] < case["intent"]["size"]
        assert (answer["max_size"] % rc.CENT == 0 and "RESHAPED" in code) or code == "RISK_STRATEGY_BUDGET_EXCEEDED"
    else:
        assert rc.sets_no_constraint(answer)
    assert rc.writes_only_the_vote(BOT, case, params)


@rc.thousand
@given(rc.cases(), rc.permitted(ca.SPEC), *(st.integers(0, 10**9) for _ in range(4)))
def test_a_larger_order_more_in_use_and_less_equity_are_never_treated_more_kindly(
    case, params, size, used, event, lost
):
    account = {"cost": case["account"]["cost"] + used, "equity": case["account"]["equity"] - lost}
    intent = {"size": case["intent"]["size"] + size, "cluster": case["intent"]["cluster"] + event}
    tighter = rc.with_(rc.with_(case, "account", **account), "intent", **intent)
    (_, before), (_, after) = rc.judge(BOT, case, params), rc.judge(BOT, tighter, params)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]
    if before["verdict"] == "RESHAPE" == after["verdict"]:
        assert after["max_size"] <= before["max_size"]


@rc.thousand
@given(rc.cases(), rc.permitted(ca.SPEC))
def test_the_reshaped_order_judged_again_is_approved_unchanged(case, params):
    _, first = rc.judge(BOT, case, params)
    if first["verdict"] == "RESHAPE":
        _, second = rc.judge(BOT, rc.with_(case, "intent", size=first["max_size"]), params)
        assert second["verdict"] == "APPROVE"


@rc.thousand
@given(rc.cases(), rc.permitted(ca.SPEC))
def test_what_is_used_with_the_order_is_at_most_the_equity_and_every_budget(case, params):
    i, a, h = case["intent"], case["account"], case["position"]
    left = rc.size_after(case, rc.judge(BOT, case, params)[1])
    if i["side"] == Side.BUY and left > 0:
        spent = -(-i["price"] * left // 10_000)
        used = a["cost"] + a["reserved"] - i["replaces"] + spent
        here = h["yes_cost"] + h["no_cost"] + h["buy_reserved"] - i["replaces"] + spent
        assert used <= a["equity"] and used <= params[ca.PER_STRATEGY] and used <= params[ca.TOTAL]
        total = min(a["equity"], int(params[ca.TOTAL]))
        assert here * 10**6 <= total * int(params[ca.MARKET_SHARE])
        assert (here + i["cluster"]) * 10**6 <= total * int(params[ca.CLUSTER_SHARE])
        assert (total - used) * 10**6 >= total * int(params[ca.BUFFER]) - 10**6


def test_the_cases_above_meet_every_verdict_often():

    drawn = (rc.draw_case(random.Random(seed)) for seed in range(800))
    verdicts = [rc.judge(BOT, case, ca.SPEC.kernel_params())[1]["verdict"] for case in drawn]
    assert min(verdicts.count(v) for v in ("APPROVE", "RESHAPE", "REJECT")) > 20


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
