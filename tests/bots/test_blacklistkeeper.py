"""risk.blacklistkeeper: nothing is opened where something is held against the market; holdings can always be sold."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import blacklistkeeper as bl
from polytraders.rows import Listed

BOT = "risk.blacklistkeeper"
S = 1_000_000_000
BUY, SELL = {"side": 0, "price": 6_200, "size": 10**8}, {"side": 1, "price": 6_300, "size": 10**8}
SINGLE = {"block_single_source": "true"}


def vote(flags: int = 0, intent=BUY, end_ts: int = 0, **values):
    given_ = {"flags": int(flags), "end_ts": end_ts}
    return probe(intent=intent, market=given_).judge(bl.decide, bl.SPEC.kernel_params(values))


FINDINGS = [
    (Listed.UNVETTED, {}, "RISK_BLACKLIST_UNREADABLE"),
    (Listed.BANNED, {}, "RISK_MARKET_BANNED"),
    (Listed.OUT_OF_SCOPE, {}, "RISK_MARKET_OUT_OF_SCOPE"),
    (Listed.DISPUTED, {}, "RISK_MARKET_DISPUTED"),
    (Listed.NO_SOURCE, {}, "RISK_MARKET_NO_SOURCE"),
    (Listed.SINGLE_SOURCE, SINGLE, "RISK_MARKET_SINGLE_SOURCE"),
    (Listed.CAPPED, {}, "RISK_CLUSTER_LIMIT"),
]


@pytest.mark.parametrize(("flag", "values", "code"), FINDINGS)
def test_each_finding_refuses_purchases_and_lets_holdings_go(flag, values, code):
    got, answer = vote(flag, **values)
    assert (got, answer["verdict"], answer["observed"]) == (code, "REJECT", int(flag))
    got, answer = vote(flag, SELL, **values)
    assert (got, answer["verdict"]) == ("RISK_BLACKLIST_EXIT", "APPROVE")


def test_these_and_three_more_are_all_the_reasons():
    rest = {"RISK_NOT_BLACKLISTED", "RISK_BLACKLIST_EXIT", "RISK_MARKET_ENDING"}
    assert {code for *_, code in FINDINGS} | rest == set(bl.SPEC.reason_codes)


def test_the_gravest_finding_is_named():
    for k, (_, _, code) in enumerate(FINDINGS):
        assert vote(sum(int(flag) for flag, *_ in FINDINGS[k:]), **SINGLE)[0] == code


def test_findings_that_the_desk_does_not_mind_do_not_count():
    assert vote(Listed.SINGLE_SOURCE)[0] == "RISK_NOT_BLACKLISTED"
    assert vote(Listed.DISPUTED, block_disputed="false")[0] == "RISK_NOT_BLACKLISTED"
    assert vote(Listed.NO_SOURCE, block_no_source="false")[0] == "RISK_NOT_BLACKLISTED"


@pytest.mark.parametrize(
    ("left", "code"),
    [
        (60 * S, "RISK_NOT_BLACKLISTED"),
        (60 * S - 1, "RISK_MARKET_ENDING"),
        (-S, "RISK_MARKET_ENDING"),
    ],
)
def test_the_time_that_is_left_counts_to_the_ns(left, code):
    got, answer = vote(end_ts=NOW + left, min_time_to_end_s="60")
    assert got == code
    if code == "RISK_MARKET_ENDING":
        assert (answer["observed"], answer["limit"]) == (left, 60 * S)
        assert vote(intent=SELL, end_ts=NOW + left, min_time_to_end_s="60")[0] == "RISK_BLACKLIST_EXIT"


def test_an_end_that_is_not_known_or_no_floor_is_no_reason():
    assert vote(end_ts=0, min_time_to_end_s="60")[0] == "RISK_NOT_BLACKLISTED"
    assert vote(end_ts=NOW - S)[0] == "RISK_NOT_BLACKLISTED"


def test_a_floor_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        bl.SPEC.kernel_params({"min_time_to_end_s": 2_592_001})


@rc.thousand
@given(rc.cases(), rc.permitted(bl.SPEC), st.sampled_from(Listed))
def test_one_more_finding_never_opens_a_market(case, params, flag):
    _, before = rc.judge(BOT, case, params)
    _, after = rc.judge(BOT, rc.with_(case, "market", flags=case["market"]["flags"] | flag), params)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), rc.permitted(bl.SPEC), st.integers(0, 10**6 * S))
def test_more_time_is_never_treated_worse(case, params, more):
    end = NOW + 60 * S
    _, before = rc.judge(BOT, rc.with_(case, "market", end_ts=end), params)
    _, after = rc.judge(BOT, rc.with_(case, "market", end_ts=end + more), params)
    assert rc.STRICTNESS[after["verdict"]] <= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), rc.permitted(bl.SPEC))
def test_sales_pass_and_nothing_but_the_vote_is_written(case, params):
    code, answer = rc.judge(BOT, case, params)
    assert code in bl.SPEC.reason_codes and answer["verdict"] in ("APPROVE", "REJECT")
    if case["intent"]["side"] == 1:
        assert answer["verdict"] == "APPROVE"
    if case["market"]["flags"] & (Listed.UNVETTED | Listed.BANNED):
        assert (answer["verdict"] == "REJECT") == (case["intent"]["side"] == 0)
    assert rc.sets_no_constraint(answer) and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
