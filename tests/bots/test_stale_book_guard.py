"""risk.stale_book_guard: freshness has to be shown."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import stale_book_guard as sbg

BOT = "risk.stale_book_guard"
PARAMS = sbg.SPEC.kernel_params()
S = 1_000_000_000
BOOK = {"bids": [("0.62", "400")], "asks": [("0.63", "350")]}


def vote(age_ms: int = 0, params=PARAMS, **given_):
    return probe(**(BOOK | given_), age_ms=age_ms).judge(sbg.decide, params)


def test_seven_seconds_are_refused_and_400_ms_after_the_reconnect_pass():
    code, answer = vote(7_000)
    assert (code, answer["verdict"], answer["observed"], answer["limit"]) == ("RISK_STALE_BOOK", "REJECT", 7 * S, 3 * S)
    code, answer = vote(400)
    assert (code, answer["verdict"], answer["observed"]) == ("RISK_BOOK_FRESH", "APPROVE", 400_000_000)


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (0, "RISK_BOOK_FRESH"),
        (2 * S, "RISK_BOOK_FRESH"),
        (2 * S + 1, "RISK_BOOK_AGEING"),
        (3 * S, "RISK_BOOK_AGEING"),
        (3 * S + 1, "RISK_STALE_BOOK"),
        (-1, "RISK_STALE_BOOK"),
    ],
)
def test_every_reason_is_given_at_its_age_to_the_ns(age, code):
    got, answer = vote(market={"book_ts": NOW - age, "event_ts": NOW - age})
    assert got == code
    assert answer["verdict"] == ("REJECT" if code == "RISK_STALE_BOOK" else "APPROVE")


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_at_its_age_to_the_ns.pytestmark[0].args[1]
    assert {code for _, code in marks} == set(sbg.SPEC.reason_codes)


@pytest.mark.parametrize(
    "given_",
    [
        {"bids": [], "asks": []},
        {"market": {"feed_up": 0}},
        {"market": {"book_ts": NOW + 1}},
        {"market": {"book_ts": -1}},
    ],
)
def test_an_age_that_cannot_be_shown_is_a_refusal(given_):
    code, answer = vote(100, **given_)
    assert (code, answer["verdict"], answer["observed"]) == ("RISK_STALE_BOOK", "REJECT", sbg.UNKNOWN)


def test_a_message_that_was_old_when_it_arrived_is_old():
    assert vote(0, market={"event_ts": NOW - 7 * S})[0] == "RISK_STALE_BOOK"
    assert vote(0, market={"event_ts": NOW + S})[0] == "RISK_BOOK_FRESH"
    assert vote(7_000, market={"event_ts": NOW})[0] == "RISK_STALE_BOOK"
    assert vote(100, market={"event_ts": 0})[0] == "RISK_BOOK_FRESH"


def test_a_sale_of_what_is_held_is_refused_on_an_old_book_too():
    held = {"yes": 50 * rc.MICRO, "yes_cost": 31 * rc.MICRO}
    sale = {"side": 1, "price": 6_300, "size": 50 * rc.MICRO}
    assert vote(7_000, position=held, intent=sale)[0] == "RISK_STALE_BOOK"


def test_a_threshold_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        sbg.SPEC.kernel_params({"staleness_threshold_s": "15.1"})
    assert sbg.SPEC.check({"staleness_threshold_s": 6}) == ["staleness_threshold_s"]
    assert sbg.SPEC.check() == []


RANK = {"RISK_BOOK_FRESH": 0, "RISK_BOOK_AGEING": 1, "RISK_STALE_BOOK": 2}


@rc.thousand
@given(rc.cases(), rc.permitted(sbg.SPEC), st.integers(0, 20 * S), st.integers(0, 20 * S), st.booleans())
def test_an_older_book_is_never_treated_more_kindly(case, params, age, older, at_the_venue):
    field = "event_ts" if at_the_venue else "book_ts"
    young = rc.with_(case, "market", book_ts=NOW, event_ts=NOW) | {"age_ms": 0}
    first, _ = rc.judge(BOT, rc.with_(young, "market", **{field: NOW - age}), params)
    second, _ = rc.judge(BOT, rc.with_(young, "market", **{field: NOW - age - older}), params)
    assert RANK[second] >= RANK[first]


@rc.thousand
@given(rc.cases(), rc.permitted(sbg.SPEC), st.integers(1, 10**18))
def test_an_age_beyond_the_hard_limit_is_refused_whatever_is_configured(case, params, beyond):
    _, answer = rc.judge(BOT, rc.with_(case, "market", book_ts=NOW - 15 * S - beyond), params)
    assert answer["verdict"] == "REJECT"


@rc.thousand
@given(rc.cases(), rc.permitted(sbg.SPEC))
def test_it_approves_or_refuses_and_touches_nothing(case, params):
    code, answer = rc.judge(BOT, case, params)
    assert (
        (answer["verdict"] == "REJECT")
        == (code == "RISK_STALE_BOOK")
        == (answer["observed"] == sbg.UNKNOWN or answer["observed"] > params[sbg.THRESHOLD])
    )
    assert rc.sets_no_constraint(answer) and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
