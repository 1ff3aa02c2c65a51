"""risk.inventoryunwinder: what is too large, old, near its end or stranded only shrinks, and its way out stays open."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import inventoryunwinder as iu
from polytraders.rows import Outcome, Side
from polytraders.units import NS_PER_S, ONE

BOT = "risk.inventoryunwinder"
PARAMS = iu.SPEC.kernel_params()
M = rc.MICRO
BOOK = {"bids": [("0.49", "300")], "asks": [("0.51", "300")]}
DAY = 86_400 * NS_PER_S


def case(side=Side.BUY, outcome=Outcome.YES, size=20, *, yes=20, no=0, since=0, **more):
    """An order at 0.50, middle 0.50, equity 1 000."""
    return (
        BOOK
        | {
            "intent": {"side": side, "outcome": outcome, "price": 5_000, "size": size * M},
            "position": {"yes": yes * M, "no": no * M, "last_fill_ts": since},
            "account": {"equity": 1_000 * M},
        }
        | more
    )


def vote(given_, params=PARAMS):
    code, answer = probe(**given_).judge(iu.decide, params)
    return code, answer["verdict"], answer["max_size"], answer["close_only"]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (case(yes=0), ("RISK_INVENTORY_OK", "APPROVE", -1, 0)),
        (case(yes=100), ("RISK_INVENTORY_OK", "APPROVE", -1, 0)),  # 50 pUSD, 5 % of 1 000
        (case(yes=101), ("RISK_FLATTEN", "REJECT", -1, 0)),
        (case(yes=101, no=1), ("RISK_INVENTORY_OK", "APPROVE", -1, 0)),  # a complete set is not at stake
        (case(yes=101, size=100, outcome=Outcome.NO), ("RISK_UNWIND_ALLOWED", "APPROVE", -1, 0)),
        (case(yes=101, size=102, outcome=Outcome.NO), ("RISK_UNWIND_RESHAPED", "RESHAPE", 101 * M, 0)),
        (case(yes=101, size=50, side=Side.SELL), ("RISK_UNWIND_RESHAPED", "RESHAPE", 50 * M, 1)),
        (case(yes=150, no=30, size=150, side=Side.SELL), ("RISK_UNWIND_RESHAPED", "RESHAPE", 120 * M, 1)),
        (case(yes=150, no=30, size=30, side=Side.SELL, outcome=Outcome.NO), ("RISK_FLATTEN", "REJECT", -1, 0)),
        (case(market={"end_ts": NOW + 60 * NS_PER_S + 1}), ("RISK_INVENTORY_OK", "APPROVE", -1, 0)),
        (case(market={"end_ts": NOW + 60 * NS_PER_S}), ("RISK_INVENTORY_NEAR_CLOSE", "REJECT", -1, 0)),
        (case(market={"candidate": 0}), ("RISK_INVENTORY_STRANDED", "REJECT", -1, 0)),
        (case(since=NOW - DAY), ("RISK_INVENTORY_OK", "APPROVE", -1, 0)),
        (case(since=NOW - DAY - 1), ("RISK_INVENTORY_OLD", "REJECT", -1, 0)),
        (case(asks=[]), ("RISK_NO_MARKET_DATA", "REJECT", -1, 0)),
        (case(asks=[], side=Side.SELL), ("RISK_UNWIND_RESHAPED", "RESHAPE", 20 * M, 1)),
        (case(yes=3, outcome=Outcome.NO, market={"candidate": 0}), ("RISK_INVENTORY_STRANDED", "REJECT", -1, 0)),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, expected):
    assert vote(given_) == expected


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {expected[0] for _, expected in marks} == set(iu.SPEC.reason_codes)


def test_a_closing_order_marked_as_such_is_left_alone():
    sale = case(yes=101, size=50, side=Side.SELL)
    assert vote(sale | {"intent": sale["intent"] | {"reduce_only": 1}})[:2] == ("RISK_UNWIND_ALLOWED", "APPROVE")


def test_stranded_positions_may_be_kept_when_the_desk_says_so():
    keep = iu.SPEC.kernel_params({"leave_non_candidates": False})
    assert vote(case(market={"candidate": 0}), keep)[0] == "RISK_INVENTORY_OK"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"max_inventory_pct": 21}, {"max_holding_s": 2_592_001}):
        with pytest.raises(ConfigError, match="hard"):
            iu.SPEC.kernel_params(values)


def reasons_to_unwind(case, pick):
    """The case with what may make its position one that must shrink: no candidate, near its close, an old fill."""
    market = ({}, {"candidate": 0}, {"end_ts": NOW + 5 * NS_PER_S}, {}, {"end_ts": NOW + DAY})[pick % 5]
    held = {"last_fill_ts": (0, NOW, NOW - 40 * DAY)[pick % 3]}
    return rc.with_(rc.with_(case, "market", **market), "position", **held)


cases = st.builds(reasons_to_unwind, rc.cases(), st.integers(0, 14))


def net_after(case, size):
    """|yes - no| and its sign before, and the signed net after the whole order has filled, micro-shares."""
    held, intent = case["position"], case["intent"]
    net = held["yes"] - held["no"]
    return net, net + (size if intent["side"] == intent["outcome"] else -size)


@rc.thousand
@given(cases, rc.permitted(iu.SPEC))
def test_while_a_position_is_unwound_no_order_makes_it_larger_or_turns_it_around(case, params):
    code, answer = rc.judge(BOT, case, params)
    left = rc.size_after(case, answer)
    assert rc.writes_only_the_vote(BOT, case, params) and left <= case["intent"]["size"]
    before, after = net_after(case, left)
    if code != "RISK_INVENTORY_OK":
        assert abs(after) <= abs(before) and before * after >= 0
        if case["intent"]["side"] == Side.SELL and left > 0:
            assert answer["close_only"] or case["intent"].get("reduce_only")
    elif answer["verdict"] != "APPROVE":
        raise AssertionError(answer)


@rc.thousand
@given(cases, rc.permitted(iu.SPEC))
def test_what_reduces_by_a_tradable_amount_is_not_refused(case, params):
    before, after = net_after(case, 1)
    if abs(after) < abs(before) and min(abs(before), case["intent"]["size"]) >= case["market"]["min_size"] + rc.CENT:
        assert rc.judge(BOT, case, params)[1]["verdict"] != "REJECT"


@rc.thousand
@given(cases, rc.permitted(iu.SPEC))
def test_the_reshaped_order_judged_again_is_allowed_unchanged(case, params):
    _, first = rc.judge(BOT, case, params)
    if first["verdict"] == "RESHAPE":
        again = rc.with_(case, "intent", size=rc.size_after(case, first), reduce_only=first["close_only"])
        assert rc.judge(BOT, again, params)[0] == "RISK_UNWIND_ALLOWED"


@rc.thousand
@given(cases, rc.permitted(iu.SPEC), st.integers(0, 10**11))
def test_a_larger_order_is_never_treated_more_kindly(case, params, more):
    larger = rc.with_(case, "intent", size=case["intent"]["size"] + more)
    small, large = (rc.judge(BOT, c, params)[1] for c in (case, larger))
    assert rc.STRICTNESS[large["verdict"]] >= rc.STRICTNESS[small["verdict"]]


@rc.thousand
@given(cases, rc.permitted(iu.SPEC))
def test_an_order_and_its_mirror_image_get_the_same_vote(case, params):
    def turn(side):
        return [(ONE - price, size) for price, size in case[side]]

    held, intent = case["position"], case["intent"]
    swapped = {"yes": held["no"], "no": held["yes"], "yes_cost": held["no_cost"], "no_cost": held["yes_cost"]}
    mirror = case | {"bids": turn("asks"), "asks": turn("bids"), "position": held | swapped}
    assert rc.judge(BOT, rc.with_(mirror, "intent", outcome=1 - intent["outcome"]), params) == rc.judge(
        BOT, case, params
    )


@rc.thousand
@given(cases, rc.permitted(iu.SPEC))
def test_without_a_position_nothing_is_refused(case, params):
    flat = rc.with_(case, "position", no=case["position"]["yes"])
    assert rc.judge(BOT, flat, params)[0] == "RISK_INVENTORY_OK"


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
