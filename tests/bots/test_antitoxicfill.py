"""exec.antitoxicfill: the side that loses steps back, shrinks or stays away; the way out stays open."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.engine.probe import NOW
from polytraders.errors import ConfigError
from polytraders.execution import antitoxicfill as at
from polytraders.rows import Side
from polytraders.units import NS_PER_S

BOT = "exec.antitoxicfill"
PARAMS = at.SPEC.kernel_params()
M = 1_000_000
FILL = {"last_fill_ts": NOW - 3 * NS_PER_S, "last_fill_price": 6_200, "last_fill_side": 0}
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def case(price: int = 6_000, size: int = 100, *, fill: dict = FILL, **more) -> dict:
    """A buy that waits at 0.60, middle 0.61, three seconds after a buy at 0.62."""
    return {
        "bids": [("0.60", "300")],
        "asks": [("0.62", "300")],
        "intent": {"price": price, "size": size * M, "passive_only": 1},
        "plan": [(price, size * M, 0, 1)],
        "position": fill,
    } | more


def sale(**more) -> dict:
    lost = FILL | {"last_fill_price": 5_000, "last_fill_side": 1}
    return (
        case(fill=lost, intent={"side": Side.SELL, "price": 6_200, "size": 50 * M}, plan=[(6_200, 50 * M, 0, 1)]) | more
    )


def flow(state: int, shares: float) -> dict:
    return {"market": {"flow_state": state}, "features": {"FLOW": shares}, "fill": {}}


@pytest.mark.parametrize(
    ("given_", "code", "after"),
    [
        (case(), "EXEC_FLOW_WIDENED", [(5_900, 50 * M, 0, 1)]),  # 0.60 - 0.005 on a tick of 0.01, half of 100
        (case(tick=10), "EXEC_FLOW_WIDENED", [(5_950, 50 * M, 0, 1)]),
        (case(fill=FILL | {"last_fill_price": 6_150}), "EXEC_PLAN_STANDS", [(6_000, 100 * M, 0, 1)]),  # 50 bps lost
        (case(fill=FILL | {"last_fill_price": 6_151}), "EXEC_FLOW_WIDENED", [(5_900, 50 * M, 0, 1)]),
        (case(fill=FILL | {"last_fill_price": 6_300}), "EXEC_FLOW_WIDENED", [(5_900, 50 * M, 0, 1)]),  # 200 lost
        (case(fill=FILL | {"last_fill_price": 6_301}), "EXEC_FLOW_WITHHELD", []),
        (case(fill=FILL | {"last_fill_ts": NOW - 10 * NS_PER_S}), "EXEC_FLOW_WIDENED", [(5_900, 50 * M, 0, 1)]),
        (case(fill=FILL | {"last_fill_ts": NOW - 10 * NS_PER_S - 1}), "EXEC_PLAN_STANDS", [(6_000, 100 * M, 0, 1)]),
        (case(fill=FILL | {"last_fill_side": 1}), "EXEC_PLAN_STANDS", [(6_000, 100 * M, 0, 1)]),
        (case(size=9), "EXEC_FLOW_WITHHELD", []),  # 4.5 shares are below the minimum of 5
        (case(**flow(1, -9.0)), "EXEC_FLOW_WIDENED", [(5_900, 50 * M, 0, 1)]),
        (case(**flow(1, 9.0)), "EXEC_PLAN_STANDS", [(6_000, 100 * M, 0, 1)]),
        (case(**flow(2, -9.0)), "EXEC_FLOW_WITHHELD", []),
        (case(features={"TOXICITY": float("nan")}), "EXEC_FLOW_UNKNOWN", []),
        (case(fill={}, market={"feed_up": 0}), "EXEC_FLOW_UNKNOWN", []),
        (case(fill={}, bids=[]), "EXEC_FLOW_UNKNOWN", []),
        (case(plan=[(6_200, 100 * M, 3, 0)]), "EXEC_FLOW_WITHHELD", []),
        (case(plan=[(6_200, 60 * M, 3, 0), (6_000, 40 * M, 0, 1)]), "EXEC_FLOW_WIDENED", [(5_900, 40 * M, 0, 1)]),
        (sale(), "EXEC_FLOW_WIDENED", [(6_300, 50 * M, 0, 1)]),  # moved back, not made smaller
        (sale(market={"feed_up": 0}), "EXEC_PLAN_STANDS", [(6_200, 50 * M, 0, 1)]),
        (case(plan=[]), "EXEC_PLAN_STANDS", []),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, after):
    assert pc.decided(BOT, given_, PARAMS)[:2] == (code, after)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(at.SPEC.reason_codes)


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"stop_drift_bps": 2_001}, {"downsize_factor": "1.01"}, {"widen_drift_bps": 1_001}):
        with pytest.raises(ConfigError, match="hard"):
            at.SPEC.kernel_params(values)


@thousand
@given(pc.cases(), pc.permitted(at.SPEC))
def test_prices_only_move_away_and_sizes_only_shrink(case, params):
    code, after = pc.only_narrows(BOT, case, params)
    if code == "EXEC_PLAN_STANDS":
        assert after == case["plan"]
    elif code == "EXEC_FLOW_WIDENED" and case["intent"]["side"] == Side.BUY:
        price, size = after[0][:2]
        assert price <= case["intent"]["price"] - params[at.WIDEN_BY] and price % case["tick"] == 0
        assert size * 1_000_000 <= case["intent"]["size"] * int(params[at.FACTOR])
        assert size >= case["market"]["min_size"]
    else:
        assert after == [] or case["intent"]["side"] == Side.SELL


@thousand
@given(pc.cases(), pc.permitted(at.SPEC))
def test_a_sale_of_what_is_held_is_never_withheld_nor_made_smaller(case, params):
    if case["intent"]["side"] == Side.SELL:
        after = pc.decided(BOT, case, params)[1]
        assert [order[1:] for order in after] == [order[1:] for order in case["plan"]]


@thousand
@given(pc.cases(), pc.permitted(at.SPEC), st.integers(0, 3_000))
def test_a_worse_drift_never_leaves_more(case, params, more):
    held = case["position"]
    worse = min(max(held["last_fill_price"] + (more if held["last_fill_side"] == Side.BUY else -more), 0), 10_000)
    milder, harsher = (
        pc.decided(BOT, case | {"position": held | {"last_fill_price": price}}, params)[1]
        for price in (held["last_fill_price"], worse)
    )
    assert sum(size for _, size, _, _ in harsher) <= sum(size for _, size, _, _ in milder)
    if harsher and milder:
        assert pc.no_worse(case["intent"]["side"], harsher[-1][0], milder[-1][0])


@thousand
@given(pc.cases(), pc.permitted(at.SPEC))
def test_decided_again_nothing_changes(case, params):
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(at.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
