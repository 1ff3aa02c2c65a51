"""exec.orderlifecyclemanager: no second order while the outcome of the first is unknown, and no cancel ever waits."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings

from polytraders.engine.probe import NOW
from polytraders.engine.state import LIVE, PENDING_NEW
from polytraders.errors import ConfigError
from polytraders.execution import orderlifecyclemanager as lm

BOT = "exec.orderlifecyclemanager"
PARAMS = lm.SPEC.kernel_params()
M, MS, S = 1_000_000, 1_000_000, 1_000_000_000
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def case(
    planned: str,
    *,
    state: int = LIVE,
    left: int = 100,
    age: int = 2 * S,
    leaving: int = 0,
    since: int = 60 * MS,
    **more,
):
    """A buy of 100 with `left` shares working at 0.61 since `age` ns, and cancels whose last is `since` ns old."""
    intent = {
        "price": 6_300,
        "size": 100 * M,
        "working": state,
        "working_price": 6_100,
        "working_size": left * M,
        "working_ts": NOW - age,
        "leaving": leaving,
        "leaving_ts": NOW - since,
    }
    return {
        "bids": [("0.62", "300")],
        "asks": [("0.64", "300")],
        "intent": intent | more,
        "plan": [(planned, "100", 0, 1)],
    }


@pytest.mark.parametrize(
    ("given_", "code", "price"),
    [
        (case("0.62"), "EXEC_PLAN_STANDS", 6_200),
        (case("0.62", state=0), "EXEC_PLAN_STANDS", 6_200),
        (case("0.62", leaving=1), "EXEC_LIFECYCLE_WAITING", 6_100),
        (case("0.60", leaving=1), "EXEC_LIFECYCLE_WAITING", 0),  # more careful: withdrawn at once
        (case("0.62", state=0, leaving=1), "EXEC_LIFECYCLE_WAITING", 0),
        (case("0.62", state=PENDING_NEW), "EXEC_LIFECYCLE_WAITING", 6_100),
        (case("0.60", state=PENDING_NEW), "EXEC_LIFECYCLE_WAITING", 0),
        (case("0.61", state=PENDING_NEW), "EXEC_PLAN_STANDS", 6_100),
        (case("0.61", state=PENDING_NEW, age=30 * S), "EXEC_PLAN_STANDS", 6_100),
        (case("0.61", state=PENDING_NEW, age=30 * S + 1), "EXEC_ROUTE_CTFV2_TIMEOUT", 0),
        (case("0.62", state=0, leaving=1, since=10 * S), "EXEC_LIFECYCLE_WAITING", 0),
        (case("0.62", state=0, leaving=1, since=10 * S + 1), "EXEC_CANCEL_TIMEOUT", 0),
        (case("0.62", leaving=1, since=10 * S + 1), "EXEC_CANCEL_TIMEOUT", 6_100),
        (case("0.61", age=3_600 * S), "EXEC_PLAN_STANDS", 6_100),
        (case("0.61", age=3_600 * S + 1), "EXEC_LIFECYCLE_EXPIRED", 0),
        (case("0.61", left=10, working_filled=90 * M), "EXEC_PLAN_STANDS", 6_100),
        (case("0.61", left=9, working_filled=91 * M), "EXEC_LIFECYCLE_REMAINDER", 0),
        (case("0.61", left=9), "EXEC_PLAN_STANDS", 6_100),
        (case("0.62", leaving=1) | {"plan": []}, "EXEC_PLAN_STANDS", 0),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, price):
    found, after, _ = pc.decided(BOT, given_, PARAMS)
    assert (found, after[0][0] if after else 0) == (code, price)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(lm.SPEC.reason_codes)


def test_as_many_unknown_outcomes_as_allowed_are_no_reason_to_wait():
    params = lm.SPEC.kernel_params({"max_unconfirmed": 2})
    assert pc.decided(BOT, case("0.62", state=PENDING_NEW, leaving=1), params)[0] == "EXEC_PLAN_STANDS"
    assert pc.decided(BOT, case("0.62", state=PENDING_NEW, leaving=2), params)[0] == "EXEC_LIFECYCLE_WAITING"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"stuck_order_timeout_s": 121}, {"max_unconfirmed": 5}, {"min_remainder_share": "0.91"}):
        with pytest.raises(ConfigError, match="hard"):
            lm.SPEC.kernel_params(values)


@thousand
@given(pc.cases(), pc.permitted(lm.SPEC))
def test_a_plan_stays_empties_or_becomes_the_working_order(case, params):
    code, after = pc.only_narrows(BOT, case, params)
    if code == "EXEC_PLAN_STANDS":
        assert after == case["plan"]
    elif after:
        assert len(after) == 1 and pc.is_working(case, after[0])


@thousand
@given(pc.cases(), pc.permitted(lm.SPEC))
def test_nothing_new_is_sent_while_too_many_outcomes_are_unknown(case, params):
    i, after = case["intent"], pc.decided(BOT, case, params)[1]
    if i["leaving"] + (i["working"] == PENDING_NEW) > params[lm.UNCONFIRMED] and after:
        # what is left is what the step keeps: the working order, no larger than planned
        assert len(after) == 1 and after[0][0] == i["working_price"] and i["working_size"] <= after[0][1]
        assert i["working_outcome"] == i["outcome"] and i["working_side"] == i["side"] and i["working"]


@thousand
@given(pc.cases(), pc.permitted(lm.SPEC))
def test_allowing_more_unknown_outcomes_never_sends_less(case, params):
    looser = params.copy()
    looser[lm.UNCONFIRMED] += 1
    strict = pc.decided(BOT, case, params)[1]
    assert sum(o[1] for o in pc.decided(BOT, case, looser)[1]) >= sum(o[1] for o in strict)


@thousand
@given(pc.cases(), pc.permitted(lm.SPEC))
def test_decided_again_nothing_changes(case, params):
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(lm.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
