"""exec.pricebandvalidator: a plan whose price is far from the middle is dropped as a whole, and none is ever moved."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.errors import ConfigError
from polytraders.execution import pricebandvalidator as pb
from polytraders.rows import OrderType
from polytraders.units import ONE

BOT = "exec.pricebandvalidator"
PARAMS = pb.SPEC.kernel_params()
M = 1_000_000
FOK = int(OrderType.FOK)
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
BOOK = {"bids": [("0.62", "300")], "asks": [("0.63", "300")]}  # middle 0.625, edges 500 and 1 000 pips at a tick of 100


def case(*prices: int, side: int = 0, outcome: int = 0, kind: int = 0, **more):
    intent = {"side": side, "outcome": outcome, "price": 6_200, "size": 100 * M}
    return BOOK | {"intent": intent, "plan": [(price, 100 * M, kind, 0) for price in prices]} | more


@pytest.mark.parametrize(
    ("given_", "code", "observed"),
    [
        (case(), "EXEC_PLAN_STANDS", 0),
        (case(6_200), "EXEC_PRICE_BAND_PASS", 50),
        (case(5_750), "EXEC_PRICE_BAND_PASS", 500),
        (case(5_749), "EXEC_PRICE_BAND_WARN", 501),
        (case(7_250), "EXEC_PRICE_BAND_WARN", 1_000),
        (case(7_251), "EXEC_PRICE_BAND_REJECTED", 1_001),
        (case(2_600, side=1), "EXEC_PRICE_BAND_REJECTED", 3_650),
        (case(7_400, outcome=1), "EXEC_PRICE_BAND_REJECTED", 3_650),
        (case(6_200, 1_100), "EXEC_PRICE_BAND_REJECTED", 5_150),
        (case(6_000, bids=[], market={"mark2": 12_500}), "EXEC_PRICE_BAND_PASS", 250),
        (case(6_000, bids=[], market={"mark2": 0}), "EXEC_PRICE_BAND_NO_MIDDLE", -1),
        (case(6_000, bids=[("0.64", "9")], market={"mark2": 0}), "EXEC_PRICE_BAND_NO_MIDDLE", -1),  # crossed
    ],
)
def test_every_reason_is_given_at_its_edge(given_, code, observed):
    found, after, x = pc.decided(BOT, given_, PARAMS)
    assert (found, int(x.plan.observed)) == (code, observed)
    dropped = code in ("EXEC_PRICE_BAND_REJECTED", "EXEC_PRICE_BAND_NO_MIDDLE")
    assert after == ([] if dropped else given_["plan"])


def test_an_exempt_type_passes_and_only_where_it_is_exempt():
    exempt = pb.SPEC.kernel_params({"exempt_fok": "true"})
    assert pc.decided(BOT, case(2_600, kind=FOK), exempt)[0] == "EXEC_PRICE_BAND_EXEMPT"
    assert pc.decided(BOT, case(2_600, kind=FOK), PARAMS)[0] == "EXEC_PRICE_BAND_REJECTED"
    mixed = case(6_200) | {"plan": [(2_600, M, FOK, 0), (6_200, M, 0, 1)]}
    assert pc.decided(BOT, mixed, exempt)[0] == "EXEC_PRICE_BAND_PASS"


def test_these_are_all_the_reasons():
    marks = test_every_reason_is_given_at_its_edge.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} | {"EXEC_PRICE_BAND_EXEMPT"} == set(pb.SPEC.reason_codes)


def test_the_band_is_a_share_of_the_cheaper_token_and_at_least_a_few_ticks():
    fine = {"tick": 10, "grid": 10, "bids": [("0.9", "9")], "asks": [("0.902", "9")]}  # cheaper middle 0.099
    assert pc.decided(BOT, case(9_010 - 99, **fine), PARAMS)[0] == "EXEC_PRICE_BAND_PASS"
    assert pc.decided(BOT, case(9_010 - 100, **fine), PARAMS)[0] == "EXEC_PRICE_BAND_WARN"
    cheap = {"bids": [("0.02", "9")], "asks": [("0.03", "9")]}
    assert pc.decided(BOT, case(750, **cheap), PARAMS)[0] == "EXEC_PRICE_BAND_PASS"  # five ticks from 0.025
    assert pc.decided(BOT, case(1_251, **cheap), PARAMS)[0] == "EXEC_PRICE_BAND_REJECTED"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"max_offset_from_mid_pct": 26}, {"min_band_ticks": 21}):
        with pytest.raises(ConfigError, match="hard"):
            pb.SPEC.kernel_params(values)


prices = st.one_of(st.none(), st.integers(0, ONE))


@thousand
@given(pc.cases(), pc.permitted(pb.SPEC), prices)
def test_a_plan_stands_or_is_dropped_and_nothing_in_it_moves(case, params, slip):
    if slip is not None:
        case = case | {"plan": [(slip, *order[1:]) for order in case["plan"]]}
    code, after = pc.only_narrows(BOT, case, params)
    assert after in ([], case["plan"])
    assert (after == []) == (code in ("EXEC_PRICE_BAND_REJECTED", "EXEC_PRICE_BAND_NO_MIDDLE") or not case["plan"])
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(pb.SPEC), prices, st.sampled_from(["MAX_OFFSET", "REJECT_OFFSET", "MIN_TICKS"]))
def test_a_wider_band_never_drops_more(case, params, slip, which):
    if slip is not None:
        case = case | {"plan": [(slip, *order[1:]) for order in case["plan"]]}
    wider = params.copy()
    wider[getattr(pb, which)] += 1 if which == "MIN_TICKS" else 50_000
    if pc.decided(BOT, case, params)[1]:
        assert pc.decided(BOT, case, wider)[1]


@thousand
@given(pc.cases(), pc.permitted(pb.SPEC), prices)
def test_an_order_and_its_mirror_image_are_treated_alike(case, params, slip):
    if slip is not None:
        case = case | {"plan": [(slip, *order[1:]) for order in case["plan"]]}
    if not case["bids"] or not case["asks"]:
        return  # the last middle is a market field that the mirror does not turn
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)
