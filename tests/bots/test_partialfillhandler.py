"""exec.partialfillhandler: a rest stays, goes, or follows the price so far and no further."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.engine.state import LIVE, PENDING_NEW
from polytraders.errors import ConfigError
from polytraders.execution import partialfillhandler as pf

BOT = "exec.partialfillhandler"
M = 1_000_000
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
HOLD, CANCEL, CHASE = (pf.SPEC.kernel_params({"policy": k}) for k in (pf.HOLD, pf.CANCEL, pf.CHASE))


def case(planned: str, size: str = "100", *, rest: int = 40 * M, filled: int = 60 * M, account=None, **more):
    """A buy of 100 at 0.61 of which `filled` traded and `rest` is left."""
    intent = {
        "price": 6_500,
        "size": 100 * M,
        "working": LIVE,
        "working_price": 6_100,
        "working_size": rest,
        "working_filled": filled,
    }
    return {
        "bids": [("0.64", "300")],
        "asks": [("0.66", "300")],
        "account": account,
        "intent": intent | more,
        "plan": [(planned, size, 0, 1)],
    }


@pytest.mark.parametrize(
    ("given_", "params", "code", "order"),
    [
        (case("0.65"), HOLD, "EXEC_PARTIAL_HELD", (6_100, 40 * M)),
        (case("0.61"), HOLD, "EXEC_PARTIAL_HELD", (6_100, 40 * M)),
        (case("0.60"), HOLD, "EXEC_PARTIAL_FILL_HANDLED", (6_000, 100 * M)),
        (case("0.65", "39"), HOLD, "EXEC_PARTIAL_FILL_HANDLED", (6_500, 39 * M)),
        (case("0.65"), CANCEL, "EXEC_PARTIAL_CANCELLED", None),
        (case("0.65"), CHASE, "EXEC_PARTIAL_CHASED", (6_400, 40 * M)),
        (case("0.64"), CHASE, "EXEC_PARTIAL_CHASED", (6_400, 40 * M)),  # only the size
        (case("0.64", "40"), CHASE, "EXEC_PARTIAL_FILL_HANDLED", (6_400, 40 * M)),
        (case("0.55", side=1, working_side=1), CHASE, "EXEC_PARTIAL_CHASED", (5_800, 40 * M)),
        (case("0.65", rest=8_196_721), HOLD, "EXEC_PARTIAL_CANCELLED", None),  # 4.999999 pUSD
        (case("0.65", rest=8_196_722), HOLD, "EXEC_PARTIAL_HELD", (6_100, 8_196_722)),
        (case("0.65", account={"switch": 1}), CHASE, "EXEC_PARTIAL_HALTED", None),
        (case("0.65", account={"halted": 4003}), HOLD, "EXEC_PARTIAL_HALTED", None),
        (case("0.65", filled=0), HOLD, "EXEC_PLAN_STANDS", (6_500, 100 * M)),
        (case("0.65", working=PENDING_NEW), HOLD, "EXEC_PLAN_STANDS", (6_500, 100 * M)),
        (case("0.65", working_outcome=1), HOLD, "EXEC_PLAN_STANDS", (6_500, 100 * M)),
        (case("0.65") | {"plan": []}, CANCEL, "EXEC_PLAN_STANDS", None),
    ],
)
def test_every_policy_has_its_answer(given_, params, code, order):
    found, after, _ = pc.decided(BOT, given_, params)
    assert (found, after[0][:2] if after else None) == (code, order)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_policy_has_its_answer.pytestmark[0].args[1]
    assert {code for _, _, code, _ in marks} == set(pf.SPEC.reason_codes)


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"policy": 3}, {"min_remainder_pusd": "0.99"}, {"chase_max_ticks": 11}):
        with pytest.raises(ConfigError, match="hard"):
            pf.SPEC.kernel_params(values)
    assert pf.SPEC.check({"min_remainder_pusd": "1.99"}) == ["min_remainder_pusd"]


@thousand
@given(pc.cases(), pc.permitted(pf.SPEC), st.booleans())
def test_a_plan_only_narrows_and_a_switch_leaves_nothing_of_a_rest(case, params, switch):
    case = case | {"account": case["account"] | {"switch": int(switch)}}
    code, after = pc.only_narrows(BOT, case, params)
    if code == "EXEC_PARTIAL_HELD":
        assert len(after) == 1 and pc.is_working(case, after[0])
    elif code in ("EXEC_PLAN_STANDS", "EXEC_PARTIAL_FILL_HANDLED"):
        assert after == case["plan"]
    assert (code == "EXEC_PARTIAL_HALTED") <= switch
    if switch:
        assert code in ("EXEC_PARTIAL_HALTED", "EXEC_PLAN_STANDS")
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(pf.SPEC))
def test_a_chase_ends_at_its_bound_and_never_grows_the_rest(case, params):
    params[pf.POLICY] = pf.CHASE
    code, after, _ = pc.decided(BOT, case, params)
    i = case["intent"]
    if code in ("EXEC_PARTIAL_CHASED", "EXEC_PARTIAL_FILL_HANDLED"):
        sign = 1 if i["side"] == 0 else -1
        assert sign * (after[0][0] - i["working_price"]) <= params[pf.TICKS] * case["tick"] <= 10 * case["tick"]
        assert after[0][1] <= i["working_size"]


@thousand
@given(pc.cases(), pc.permitted(pf.SPEC))
def test_a_longer_reach_never_stops_a_chase_earlier(case, params):
    params[pf.POLICY] = pf.CHASE
    longer = params.copy()
    longer[pf.TICKS] += 1
    first, second = pc.decided(BOT, case, params)[1], pc.decided(BOT, case, longer)[1]
    assert len(first) == len(second)
    for near, far in zip(first, second, strict=True):
        assert pc.no_worse(case["intent"]["side"], near[0], far[0]) and near[1:] == far[1:]


@thousand
@given(pc.cases(), pc.permitted(pf.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
