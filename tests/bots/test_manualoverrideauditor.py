"""risk.manualoverrideauditor: a change by hand has a reason, a scope and an end, and none during a halt."""

from __future__ import annotations

import random

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import manualoverrideauditor as moa
from polytraders.risk.manualoverrideauditor import Request, granted_rows, review
from polytraders.rows import EventKind, Flag

BOT = "risk.manualoverrideauditor"
PARAMS = moa.SPEC.kernel_params()
S = 1_000_000_000
BUY, SELL = {"side": 0, "price": 6_200, "size": 10**8}, {"side": 1, "price": 6_300, "size": 10**8}
ASKED = Request("ada", "risk.portfolioguard", "max_market_pusd", "5000", "block trade", 600 * S)


def ask(n: int = 0, switch_on: bool = False, ago: int = 60 * S, **changes):
    request = Request(**({f: getattr(ASKED, f) for f in ASKED.__slots__} | changes))
    return review(request, [NOW - ago] * n, switch_on, NOW, PARAMS)


def vote(in_force: int = 1, ends: int = NOW + S, intent=BUY, **account):
    params = PARAMS.copy()
    for row in granted_rows(0, in_force, ends, NOW):
        params[row["price"]] = row["size"]
    return probe(intent=intent, account=account).judge(moa.decide, params)


REQUESTS = [
    ({}, "RISK_OVERRIDE_GRANTED"),
    ({"n": 1}, "RISK_OVERRIDE_NEAR_LIMIT"),
    ({"n": 2}, "RISK_OVERRIDE_NEAR_LIMIT"),
    ({"n": 3}, "RISK_OVERRIDE_TOO_MANY"),
    ({"n": 3, "ago": 3_600 * S}, "RISK_OVERRIDE_GRANTED"),
    ({"reason": ""}, "RISK_OVERRIDE_NO_REASON"),
    ({"reason": " \n"}, "RISK_OVERRIDE_NO_REASON"),
    ({"ttl": 0}, "RISK_OVERRIDE_NOT_BOUND"),
    ({"ttl": -S}, "RISK_OVERRIDE_NOT_BOUND"),
    ({"ttl": 7_200 * S}, "RISK_OVERRIDE_GRANTED"),
    ({"ttl": 7_200 * S + 1}, "RISK_OVERRIDE_NOT_BOUND"),
    ({"switch_on": True}, "RISK_OVERRIDE_DURING_HALT"),
    ({"bot_id": "risk.nobody"}, "RISK_OVERRIDE_NO_SCOPE"),
    ({"parameter": "max_markt"}, "RISK_OVERRIDE_NO_SCOPE"),
    ({"value": "25001"}, "RISK_OVERRIDE_NO_SCOPE"),
    ({"value": "a lot"}, "RISK_OVERRIDE_NO_SCOPE"),
    ({"bot_id": BOT, "parameter": "near_overrides", "value": "3"}, "RISK_OVERRIDE_NO_SCOPE"),
]


@pytest.mark.parametrize(("given_", "code"), REQUESTS)
def test_each_request_has_its_answer(given_, code):
    answer = ask(**given_)
    assert answer.code == code
    assert answer.granted == (code in ("RISK_OVERRIDE_GRANTED", "RISK_OVERRIDE_NEAR_LIMIT"))
    assert answer.what.startswith("ada: ")


ORDERS = [
    (vote(0, 0), "RISK_NO_OVERRIDE", "APPROVE"),
    (vote(), "RISK_OVERRIDE_IN_FORCE", "APPROVE"),
    (vote(3), "RISK_OVERRIDE_IN_FORCE", "APPROVE"),
    (vote(4), "RISK_OVERRIDE_TOO_MANY", "REJECT"),
    (vote(-1), "RISK_OVERRIDE_TOO_MANY", "REJECT"),
    (vote(ends=NOW), "RISK_OVERRIDE_EXPIRED", "REJECT"),
    (vote(ends=0), "RISK_OVERRIDE_NOT_BOUND", "REJECT"),
    (vote(switch=1), "RISK_OVERRIDE_DURING_HALT", "REJECT"),
    (vote(halted=4003), "RISK_OVERRIDE_DURING_HALT", "REJECT"),
    (vote(ends=NOW - S, intent=SELL, switch=1), "RISK_OVERRIDE_IN_FORCE", "APPROVE"),
]


@pytest.mark.parametrize(("got", "code", "verdict"), ORDERS)
def test_each_order_has_its_answer(got, code, verdict):
    assert (got[0], got[1]["verdict"]) == (code, verdict)


def test_these_are_all_the_reasons():
    assert {c for _, c in REQUESTS} | {c for _, c, _ in ORDERS} == set(moa.SPEC.reason_codes)


def test_the_changed_value_and_the_facts_are_one_message():
    rows = granted_rows(9, 1, NOW + S, NOW, (12, 2, 5_000))
    assert rows["aux"].tolist() == [12, 9, 9] and (rows["kind"] == EventKind.CONFIG).all()
    assert rows["price"].tolist() == [2, moa.ENDS, moa.IN_FORCE]
    assert rows["size"].tolist() == [5_000, NOW + S, 1] and rows["flags"].tolist() == [0, 0, Flag.LAST]
    assert granted_rows(9, 0, 0, NOW)["aux"].tolist() == [9, 9]


def test_longer_than_two_hours_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        moa.SPEC.kernel_params({"max_override_s": 7_201})


texts = st.sampled_from(["", " ", "because", "x" * 200])


@rc.thousand
@given(st.integers(0, 6), st.booleans(), st.integers(-S, 9_000 * S), texts, st.integers(0, 7_200 * S))
def test_no_request_passes_that_any_rule_forbids_and_more_grants_are_never_kinder(n, switch_on, ttl, reason, ago):
    answer = ask(n, switch_on, ago, ttl=ttl, reason=reason)
    counted = n if ago < 3_600 * S else 0
    assert answer.granted == (not switch_on and bool(reason.strip()) and 0 < ttl <= 7_200 * S and counted < 3)
    if ask(n + 1, switch_on, ago, ttl=ttl, reason=reason).granted:
        assert answer.granted


@rc.thousand
@given(rc.cases(), rc.permitted(moa.SPEC), st.integers(0, 2**32))
def test_no_opening_passes_past_an_end_and_nothing_but_the_vote_is_written(case, params, seed):
    for slot, fact in rc.facts(random.Random(seed)).items():
        params[slot] = fact
    code, answer = rc.judge(BOT, case, params)
    opens, changed = case["intent"]["side"] == 0, params[moa.IN_FORCE] != 0
    if opens and changed and (params[moa.ENDS] <= NOW or case["account"]["switch"] or case["account"]["halted"]):
        assert answer["verdict"] == "REJECT"
    if not opens or not changed:
        assert answer["verdict"] == "APPROVE"
    assert code in moa.SPEC.reason_codes and rc.sets_no_constraint(answer) and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
