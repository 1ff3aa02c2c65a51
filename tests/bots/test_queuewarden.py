"""exec.queuewarden: good places are held, hopeless ones given up, and no order becomes worse or larger."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.engine.probe import NOW
from polytraders.engine.state import LIVE
from polytraders.errors import ConfigError
from polytraders.execution import queuewarden as qw
from polytraders.rows import Outcome, Side

BOT = "exec.queuewarden"
PARAMS = qw.SPEC.kernel_params()
M = 1_000_000
BOOK = {"bids": [("0.62", "300"), ("0.61", "500")], "asks": [("0.65", "80")]}
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def case(planned: str, size: str = "100", *, ahead: int = 20, traded: int = 100_000, **intent) -> dict:
    """A buy with 100 shares working at 0.62, the best bid."""
    working = {"working": LIVE, "working_price": 6_200, "working_size": 100 * M, "working_ts": NOW - 2_000_000_000}
    return BOOK | {
        "intent": {"price": 6_400, "size": 100 * M, "working_ahead": ahead * M} | working | intent,
        "plan": [(planned, size, 0, 1)],
        "market": {"volume_24h": traded * M},
    }


@pytest.mark.parametrize(
    ("given_", "code", "price"),
    [
        (case("0.63", ahead=75), "EXEC_QUEUE_HELD", 6_200),  # a quarter of 300
        (case("0.63", ahead=76), "EXEC_PLAN_STANDS", 6_300),
        (case("0.64"), "EXEC_PLAN_STANDS", 6_400),
        (case("0.61"), "EXEC_PLAN_STANDS", 6_100),
        (case("0.63", "99.99"), "EXEC_PLAN_STANDS", 6_300),
        (case("0.63") | {"bids": [("0.63", "1"), ("0.62", "300")]}, "EXEC_PLAN_STANDS", 6_300),
        (case("0.61", working=0, traded=306), "EXEC_PLAN_STANDS", 6_100),  # 500 x 0.61 = 305 pUSD stand there
        (case("0.61", working=0, traded=304), "EXEC_QUEUE_GIVEN_UP", 0),
        (case("0.62", ahead=300, traded=185), "EXEC_QUEUE_GIVEN_UP", 0),
        (case("0.62", ahead=300, traded=187), "EXEC_PLAN_STANDS", 6_200),
        (case("0.63", ahead=75, traded=40), "EXEC_PLAN_STANDS", 6_300),  # no place worth holding, a free one planned
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, price):
    found, after, _ = pc.decided(BOT, given_, PARAMS)
    assert (found, after[0][0] if after else 0) == (code, price)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(qw.SPEC.reason_codes)


def test_a_no_order_is_weighed_at_its_place_among_the_yes_asks():
    book = {"bids": [("0.35", "80")], "asks": [("0.38", "300")]}  # a NO bid at 0.62 is a YES ask at 0.38
    buy = case("0.63", outcome=Outcome.NO, working_outcome=Outcome.NO) | book
    assert pc.decided(BOT, buy, PARAMS)[:2] == ("EXEC_QUEUE_HELD", [(6_200, 100 * M, 0, 1)])


def test_a_sale_is_never_given_up():
    sale = case("0.64", traded=0, working=0, side=Side.SELL, price=6_400) | {"asks": [("0.64", "99999")]}
    assert pc.decided(BOT, sale, PARAMS)[:2] == ("EXEC_PLAN_STANDS", [(6_400, 100 * M, 0, 1)])


def test_without_any_trade_only_empty_levels_are_joined():
    assert pc.decided(BOT, case("0.61", working=0, traded=0), PARAMS)[0] == "EXEC_QUEUE_GIVEN_UP"
    assert pc.decided(BOT, case("0.63", working=0, traded=0), PARAMS)[0] == "EXEC_PLAN_STANDS"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"drift_ticks_threshold": 11}, {"front_share": "1.01"}, {"max_queue_share": 101}):
        with pytest.raises(ConfigError, match="hard"):
            qw.SPEC.kernel_params(values)


@thousand
@given(pc.cases(), pc.permitted(qw.SPEC))
def test_a_plan_stays_empties_or_becomes_the_working_order(case, params):
    code, after = pc.only_narrows(BOT, case, params)
    if code == "EXEC_QUEUE_HELD":
        assert len(after) == 1 and pc.is_working(case, after[0])
    elif code == "EXEC_QUEUE_GIVEN_UP":
        assert after == [] and case["intent"]["side"] == Side.BUY
    else:
        assert after == case["plan"]


@thousand
@given(pc.cases(), pc.permitted(qw.SPEC))
def test_decided_again_nothing_changes(case, params):
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(qw.SPEC), st.integers(0, 10**12))
def test_more_volume_never_gives_up_what_less_kept(case, params, more):
    busier = case | {"market": case["market"] | {"volume_24h": case["market"]["volume_24h"] + more}}
    if pc.decided(BOT, busier, params)[0] == "EXEC_QUEUE_GIVEN_UP":
        assert pc.decided(BOT, case, params)[0] == "EXEC_QUEUE_GIVEN_UP"


@thousand
@given(pc.cases(), pc.permitted(qw.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
