"""risk.portfolioguard: position, market and account never hold more than their limits, and nobody is locked in."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import assume, given
from hypothesis import strategies as st

from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import portfolioguard as pg
from polytraders.rows import Side
from polytraders.units import ONE

BOT = "risk.portfolioguard"
PARAMS = pg.SPEC.kernel_params()
M = rc.MICRO
BUY = {"price": 6_200, "size": 16 * M, "passive_only": 1}
THOUSAND = {"equity": 1_000 * M}


def vote(params=PARAMS, intent=BUY, **given_):
    return probe(intent=intent, **given_).judge(pg.decide, params)


def yes(cost: int) -> dict[str, int]:
    return {"yes": cost * M * ONE // 6_200, "yes_cost": cost * M}


def test_fourteen_thousand_are_cut_to_the_twelve_that_are_left_of_fifty():
    params = pg.SPEC.kernel_params({"max_market_pusd": 20_000})
    rich = {"equity": 1_000_000 * M, "cost": 30_000 * M, "reserved": 8_000 * M}
    want = {"price": 5_000, "size": 28_000 * M}
    code, answer = vote(params, want, account=rich)
    assert (code, answer["verdict"]) == ("RISK_PORTFOLIO_RESHAPED", "RESHAPE")
    assert answer["max_size"] * want["price"] // ONE == 12_000 * M
    assert (answer["observed"], answer["limit"]) == (52_000 * M, 50_000 * M)
    code, answer = vote(params, want | {"size": answer["max_size"]}, account=rich)
    assert (code, answer["verdict"]) == ("RISK_STRATEGY_CAP_NEAR", "APPROVE")


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        ({}, "RISK_WITHIN_LIMITS"),
        ({"position": yes(6)}, "RISK_WITHIN_LIMITS"),  # 6 + 9.92 = 15.92 of 20
        ({"position": yes(7)}, "RISK_STRATEGY_CAP_NEAR"),  # 16.92
        ({"position": yes(11)}, "RISK_MARKET_RESHAPED"),  # 9 left: 14.51 shares
        ({"position": yes(17)}, "RISK_MARKET_LIMIT"),  # 3 left: 4.83 shares
        ({"account": {"cost": 185 * M}}, "RISK_STRATEGY_CAP_NEAR"),
        ({"account": {"cost": 195 * M}}, "RISK_PORTFOLIO_RESHAPED"),  # 5 of 200 left: 8.06 shares
        ({"account": {"cost": 100 * M, "reserved": 98 * M}}, "RISK_PORTFOLIO_LIMIT"),  # 2 left: 3.22 shares
        ({"account": {"room": -1}}, "RISK_PORTFOLIO_UNKNOWN"),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code):
    given_ = given_ | {"account": THOUSAND | given_.get("account", {})}
    got, answer = vote(**given_)
    assert got == code
    verdicts = {"RESHAPED": "RESHAPE", "LIMIT": "REJECT", "UNKNOWN": "REJECT"}
    assert answer["verdict"] == verdicts.get(code.rpartition("_")[2], "APPROVE")


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code in marks} == set(pg.SPEC.reason_codes)


def test_the_room_of_a_position_is_computed_by_hand():
    _, answer = vote(position=yes(11), account=THOUSAND)
    assert answer["max_size"] == 14_510_000  # floor(9 / 0.62 = 14.516...) in hundredths
    assert (answer["observed"], answer["limit"]) == (20_920_000, 20 * M)


def test_resting_orders_of_the_same_token_count_and_the_replaced_one_does_not():
    resting = {"yes_buying": 15 * M, "no_buying": 18 * M, "buy_reserved": 33 * M}
    code, answer = vote(position=resting, account=THOUSAND)
    assert (code, answer["max_size"], answer["observed"]) == ("RISK_MARKET_RESHAPED", 8_060_000, 24_920_000)  # 5 / 0.62
    code, answer = vote(position=resting, account=THOUSAND, intent=BUY | {"outcome": 1})
    assert (code, answer["verdict"]) == ("RISK_MARKET_LIMIT", "REJECT")  # 2 / 0.62 = 3.22 shares
    for replaced in (15 * M, 10 * M):
        assert vote(position=resting, account=THOUSAND, intent=BUY | {"replaces": replaced})[1]["verdict"] == "APPROVE"


def test_resting_orders_of_all_markets_count_for_the_account_and_the_replaced_one_does_not():
    small = pg.SPEC.kernel_params({"max_exposure_pct": 5, "max_position_pct": 10})
    account = THOUSAND | {"cost": 20 * M, "reserved": 25 * M}
    code, answer = vote(small, account=account)
    assert (code, answer["limit"], answer["max_size"]) == ("RISK_PORTFOLIO_RESHAPED", 50 * M, 8_060_000)
    held = {"yes_buying": 8 * M, "buy_reserved": 8 * M}
    assert vote(small, BUY | {"replaces": 8 * M}, account=account, position=held)[1]["verdict"] == "APPROVE"


def test_an_order_that_stands_at_the_limit_is_approved_again_and_again():
    full = {"yes_buying": 9_920_000, "buy_reserved": 9_920_000}
    tight = pg.SPEC.kernel_params({"max_exposure_pct": 1})
    account = {"equity": 992_000_000, "reserved": 9_920_000}
    for _ in range(3):
        assert vote(tight, BUY | {"replaces": 9_920_000}, position=full, account=account)[1]["verdict"] == "APPROVE"


def test_complete_sets_are_never_blocked_and_what_exceeds_them_is():
    full = {"yes": 50 * M, "yes_cost": 31 * M}
    for equity in (1_000 * M, 0, -5 * M):
        want = {"outcome": 1, "price": 3_700, "size": 50 * M}
        assert vote(intent=want, position=full, account={"equity": equity})[1]["verdict"] == "APPROVE"
    code, answer = vote(intent={"outcome": 1, "price": 3_700, "size": 200 * M}, position=full, account=THOUSAND)
    assert (code, answer["max_size"]) == ("RISK_MARKET_RESHAPED", 105_400_000)  # (20 - 31 + 50) / 0.37 = 105.405
    assert vote(position=full, account=THOUSAND)[0] == "RISK_MARKET_LIMIT"


def test_a_sale_passes_whatever_is_used():
    sale = {"side": Side.SELL, "price": 6_300, "size": 50 * M}
    for account in (THOUSAND | {"cost": 10_000 * M}, {"equity": -1}, {"equity": 0}):
        code, answer = vote(intent=sale, position=yes(31), account=account)
        assert (code, answer["verdict"]) == ("RISK_WITHIN_LIMITS", "APPROVE")


def test_what_other_runs_leave_is_a_limit_too():
    code, answer = vote(account=THOUSAND | {"room": 5 * M + 1})
    assert (code, answer["max_size"], answer["limit"]) == ("RISK_PORTFOLIO_RESHAPED", 8_060_000, 5 * M)
    code, answer = vote(account=THOUSAND | {"room": 500 * M + 1}, position={"room": 5 * M + 1})
    assert (code, answer["max_size"], answer["limit"]) == ("RISK_MARKET_RESHAPED", 8_060_000, 5 * M)
    assert vote(account=THOUSAND | {"room": 1})[0] == "RISK_PORTFOLIO_LIMIT", "nothing is left"
    assert vote(account=THOUSAND | {"room": 500 * M + 1}, position={"room": 1})[0] == "RISK_MARKET_LIMIT"
    plenty = vote(account=THOUSAND | {"room": 500 * M + 1}, position={"room": 500 * M + 1})
    assert plenty == vote(account=THOUSAND), "and never loosens one"
    assert vote(position={"room": 1}, account=THOUSAND) == vote(account=THOUSAND), "nobody shares: it is not read"


def test_while_other_runs_are_not_known_only_sales_and_hedges_pass():
    silent, full = THOUSAND | {"room": -1}, {"yes": 50 * M, "yes_cost": 31 * M}
    assert vote(account=silent)[1]["verdict"] == "REJECT"
    sale = {"side": Side.SELL, "price": 6_300, "size": 50 * M}
    assert vote(intent=sale, position=full, account=silent)[1]["verdict"] == "APPROVE"
    hedge = {"outcome": 1, "price": 3_700, "size": 50 * M}
    assert vote(intent=hedge, position=full, account=silent)[1]["verdict"] == "APPROVE"
    assert vote(intent=hedge | {"size": 51 * M}, position=full, account=silent)[0] == "RISK_PORTFOLIO_UNKNOWN"


def test_without_equity_nothing_that_adds_passes():
    for equity in (0, -1, -(10**12)):
        assert vote(account={"equity": equity})[1]["verdict"] == "REJECT"


def test_a_price_of_zero_is_judged_at_one_pip():
    code, answer = vote(intent={"price": 0, "size": 10**12}, account=THOUSAND)
    assert (code, answer["max_size"]) == ("RISK_MARKET_RESHAPED", 20 * M // 1 * rc.CENT)


def test_a_limit_beyond_hard_does_not_start():
    for values in ({"max_position_pct": 11}, {"max_exposure_pct": 51}, {"max_market_pusd": 25_001}):
        with pytest.raises(ConfigError, match="hard"):
            pg.SPEC.kernel_params(values)


@st.composite
def resting_cases(draw):
    """Cases whose open purchases are split over the tokens, a part of the own token's being replaced."""
    case, quarter, part = draw(rc.cases()), draw(st.integers(0, 4)), draw(st.integers(0, 4))
    reserved = case["position"]["buy_reserved"]
    yes_buying = reserved * quarter // 4
    own = yes_buying if case["intent"]["outcome"] == 0 else reserved - yes_buying
    case = rc.with_(case, "position", yes_buying=yes_buying, no_buying=reserved - yes_buying)
    return rc.with_(case, "intent", replaces=own * part // 4)


def resting(case):
    """Money behind open purchases of the order's own token, without the one it replaces."""
    own = "yes" if case["intent"]["outcome"] == 0 else "no"
    return case["position"][own + "_buying"] - case["intent"]["replaces"]


def loss(case, size=0):
    """What the worst combination of outcome and fills costs with `size` of the order filled, in exact arithmetic.

    An open purchase adds its cost; what it would pay is at least nothing, so in the worst case those of the winning
    token are not filled and those of the losing one are.
    """
    held, intent = case["position"], case["intent"]
    own = "yes" if intent["outcome"] == 0 else "no"
    shares = {"yes": held["yes"], "no": held["no"]}
    shares[own] += size
    paid = held["yes_cost"] + held["no_cost"] - (-max(intent["price"], 1) * size // ONE)
    lost = {token: held[token + "_buying"] for token in ("yes", "no")}
    lost[own] -= intent["replaces"]
    return max(paid + lost["yes"] - shares["no"], paid + lost["no"] - shares["yes"])


@rc.thousand
@given(resting_cases(), rc.permitted(pg.SPEC))
def test_a_reshape_never_grows_the_order_and_stays_above_the_minimum(case, params):
    code, answer = rc.judge(BOT, case, params)
    if answer["verdict"] == "RESHAPE":
        assert case["market"]["min_size"] <= answer["max_size"] < case["intent"]["size"]
        assert answer["max_size"] % rc.CENT == 0 and code.endswith("_RESHAPED")
    else:
        assert rc.sets_no_constraint(answer)
    assert answer["max_price"] == answer["min_price"] == -1
    assert rc.writes_only_the_vote(BOT, case, params)


@rc.thousand
@given(resting_cases(), rc.permitted(pg.SPEC), st.integers(0, 10**11))
def test_a_larger_order_is_never_treated_more_kindly(case, params, more):
    _, small = rc.judge(BOT, case, params)
    _, large = rc.judge(BOT, rc.with_(case, "intent", size=case["intent"]["size"] + more), params)
    assert rc.STRICTNESS[large["verdict"]] >= rc.STRICTNESS[small["verdict"]]
    if small["verdict"] == "RESHAPE" == large["verdict"]:
        assert small["max_size"] == large["max_size"]


@rc.thousand
@given(
    resting_cases(),
    rc.permitted(pg.SPEC),
    st.integers(0, 10**11),
    st.sampled_from(("equity", "cost", "reserved", "yes_buying", "no_buying")),
)
def test_more_at_risk_or_less_to_lose_never_leaves_more(case, params, more, field):
    part = "position" if field.endswith("buying") else "account"
    worse = rc.with_(case, part, **{field: case[part][field] + (-more if field == "equity" else more)})
    left = [rc.size_after(c, rc.judge(BOT, c, params)[1]) for c in (case, worse)]
    assert left[1] <= left[0]


@rc.thousand
@given(resting_cases(), rc.permitted(pg.SPEC))
def test_the_reshaped_order_judged_again_is_approved_unchanged(case, params):
    _, first = rc.judge(BOT, case, params)
    assume(first["verdict"] != "REJECT")
    _, second = rc.judge(BOT, rc.with_(case, "intent", size=rc.size_after(case, first)), params)
    assert second["verdict"] == "APPROVE"


@rc.thousand
@given(resting_cases(), rc.permitted(pg.SPEC))
def test_the_loss_with_the_order_is_within_hard_or_no_more_than_without_it(case, params):
    assume(case["intent"]["side"] == Side.BUY)
    _, answer = rc.judge(BOT, case, params)
    size = rc.size_after(case, answer)
    equity = case["account"]["equity"]
    assert loss(case, size) <= max(equity * 10 // 100, loss(case)) or size == 0


@rc.thousand
@given(resting_cases())
def test_every_limit_holds_with_the_order_or_the_order_is_a_hedge(case):
    assume(case["intent"]["side"] == Side.BUY)
    size = rc.size_after(case, rc.judge(BOT, case, PARAMS)[1])
    held, account, intent = case["position"], case["account"], case["intent"]
    own, other = ("yes", "no") if intent["outcome"] == 0 else ("no", "yes")
    assume(size > (max(held[other] - held[own], 0) if resting(case) <= 0 else 0))
    spent = -(-max(intent["price"], 1) * size // ONE)
    assert held["yes_cost"] + held["no_cost"] + resting(case) + spent - held[other] <= min(
        account["equity"] * 2 // 100, 1_000 * M
    )
    tied_up = account["cost"] + account["reserved"] - intent["replaces"] + spent - held[other]
    assert tied_up <= min(account["equity"] * 20 // 100, 50_000 * M)


@rc.thousand
@given(resting_cases(), st.integers(-1, 300 * M), st.integers(0, 30 * M))
def test_room_that_others_leave_is_kept_to_and_less_of_it_is_never_kinder(case, room, here):
    case = rc.with_(case, "intent", side=Side.BUY)
    free = rc.size_after(case, rc.judge(BOT, case, PARAMS)[1])
    bound = rc.with_(rc.with_(case, "account", room=room), "position", room=here)
    size = rc.size_after(bound, rc.judge(BOT, bound, PARAMS)[1])
    assert size <= free
    held, account, intent = case["position"], case["account"], case["intent"]
    own, other = ("yes", "no") if intent["outcome"] == 0 else ("no", "yes")
    if room == 0 or size <= (max(held[other] - held[own], 0) if resting(case) <= 0 else 0):
        return  # nobody shares, or a hedge
    assert room > 0
    spent = -(-max(intent["price"], 1) * size // ONE)
    assert account["cost"] + account["reserved"] - intent["replaces"] + spent - held[other] <= room - 1
    if here > 0:
        assert held["yes_cost"] + held["no_cost"] + resting(case) + spent - held[other] <= here - 1


@rc.thousand
@given(resting_cases(), rc.permitted(pg.SPEC))
def test_sales_are_never_held_back(case, params):
    code, answer = rc.judge(BOT, rc.with_(case, "intent", side=Side.SELL), params)
    assert (code, answer["verdict"]) == ("RISK_WITHIN_LIMITS", "APPROVE")


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
