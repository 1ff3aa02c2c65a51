"""exec.order_amend_cancel_manager: one change at a time, on a current view, to no more than risk has judged."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.engine.probe import NOW
from polytraders.engine.state import LIVE
from polytraders.errors import ConfigError
from polytraders.execution import order_amend_cancel_manager as am

BOT = "exec.order_amend_cancel_manager"
PARAMS = am.SPEC.kernel_params()
M, MS, S = 1_000_000, 1_000_000, 1_000_000_000
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def case(planned: str, size: str = "100", *, view: int = 50 * MS, leaving: int = 0, since: int = 60 * MS, **more):
    """A buy of 100 that works at 0.61, on a book `view` ns old, with cancels whose last is `since` ns old."""
    intent = {
        "price": 6_300,
        "size": 100 * M,
        "working": LIVE,
        "working_price": 6_100,
        "working_size": 100 * M,
        "leaving": leaving,
        "leaving_ts": NOW - since,
    }
    return {
        "bids": [("0.62", "300")],
        "asks": [("0.64", "300")],
        "market": {"book_ts": NOW - view},
        "intent": intent | more,
        "plan": [(planned, size, 0, 1)],
    }


@pytest.mark.parametrize(
    ("given_", "code", "price"),
    [
        (case("0.62"), "EXEC_AMEND_OK", 6_200),
        (case("0.61"), "EXEC_AMEND_NOTHING", 6_100),
        (case("0.61", "60"), "EXEC_AMEND_OK", 6_100),
        (case("0.62", working=0, view=9 * S, leaving=1), "EXEC_AMEND_NOTHING", 6_200),
        (case("0.62", view=5 * S), "EXEC_AMEND_OK", 6_200),
        (case("0.62", view=5 * S + 1), "EXEC_AMEND_STALE_VIEW", 6_100),
        (case("0.60", view=5 * S + 1), "EXEC_AMEND_STALE_VIEW", 0),  # more careful: withdrawn at once
        (case("0.62", view=-1), "EXEC_AMEND_STALE_VIEW", 6_100),
        (case("0.62", leaving=1), "EXEC_AMEND_WAITING", 6_100),
        (case("0.60", leaving=1), "EXEC_AMEND_WAITING", 0),
        (case("0.62", leaving=1, since=10 * S), "EXEC_AMEND_WAITING", 6_100),
        (case("0.62", leaving=1, since=10 * S + 1), "EXEC_CANCEL_TIMEOUT", 6_100),
        (case("0.62", "100.01"), "EXEC_AMEND_REJECTED", 0),
        (case("0.62") | {"plan": []}, "EXEC_AMEND_NOTHING", 0),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, price):
    found, after, _ = pc.decided(BOT, given_, PARAMS)
    assert (found, after[0][0] if after else 0) == (code, price)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(am.SPEC.reason_codes)


def test_a_feed_that_is_down_changes_nothing():
    given_ = case("0.62")
    given_["market"]["feed_up"] = 0
    code, _, x = pc.decided(BOT, given_, PARAMS)
    assert (code, int(x.plan.observed)) == ("EXEC_AMEND_STALE_VIEW", am.UNKNOWN)


def test_two_orders_count_together_against_what_was_judged():
    plan = [("0.64", "60", 3, 0), ("0.62", "40.01", 0, 1)]
    assert pc.decided(BOT, case("0.62") | {"plan": plan}, PARAMS)[0] == "EXEC_AMEND_REJECTED"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"max_view_age_ms": 15_001}, {"cancel_timeout_s": 61}):
        with pytest.raises(ConfigError, match="hard"):
            am.SPEC.kernel_params(values)


ages = st.integers(-S, 20 * S)


def aged(case, age: int):
    return case | {"market": case["market"] | {"book_ts": NOW - age}}


@thousand
@given(pc.cases(), pc.permitted(am.SPEC), ages)
def test_a_plan_stays_empties_or_becomes_the_working_order(case, params, age):
    case = aged(case, age)
    code, after = pc.only_narrows(BOT, case, params)
    if code in ("EXEC_AMEND_OK", "EXEC_AMEND_NOTHING"):
        assert after == case["plan"]
    elif after:
        assert len(after) == 1 and pc.is_working(case, after[0])
    assert code == "EXEC_AMEND_NOTHING" or sum(order[1] for order in after) <= case["intent"]["size"]
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(am.SPEC), st.integers(0, 20 * S), st.integers(0, 20 * S))
def test_an_older_view_never_lets_more_change(case, params, age, older):
    first, _, _ = pc.decided(BOT, aged(case, age), params)
    second, _, _ = pc.decided(BOT, aged(case, age + older), params)
    assert not (second == "EXEC_AMEND_OK" and first != "EXEC_AMEND_OK")


@thousand
@given(pc.cases(), pc.permitted(am.SPEC), ages)
def test_an_order_and_its_mirror_image_are_treated_alike(case, params, age):
    case = aged(case, age)
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
