"""exec.dustandroundingcleaner: sizes the market trades, no rest that cannot be sold, and the way out stays open."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings

from polytraders.errors import ConfigError
from polytraders.execution import dustandroundingcleaner as dc
from polytraders.rows import POST_ONLY, Outcome, Side
from polytraders.units import CENT_SHARE, ONE

BOT = "exec.dustandroundingcleaner"
PARAMS = dc.SPEC.kernel_params()
M = 1_000_000
BOOK = {"bids": [("0.62", "300")], "asks": [("0.64", "300")]}
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def sale(size: int | str, held: int, **more) -> dict:
    """A resting sale at 0.63, `held` micro-shares of YES; the market's minimum is 5."""
    return (
        BOOK
        | {
            "intent": {"side": Side.SELL, "price": 6_300, "size": 100 * M},
            "position": {"yes": held},
            "plan": [("0.63", size, 0, 1)],
        }
        | more
    )


def buy(size: int | str, **more) -> dict:
    return BOOK | {"intent": {"price": 6_200, "size": 100 * M}, "plan": [("0.62", size, 0, 1)]} | more


@pytest.mark.parametrize(
    ("given_", "code", "sizes"),
    [
        (buy("20"), "EXEC_PLAN_STANDS", [20 * M]),
        (buy(20_019_999), "EXEC_SIZE_ROUNDED", [20_010_000]),
        (buy("8.07"), "EXEC_PLAN_STANDS", [8_070_000]),  # 5.0034 pUSD
        (buy("8.06"), "EXEC_SIZE_UNECONOMIC", []),  # 4.9972 pUSD
        (buy("4.99"), "EXEC_ROUTE_BELOW_MIN_SIZE", []),
        (buy("0"), "EXEC_ROUTE_BELOW_MIN_SIZE", []),
        (sale("8", 12 * M), "EXEC_DUST_AVOIDED", [7 * M]),
        (sale("8", 12_005_000), "EXEC_DUST_AVOIDED", [7 * M]),  # 4.005 would stay; 7.005 rounded down
        (sale("8", 13 * M), "EXEC_PLAN_STANDS", [8 * M]),  # 5 stay
        (sale("8", 8 * M), "EXEC_PLAN_STANDS", [8 * M]),
        (sale("8", 8_009_999), "EXEC_PLAN_STANDS", [8 * M]),  # less than a hundredth stays: nothing sells it
        (sale("5", 9 * M), "EXEC_PLAN_STANDS", [5 * M]),
        (sale("8", 6 * M), "EXEC_PLAN_STANDS", [8 * M]),
        (sale("8", 20 * M, position={"yes": 20 * M, "yes_reserved": 8 * M}), "EXEC_DUST_AVOIDED", [7 * M]),
        (sale("6", 6 * M, plan=[("0.01", "6", 0, 1)]), "EXEC_PLAN_STANDS", [6 * M]),  # a sale has no least money
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, sizes):
    found, after, _ = pc.decided(BOT, given_, PARAMS)
    assert (found, [size for _, size, _, _ in after]) == (code, sizes)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(dc.SPEC.reason_codes)


def test_the_working_sale_of_the_same_slot_does_not_count_as_another():
    own = {"working": 2, "working_price": 6_400, "working_size": 8 * M, "working_side": Side.SELL}
    kept = sale("8", 12 * M, position={"yes": 12 * M, "yes_reserved": 8 * M})
    assert pc.decided(BOT, kept | {"intent": kept["intent"] | own}, PARAMS)[0] == "EXEC_DUST_AVOIDED"
    assert pc.decided(BOT, kept, PARAMS)[0] == "EXEC_PLAN_STANDS"  # another slot's: what is left is 12 - 8 - 8 < 0


def test_a_tiny_rest_of_the_working_order_is_left_alone():
    working = {"price": 6_200, "size": 100 * M, "working": 2, "working_price": 6_200, "working_size": 30_000}
    assert pc.decided(BOT, buy("2", intent=working), PARAMS)[0] == "EXEC_PLAN_STANDS"


def test_a_taking_order_below_the_minimum_leaves_the_plan_and_the_waiting_one_stays():
    split = buy("1", plan=[("0.64", "4.99", 3, 0), ("0.62", "10", 0, 1)])
    assert pc.decided(BOT, split, PARAMS)[:2] == ("EXEC_SIZE_ROUNDED", [(6_200, 10 * M, 0, POST_ONLY)])


def test_parameters_beyond_their_hard_limits_do_not_start():
    with pytest.raises(ConfigError, match="hard"):
        dc.SPEC.kernel_params({"min_economic_size_usd": "0.99"})


@thousand
@given(pc.cases(), pc.permitted(dc.SPEC))
def test_sizes_are_whole_and_tradable_and_never_larger_and_prices_stay(case, params):
    code, after = pc.only_narrows(BOT, case, params)
    i, least = case["intent"], case["market"]["min_size"]
    if after == case["plan"]:
        return
    assert {order[0] for order in after} <= {order[0] for order in case["plan"]}
    assert all(size % CENT_SHARE == 0 and size >= least for _, size, _, _ in after)
    if i["side"] == Side.BUY and after:
        assert sum(price * size // ONE for price, size, _, _ in after) >= params[dc.MIN_MONEY]
    if code == "EXEC_DUST_AVOIDED":
        token = "yes" if i["outcome"] == Outcome.YES else "no"
        own = i["working"] and i["working_outcome"] == i["outcome"] and i["working_side"] == Side.SELL
        others = max(case["position"][f"{token}_reserved"] - (i["working_size"] if own else 0), 0)
        assert case["position"][token] - others - sum(order[1] for order in after) >= least


@thousand
@given(pc.cases(), pc.permitted(dc.SPEC))
def test_a_sale_large_enough_to_trade_is_never_refused(case, params):
    if case["intent"]["side"] == Side.SELL and any(o[1] >= case["market"]["min_size"] for o in case["plan"]):
        assert pc.decided(BOT, case, params)[1]


@thousand
@given(pc.cases(), pc.permitted(dc.SPEC))
def test_decided_again_nothing_changes(case, params):
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(dc.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
