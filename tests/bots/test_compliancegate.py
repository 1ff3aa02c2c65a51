"""risk.compliancegate: what cannot be verified is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.config import load_settings
from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import compliancegate as cg
from polytraders.risk.compliancegate import Clearance
from polytraders.rows import EventKind, Flag, Listed
from polytraders.run.pipeline import build_pipeline

BOT = "risk.compliancegate"
PARAMS = cg.SPEC.kernel_params()
S = 1_000_000_000
BUY, SELL = {"side": 0, "price": 6_200, "size": 10**8}, {"side": 1, "price": 6_300, "size": 10**8}
INELIGIBLE = {"flags": int(Listed.INELIGIBLE)}


def told(clearance: int, age: int = 60 * S, params=PARAMS):
    params = params.copy()
    params[cg.CLEARANCE], params[cg.CHECKED] = clearance, NOW - age
    return params


def vote(params, intent=BUY, **given_):
    return probe(intent=intent, **given_).judge(cg.decide, params)


ANSWERS = [
    (Clearance.CLEARED, "RISK_COMPLIANCE_CLEARED", "RISK_COMPLIANCE_CLEARED"),
    (Clearance.CLOSE_ONLY, "RISK_COMPLIANCE_CLOSE_ONLY", "RISK_COMPLIANCE_EXIT"),
    (Clearance.BLOCKED, "RISK_GEOFENCE_BLOCK", "RISK_GEOFENCE_BLOCK"),
    (Clearance.SANCTIONED, "RISK_COMPLIANCE_SANCTIONED", "RISK_COMPLIANCE_SANCTIONED"),
    (Clearance.NOT_ONBOARDED, "RISK_WALLET_NOT_ONBOARDED", "RISK_WALLET_NOT_ONBOARDED"),
    (Clearance.UNKNOWN, "RISK_COMPLIANCE_UNVERIFIED", "RISK_COMPLIANCE_UNVERIFIED"),
]


@pytest.mark.parametrize(("clearance", "buying", "selling"), ANSWERS)
def test_each_status_has_its_answer_for_purchases_and_sales(clearance, buying, selling):
    assert (vote(told(clearance))[0], vote(told(clearance), SELL)[0]) == (buying, selling)


def test_these_and_two_more_are_all_the_reasons():
    codes = {code for _, *pair in ANSWERS for code in pair}
    assert codes | {"RISK_COMPLIANCE_AGEING", "RISK_MARKET_INELIGIBLE"} == set(cg.SPEC.reason_codes)


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (0, "RISK_COMPLIANCE_CLEARED"),
        (4_500 * S, "RISK_COMPLIANCE_CLEARED"),
        (4_500 * S + 1, "RISK_COMPLIANCE_AGEING"),
        (7_200 * S, "RISK_COMPLIANCE_AGEING"),
        (7_200 * S + 1, "RISK_COMPLIANCE_UNVERIFIED"),
        (-1, "RISK_COMPLIANCE_UNVERIFIED"),
    ],
)
def test_a_clearance_ages_to_the_ns(age, code):
    assert vote(told(Clearance.CLEARED, age))[0] == code


def test_without_a_fact_nothing_passes_and_no_age_is_made_up():
    for intent in (BUY, SELL):
        code, answer = vote(PARAMS, intent)
        assert (code, answer["verdict"], answer["observed"]) == ("RISK_COMPLIANCE_UNVERIFIED", "REJECT", cg.NEVER)


def test_a_closed_category_may_be_left_and_not_entered():
    assert vote(told(Clearance.CLEARED), market=INELIGIBLE)[0] == "RISK_MARKET_INELIGIBLE"
    assert vote(told(Clearance.CLEARED), SELL, market=INELIGIBLE)[0] == "RISK_COMPLIANCE_CLEARED"


@pytest.mark.parametrize(
    ("answers", "clearance"),
    [
        ((False, False, False, True), Clearance.CLEARED),
        ((False, True, False, True), Clearance.CLOSE_ONLY),
        ((True, True, False, True), Clearance.BLOCKED),
        ((True, None, None, False), Clearance.NOT_ONBOARDED),
        ((None, None, True, None), Clearance.SANCTIONED),
        ((None, False, False, True), Clearance.UNKNOWN),
        ((False, None, False, True), Clearance.UNKNOWN),
        ((False, False, None, True), Clearance.UNKNOWN),
        ((False, False, False, None), Clearance.UNKNOWN),
    ],
)
def test_the_worst_known_answer_wins_and_an_unknown_one_never_clears(answers, clearance):
    names = ("blocked", "close_only", "sanctioned", "onboarded")
    assert cg.clearance_of(**dict(zip(names, answers, strict=True))) is clearance


def test_a_clearance_is_told_time_first_in_one_message():
    rows = cg.clearance_rows(4, Clearance.CLEARED, NOW - 5, NOW)
    assert (rows["kind"] == EventKind.CONFIG).all() and (rows["market"] == -1).all() and (rows["aux"] == 4).all()
    assert rows["price"].tolist() == [cg.CHECKED, cg.CLEARANCE] and rows["size"].tolist() == [NOW - 5, 1]
    assert rows["flags"].tolist() == [0, Flag.LAST]


def test_a_simulated_run_needs_no_clearance_and_its_manifest_says_so():
    settings = load_settings().with_overrides({f"{BOT}.mode": "enforced"})
    pipeline, rows = build_pipeline(settings, "strat.maker_tight")
    (bot,) = [b for b in pipeline.bots if b.bot.id == BOT]
    assert bot.params[cg.REQUIRED] == 0
    (row,) = [r for r in rows if r["bot_id"] == BOT]
    assert {p["name"]: p["value"] for p in row["params"]}["clearance_required"] == "false"


def test_an_age_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        cg.SPEC.kernel_params({"clearance_max_age_s": 86_401})


@rc.thousand
@given(rc.cases(), rc.permitted(cg.SPEC), st.integers(-(2**40), 2**40), st.integers(-3, 10**5 * S))
def test_only_a_known_status_that_permits_it_ever_passes(case, params, clearance, age):
    params = told(clearance, age, params)
    params[cg.REQUIRED] = 1
    code, answer = rc.judge(BOT, case, params)
    sells = case["intent"]["side"] == 1
    if answer["verdict"] == "APPROVE":
        assert clearance == Clearance.CLEARED or (clearance == Clearance.CLOSE_ONLY and sells)
        assert 0 <= age <= params[cg.MAX_AGE] <= 86_400 * S
    else:
        assert code not in ("RISK_COMPLIANCE_CLEARED", "RISK_COMPLIANCE_AGEING", "RISK_COMPLIANCE_EXIT")


RANK = {"RISK_COMPLIANCE_CLEARED": 0, "RISK_COMPLIANCE_AGEING": 1, "RISK_COMPLIANCE_UNVERIFIED": 2}


@rc.thousand
@given(rc.cases(), rc.permitted(cg.SPEC), st.integers(0, 10**5 * S), st.integers(0, 10**5 * S))
def test_an_older_check_is_never_treated_more_kindly(case, params, age, older):
    case = rc.with_(case, "market", flags=0)
    first, _ = rc.judge(BOT, case, told(Clearance.CLEARED, age, params))
    second, _ = rc.judge(BOT, case, told(Clearance.CLEARED, age + older, params))
    assert RANK[second] >= RANK[first]


@rc.thousand
@given(rc.cases(), rc.permitted(cg.SPEC), st.integers(0, 2**32))
def test_it_approves_or_refuses_and_touches_nothing(case, params, seed):
    for slot, fact in rc.facts(random.Random(seed)).items():
        params[slot] = fact
    code, answer = rc.judge(BOT, case, params)
    assert answer["verdict"] in ("APPROVE", "REJECT") and code in cg.SPEC.reason_codes
    assert rc.sets_no_constraint(answer) and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    before = params.copy()
    assert rc.judge(BOT, case, params) == (code, answer) and np.array_equal(before, params)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
