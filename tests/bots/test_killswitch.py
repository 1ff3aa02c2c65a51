"""risk.killswitch: it lets everything through or nothing, and the first micro-pUSD beyond a limit stops it."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.risk import killswitch as ks

BOT = "risk.killswitch"
PARAMS = ks.SPEC.kernel_params()
M = rc.MICRO
BOOK = {"bids": [("0.62", "400")], "asks": [("0.63", "350")], "age_ms": 200}
HELD = {"yes": 50 * M, "yes_cost": 31 * M}


def vote(params=PARAMS, **given_):
    return probe(**(BOOK | given_)).judge(ks.decide, params)


def test_the_example_is_refused_with_the_fall_computed_by_hand():
    # (1050 - 1007.4) / 1050 = 0.0405714..., rounded up
    code, answer = vote(account={"day_peak": 1_050 * M, "equity": 1_007_400_000})
    assert (code, answer["verdict"], answer["latch"]) == ("RISK_DRAWDOWN_BREACH", "REJECT", 1)
    assert (answer["observed"], answer["limit"]) == (40_572, 40_000)


@pytest.mark.parametrize(
    ("case", "code", "latch"),
    [
        ({}, "RISK_TRADING_ALLOWED", 0),
        ({"account": {"switch": 1}}, "RISK_KILL_SWITCH_ACTIVE", 0),
        ({"account": {"halted": 4003}}, "RISK_KILL_SWITCH_ACTIVE", 0),
        ({"account": {"equity": 959 * M}}, "RISK_DRAWDOWN_BREACH", 1),
        ({"account": {"equity": 899 * M, "day_peak": 899 * M, "day_open": 899 * M}}, "RISK_DRAWDOWN_BREACH", 1),
        ({"account": {"equity": 899 * M, "day_peak": 930 * M, "week_peak": 930 * M}}, "RISK_DAILY_LOSS_BREACH", 1),
        (
            {"account": {"equity": 849 * M, "day_peak": 849 * M, "day_open": 849 * M, "week_peak": 849 * M}},
            "RISK_TOTAL_DRAWDOWN_BREACH",
            1,
        ),
        ({"account": {"recent_submits": 10_000, "recent_rejects": 5_001}}, "RISK_REJECT_RATE_BREACH", 1),
        ({"position": HELD, "market": {"feed_up": 0}}, "RISK_FEED_LOST", 1),
        ({"position": HELD, "age_ms": 60_001}, "RISK_FEED_LOST", 1),
        ({"market": {"switch": 64}}, "RISK_KILL_SWITCH_ACTIVE", 0),
        ({"account": {"api_errors": 500_001}}, "RISK_API_ERROR_RATE_BREACH", 1),
        ({"account": {"shortfall": 1 * M + 1}}, "RISK_WALLET_SHORTFALL", 1),
    ],
)
def test_every_reason_is_given_for_its_cause(case, code, latch):
    assert ks.SPEC.parameter("intraday_drawdown_pct").default == 4
    got, answer = vote(**case)
    assert (got, answer["latch"]) == (code, latch)
    assert answer["verdict"] == ("APPROVE" if code == "RISK_TRADING_ALLOWED" else "REJECT")


def test_the_reasons_above_are_all_the_bot_declares():
    marks = test_every_reason_is_given_for_its_cause.pytestmark[0].args[1]
    assert {code for _, code, _ in marks} | {"RISK_STOPPED_REDUCING"} == set(ks.SPEC.reason_codes)


PLAN = ks.SPEC.kernel_params({"reduce_after_trip": "true"})
SALE = {"side": 1, "size": 20 * M, "price": 6_300, "reduce_only": 1}


@pytest.mark.parametrize(
    ("intent", "account", "market", "code"),
    [
        (SALE, {"switch": 1}, {}, "RISK_STOPPED_REDUCING"),
        (SALE, {"halted": 4003}, {}, "RISK_STOPPED_REDUCING"),
        (SALE, {}, {"switch": 64}, "RISK_STOPPED_REDUCING"),
        (SALE | {"reduce_only": 0}, {"switch": 1}, {}, "RISK_KILL_SWITCH_ACTIVE"),
        (SALE | {"side": 0}, {"switch": 1}, {}, "RISK_KILL_SWITCH_ACTIVE"),
        (SALE, {"switch": 1 << 5}, {}, "RISK_KILL_SWITCH_ACTIVE"),  # a bot is off
        (SALE, {"switch": 1 << 4 | 1}, {}, "RISK_KILL_SWITCH_ACTIVE"),  # a family is off, too
    ],
)
def test_the_plan_lets_only_what_closes_pass_and_nothing_with_a_bot_off(intent, account, market, code):
    got, answer = vote(PLAN, intent=intent, position=HELD, account=account, market=market)
    assert got == code and answer["verdict"] == ("APPROVE" if code == "RISK_STOPPED_REDUCING" else "REJECT")
    assert vote(intent=intent, position=HELD, account=account, market=market)[0] == "RISK_KILL_SWITCH_ACTIVE"


def test_the_limits_of_what_the_runner_measures_are_inside():
    assert vote(account={"api_errors": 500_000, "shortfall": 1 * M})[0] == "RISK_TRADING_ALLOWED"


@pytest.mark.parametrize(
    ("field", "high", "limit"),
    [
        ("day_peak", 1_050_000_000, 40_000),
        ("week_peak", 1_333_333_333, 100_000),
        ("day_open", 1_000_000_001, 100_000),
        ("peak", 1_999_999_999, 150_000),
    ],
)
def test_the_limit_itself_is_inside_and_one_micro_pusd_more_is_not(field, high, limit):
    floor = high - high * limit // 1_000_000
    names = ("day_peak", "week_peak", "day_open", "peak")
    account = {name: floor for name in names} | {field: high}
    assert vote(account=account | {"equity": floor})[0] == "RISK_TRADING_ALLOWED"
    assert vote(account=account | {"equity": floor - 1})[1]["verdict"] == "REJECT"


def test_missing_peaks_are_a_complete_loss():
    for field in ("day_peak", "week_peak", "day_open", "peak"):
        _, answer = vote(account={field: 0})
        assert (answer["verdict"], answer["observed"]) == ("REJECT", 1_000_000)


def test_an_account_without_positions_is_not_stopped_by_a_lost_feed():
    assert vote(market={"feed_up": 0})[0] == "RISK_TRADING_ALLOWED"
    assert vote(market={"feed_up": 0}, account={"cost": 1})[0] == "RISK_FEED_LOST"
    assert vote(bids=[], asks=[], position=HELD)[0] == "RISK_FEED_LOST"
    assert vote(age_ms=10**6)[0] == "RISK_TRADING_ALLOWED"


def test_without_manual_reset_a_trip_asks_for_no_latch():
    loose = ks.SPEC.kernel_params({"require_manual_reset": "false"})
    code, answer = vote(loose, account={"equity": 900 * M})
    assert (code, answer["verdict"], answer["latch"]) == ("RISK_DRAWDOWN_BREACH", "REJECT", 0)
    assert vote(loose, account={"equity": 990 * M})[0] == "RISK_TRADING_ALLOWED"


def test_a_limit_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        ks.SPEC.kernel_params({"intraday_drawdown_pct": "10.01"})


@rc.thousand
@given(rc.cases(), st.integers(0, 10**12))
def test_lower_equity_is_never_treated_more_kindly(case, less):
    _, before = rc.judge(BOT, case, PARAMS)
    _, after = rc.judge(BOT, rc.with_(case, "account", equity=case["account"]["equity"] - less), PARAMS)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), st.integers(0, 20_000), st.integers(0, 100_000))
def test_more_refusals_or_longer_silence_are_never_treated_more_kindly(case, refusals, longer):
    case = case | {"age_ms": max(case["age_ms"], 0)}
    _, before = rc.judge(BOT, case, PARAMS)
    worse = rc.with_(case, "account", recent_rejects=case["account"]["recent_rejects"] + refusals)
    _, after = rc.judge(BOT, worse | {"age_ms": case["age_ms"] + longer}, PARAMS)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), rc.permitted(ks.SPEC), st.sampled_from(("day_peak", "week_peak", "day_open", "peak")))
def test_a_fall_beyond_the_hard_limit_is_refused_whatever_is_configured(case, params, field):
    hard = {"day_peak": 10, "week_peak": 20, "day_open": 20, "peak": 30}[field]
    case = rc.with_(case, "intent", reduce_only=0)  # what only closes is the plan's business
    high = case["account"][field]
    _, answer = rc.judge(BOT, rc.with_(case, "account", equity=high - high * hard // 100 - 1), params)
    assert answer["verdict"] == "REJECT"


@rc.thousand
@given(rc.cases(), rc.permitted(ks.SPEC))
def test_it_approves_or_refuses_and_touches_nothing(case, params):
    code, answer = rc.judge(BOT, case, params)
    assert answer["verdict"] in ("APPROVE", "REJECT") and rc.sets_no_constraint(answer)
    assert (code in ("RISK_TRADING_ALLOWED", "RISK_STOPPED_REDUCING")) == (answer["verdict"] == "APPROVE")
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


@rc.thousand
@given(rc.cases(), rc.permitted(ks.SPEC))
def test_an_active_switch_refuses_any_order_that_is_not_marked_to_reduce(case, params):
    case = rc.with_(case, "intent", reduce_only=0)
    code, answer = rc.judge(BOT, rc.with_(case, "account", switch=1), params)
    assert (code, answer["verdict"]) == ("RISK_KILL_SWITCH_ACTIVE", "REJECT")


@rc.thousand
@given(rc.cases())
def test_a_trip_and_its_receipt_agree(case):
    code, answer = rc.judge(BOT, case, PARAMS)
    if code != "RISK_KILL_SWITCH_ACTIVE" and not (code == "RISK_FEED_LOST" and answer["observed"] <= answer["limit"]):
        assert (answer["observed"] > answer["limit"]) == (answer["verdict"] == "REJECT")
    if code == "RISK_FEED_LOST" and answer["observed"] <= answer["limit"]:
        assert case["market"]["feed_up"] == 0 or not case["bids"] + case["asks"]


@given(st.integers(1, 9 * 10**15), st.integers(-(10**12), 9 * 10**15))
def test_the_fall_is_exact_far_beyond_any_account(high, equity):
    assert ks.fall_ppm(high, equity) == max(-(-(high - equity) * 10**6 // high), 0)
    assert ks.part_of(high, 40_000) == high * 40_000 // 10**6


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)


def test_a_book_from_the_future_is_no_silence():
    assert vote(position=HELD, market={"book_ts": NOW + 1})[0] == "RISK_TRADING_ALLOWED"
