"""exec.cancelreplaceoptimizer: small improvements wait, careful changes do not."""

from __future__ import annotations

import plan_cases as pc
import pytest
from hypothesis import given, settings

from polytraders.engine.probe import NOW, probe
from polytraders.engine.state import LIVE, PENDING_NEW
from polytraders.errors import ConfigError
from polytraders.execution import cancelreplaceoptimizer as cr
from polytraders.rows import Side

BOT = "exec.cancelreplaceoptimizer"
PARAMS = cr.SPEC.kernel_params()
M, MS = 1_000_000, 1_000_000
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def case(planned: str, size: str = "100", *, tick: int = 10, age_ms: int = 2_000, sent: int = 0, **intent) -> dict:
    """A buy with 100 shares working at 0.62."""
    working = {
        "working": LIVE,
        "working_price": 6_200,
        "working_size": 100 * M,
        "working_ts": NOW - age_ms * MS,
    }
    return {
        "bids": [("0.62", "300")],
        "asks": [("0.63", "300")],
        "tick": tick,
        "intent": {"price": 6_300, "size": 100 * M} | working | intent,
        "plan": [(planned, size, 0, 1)],
        "account": {"recent_submits": 1_000 * sent},
    }


@pytest.mark.parametrize(
    ("given_", "code", "price"),
    [
        (case("0.621"), "EXEC_REPLACE_SKIPPED", 6_200),
        (case("0.6211", tick=1), "EXEC_PLAN_STANDS", 6_211),  # 11 ticks of 0.0001
        (case("0.6202", tick=1), "EXEC_REPLACE_SKIPPED", 6_200),
        (case("0.622"), "EXEC_PLAN_STANDS", 6_220),
        (case("0.622", age_ms=499), "EXEC_REPLACE_TOO_SOON", 6_200),
        (case("0.622", age_ms=500), "EXEC_PLAN_STANDS", 6_220),
        (case("0.622", sent=11_999), "EXEC_PLAN_STANDS", 6_220),
        (case("0.622", sent=12_000), "EXEC_RATE_LIMIT_NEAR", 6_200),
        (case("0.621", working_size=50 * M), "EXEC_REPLACE_SKIPPED", 6_200),
        (case("0.621", working_size=49_990_000), "EXEC_PLAN_STANDS", 6_210),
        (case("0.619", age_ms=10, sent=99_000), "EXEC_PLAN_STANDS", 6_190),
        (case("0.621", "99.99", age_ms=10, sent=99_000), "EXEC_PLAN_STANDS", 6_210),
        (case("0.622", working=PENDING_NEW, age_ms=100), "EXEC_REPLACE_TOO_SOON", 6_200),
        (case("0.62"), "EXEC_PLAN_STANDS", 6_200),
    ],
)
def test_every_reason_is_given_at_its_limit(given_, code, price):
    found, after, _ = pc.decided(BOT, given_, PARAMS)
    assert (found, after[0][0]) == (code, price)


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_limit.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} == set(cr.SPEC.reason_codes)


def test_a_sale_is_the_mirror_image():
    sale = case("0.629", side=Side.SELL, price=6_200, working_price=6_300, working_side=Side.SELL)
    assert pc.decided(BOT, sale, PARAMS)[0] == "EXEC_REPLACE_SKIPPED"
    assert pc.decided(BOT, sale | {"plan": [("0.631", "100", 0, 1)]}, PARAMS)[0] == "EXEC_PLAN_STANDS"


def test_parameters_beyond_their_hard_limits_do_not_start():
    for values in ({"amend_threshold_ticks": 9}, {"min_lifetime_ms": 60_001}, {"max_recent_orders": 60_001}):
        with pytest.raises(ConfigError, match="hard"):
            cr.SPEC.kernel_params(values)


@pytest.mark.parametrize("broken", [{"working": 0}, {"working_side": 1}, {"working_outcome": 1}])
def test_what_is_not_the_slots_own_order_is_never_kept(broken):
    assert pc.decided(BOT, case("0.621", **broken), PARAMS)[:2] == ("EXEC_PLAN_STANDS", [(6_210, 100 * M, 0, 1)])


@thousand
@given(pc.cases(), pc.permitted(cr.SPEC))
def test_a_plan_stays_or_becomes_the_working_order_and_is_never_worse_or_larger(case, params):
    code, after = pc.only_narrows(BOT, case, params)
    if code == "EXEC_PLAN_STANDS":
        assert after == case["plan"]
    else:
        assert len(after) == 1 and pc.is_working(case, after[0])


@thousand
@given(pc.cases(), pc.permitted(cr.SPEC))
def test_decided_again_nothing_changes(case, params):
    pc.decides_the_same_again(BOT, case, params)


@thousand
@given(pc.cases(), pc.permitted(cr.SPEC))
def test_a_more_careful_plan_is_never_delayed(case, params):
    i = case["intent"]
    if case["plan"] and i["working"]:
        price, size = case["plan"][-1][:2]
        if not pc.no_worse(i["side"], i["working_price"], price) or i["working_size"] > size:
            assert pc.decided(BOT, case, params)[1] == case["plan"]


@thousand
@given(pc.cases(), pc.permitted(cr.SPEC))
def test_wider_thresholds_keep_whatever_narrower_ones_kept(case, params):
    wider = params.copy()
    wider[[cr.TICKS, cr.BPS, cr.LIFETIME]] *= 2
    wider[cr.SIZE_SHARE] //= 2
    if pc.decided(BOT, case, params)[0] != "EXEC_PLAN_STANDS":
        assert pc.decided(BOT, case, wider)[0] != "EXEC_PLAN_STANDS"


@thousand
@given(pc.cases(), pc.permitted(cr.SPEC))
def test_an_order_and_its_mirror_image_are_treated_alike(case, params):
    assert pc.decided(BOT, case, params)[:2] == pc.decided(BOT, pc.mirrored(case), params)[:2]


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    assert pc.plain_digest(BOT) == pc.digest(BOT)


def test_the_probe_shows_what_was_asked_for():
    x = probe(**case("0.621"))
    assert pc.orders(x) == [(6_210, 100 * M, 0, 1)] and x.intent.working_price == 6_200
