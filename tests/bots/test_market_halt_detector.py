"""risk.market_halt_detector: nothing is sent into a market that is halted, or that has only just recovered."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import market_halt_detector as mh
from polytraders.rows import Status

BOT = "risk.market_halt_detector"
PARAMS = mh.SPEC.kernel_params()
M = rc.MICRO
BOOK = {"bids": [("0.46", "400")], "asks": [("0.48", "350")], "age_ms": 200}
BUY = {"price": 4_600, "size": 20 * M, "passive_only": 1}


def vote(params=PARAMS, intent=BUY, **given_):
    return probe(**(BOOK | given_), intent=intent).judge(mh.decide, params)


REASONS = [
    ({}, "RISK_MARKET_NORMAL"),
    *(({"market": {"status": status}}, "RISK_MARKET_HALTED") for status in Status if status != Status.OPEN),
    ({"market": {"feed_up": 0}}, "RISK_NO_MARKET_DATA"),
    ({"bids": [], "asks": []}, "RISK_NO_MARKET_DATA"),
    ({"asks": []}, "RISK_HALT_BOOK_BROKEN"),
    ({"bids": []}, "RISK_HALT_BOOK_BROKEN"),
    ({"bids": [("0.48", "400")]}, "RISK_HALT_BOOK_BROKEN"),
    ({"bids": [("0.49", "400")]}, "RISK_HALT_BOOK_BROKEN"),
    ({"age_ms": 15_000}, "RISK_MARKET_NORMAL"),
    ({"age_ms": 15_001}, "RISK_HALT_BOOK_BROKEN"),
    ({"asks": [("0.75", "350")]}, "RISK_MARKET_NORMAL"),
    ({"asks": [("0.76", "350")]}, "RISK_HALT_SPREAD"),
    ({"market": {"jump2": 1_999}}, "RISK_MARKET_NORMAL"),
    ({"market": {"jump2": 2_000}}, "RISK_HALT_PRICE_JUMP"),
    ({"market": {"jump2_before": 2_000}}, "RISK_HALT_PRICE_JUMP"),
    ({"market": {"widest": 2_999}}, "RISK_MARKET_NORMAL"),
    ({"market": {"widest": 3_000}}, "RISK_HALT_COOLING"),
    ({"market": {"widest_before": 10_000}}, "RISK_HALT_COOLING"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_at_its_limit(given_, code):
    got, answer = vote(**given_)
    assert got == code
    assert answer["verdict"] == ("APPROVE" if code == "RISK_MARKET_NORMAL" else "REJECT")
    assert rc.sets_no_constraint(answer)


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(mh.SPEC.reason_codes)


def test_what_was_measured_stands_beside_its_limit():
    assert [vote(asks=[("0.8", "9")])[1][k] for k in ("observed", "limit")] == [3_400, 3_000]
    assert [vote(market={"jump2": 2_401})[1][k] for k in ("observed", "limit")] == [1_200, 1_000]
    assert [vote(age_ms=20_000)[1][k] for k in ("observed", "limit")] == [20 * 10**9, 15 * 10**9]


def test_a_sale_of_what_is_held_is_refused_like_everything_else():
    sale = {"side": 1, "price": 4_700, "size": 50 * M}
    assert vote(intent=sale, position={"yes": 50 * M}, market={"jump2": 2_000})[0] == "RISK_HALT_PRICE_JUMP"


def test_a_limit_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        mh.SPEC.kernel_params({"halt_jump_bps": 5_001})
    assert mh.SPEC.check() == []
    assert mh.SPEC.check({"halt_jump_bps": 2_001}) == ["halt_jump_bps"]


# ---------------------------------------------------------------------------------------------- properties

PAST = st.tuples(*(st.one_of(st.just(0), st.integers(0, 10_000)) for _ in range(4))).map(
    lambda v: dict(zip(("widest", "widest_before", "jump2", "jump2_before"), v, strict=True))
)


@rc.thousand
@given(rc.cases(), rc.permitted(mh.SPEC), PAST, PAST, st.integers(0, 60_000))
def test_a_worse_past_and_a_longer_silence_never_get_a_kinder_verdict(case, params, past, more, silence):
    case = rc.with_(case, "market", **past)
    worse = rc.with_(case, "market", **{k: past[k] + more[k] for k in past}) | {"age_ms": case["age_ms"] + silence}
    (_, before), (_, after) = rc.judge(BOT, case, params), rc.judge(BOT, worse, params)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.permitted(mh.SPEC), st.integers(1, 98), st.integers(1, 98), st.integers(0, 90))
def test_a_wider_spread_never_gets_a_kinder_verdict(params, bid, ticks, more):
    def strictness(spread):
        case = {"bids": [(bid * 100, M)], "asks": [(min(bid + spread, 99) * 100, M)]}
        return rc.STRICTNESS[rc.judge(BOT, case, params)[1]["verdict"]]

    if bid + ticks <= 99:
        assert strictness(ticks + more) >= strictness(ticks)


@rc.thousand
@given(rc.cases(), rc.cases(), rc.permitted(mh.SPEC), PAST)
def test_the_verdict_is_about_the_market_and_not_about_the_order(case, other, params, past):
    case = rc.with_(case, "market", **past)
    exchanged = case | {part: other[part] for part in ("intent", "position", "account")}
    assert rc.judge(BOT, case, params) == rc.judge(BOT, exchanged, params)


@rc.thousand
@given(rc.cases(), rc.permitted(mh.SPEC), PAST)
def test_nothing_passes_beyond_the_hard_limits_whatever_is_configured(case, params, past):
    x = probe(**rc.with_(case, "market", **past))
    code, answer = x.judge(mh.decide, params)
    m = x.market
    if answer["verdict"] == "APPROVE":
        assert code == "RISK_MARKET_NORMAL"
        assert m.status == Status.OPEN and m.feed_up and 0 <= m.best_bid < m.best_ask
        assert m.best_ask - m.best_bid < 9_000 and max(past["widest"], past["widest_before"]) < 9_000
        assert max(past["jump2"], past["jump2_before"]) < 10_002 and m.now - m.book_ts <= 60 * 10**9


@rc.thousand
@given(rc.cases(), rc.permitted(mh.SPEC), PAST)
def test_asked_twice_it_says_the_same_and_writes_only_the_vote(case, params, past):
    case = rc.with_(case, "market", **past)
    assert rc.judge(BOT, case, params) == rc.judge(BOT, case, params)
    assert rc.writes_only_the_vote(BOT, case, params)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
