"""risk.ratelimitgovernor: no sixty minutes see more openings than may be; exits and standing quotes always pass."""

from __future__ import annotations

import random

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine.probe import NOW, probe
from polytraders.engine.state import ACCOUNT, POSITION, SENT_CELLS, SENT_PERIOD, count_sent, records
from polytraders.errors import ConfigError
from polytraders.risk import ratelimitgovernor as rlg
from polytraders.rows import EventKind, Flag

BOT = "risk.ratelimitgovernor"
PARAMS = rlg.SPEC.kernel_params()
S = 1_000_000_000
HOUR = 3_600 * S
BUY, SELL = {"side": 0, "price": 6_200, "size": 10**8}, {"side": 1, "price": 6_300, "size": 10**8}
STANDING = BUY | {"working": 2, "working_price": 6_200, "working_side": 0, "working_outcome": 0, "working_size": 10**8}


def sent(n: int, ago: int = 0):
    record = records(ACCOUNT, 1)[0]
    for _ in range(n):
        count_sent(record, NOW - ago)
    return {"sent_period": int(record.sent_period), "sent": record.sent.tolist()}


def vote(n: int = 0, intent=BUY, market_n: int | None = None, ago: int = 0, params=PARAMS):
    account, position = sent(n, ago), sent(n if market_n is None else market_n, ago)
    return probe(intent=intent, account=account, position=position).judge(rlg.decide, params)


@pytest.mark.parametrize(
    ("n", "code"), [(0, "RISK_RATE_OK"), (15, "RISK_RATE_OK"), (16, "RISK_RATE_NEAR"), (19, "RISK_RATE_NEAR")]
)
def test_orders_pass_below_the_limit(n, code):
    assert vote(n)[0] == code and vote(n)[1]["observed"] == n


@pytest.mark.parametrize("n", [20, 21, 900])
def test_at_the_limit_openings_stop_and_nothing_else_does(n):
    code, answer = vote(n)
    assert (code, answer["verdict"], answer["observed"], answer["limit"]) == ("RISK_RATE_ACCOUNT", "REJECT", n, 20)
    assert vote(n, SELL)[0] == "RISK_RATE_EXIT" and vote(n, SELL)[1]["verdict"] == "APPROVE"
    assert vote(n, STANDING)[0] == "RISK_RATE_NOTHING_SENT" and vote(n, STANDING)[1]["verdict"] == "APPROVE"


@pytest.mark.parametrize(
    "change",
    [
        {"working_price": 6_100},
        {"working_side": 1},
        {"working_outcome": 1},
        {"working": 0},
        {"working_size": 10**8 + 1},
    ],
)
def test_a_quote_that_differs_in_anything_is_sent_anew_and_counts(change):
    assert vote(20, STANDING | change)[0] == "RISK_RATE_ACCOUNT"


def test_an_hour_is_forgotten_after_an_hour_and_not_before():
    assert vote(20, ago=HOUR - 1)[0] == "RISK_RATE_ACCOUNT"
    assert vote(20, ago=HOUR + SENT_PERIOD)[0] == "RISK_RATE_OK"


def test_a_market_has_a_limit_of_its_own():
    params = rlg.SPEC.kernel_params({"orders_per_hour": 100, "market_orders_per_hour": 10})
    assert vote(20, market_n=9, params=params)[0] == "RISK_RATE_NEAR"
    code, answer = vote(20, market_n=10, params=params)
    assert (code, answer["observed"], answer["limit"]) == ("RISK_RATE_MARKET", 10, 10)


def venue(left: int, reset: int):
    params = PARAMS.copy()
    for row in rlg.venue_rows(0, left, reset, NOW):
        params[row["price"]] = row["size"]
    return params


def test_the_venues_own_budget_counts_until_it_is_refilled():
    assert vote(params=venue(5, NOW + 1))[0] == "RISK_RATE_VENUE"
    assert vote(intent=SELL, params=venue(0, NOW + 1))[0] == "RISK_RATE_EXIT"
    assert vote(params=venue(6, NOW + 1))[0] == "RISK_RATE_OK"
    assert vote(params=venue(0, NOW))[0] == "RISK_RATE_OK"
    rows = rlg.venue_rows(3, 5, NOW + 1, NOW)
    assert (rows["kind"] == EventKind.CONFIG).all() and rows["aux"].tolist() == [3, 3]
    assert rows["flags"].tolist() == [0, Flag.LAST]


def test_these_are_all_the_reasons():
    given_ = [vote(0)[0], vote(16)[0], vote(20)[0], vote(20, SELL)[0], vote(20, STANDING)[0]]
    params = rlg.SPEC.kernel_params({"orders_per_hour": 100})
    codes = {*given_, vote(20, params=params)[0], vote(params=venue(0, NOW + 1))[0]}
    assert codes == set(rlg.SPEC.reason_codes)


def test_the_maker_profile_starts_without_a_warning_and_more_than_the_venue_takes_does_not():
    maker = {"orders_per_hour": 36_000, "market_orders_per_hour": 3_600}
    assert rlg.SPEC.check(maker) == [] and rlg.SPEC.check({"orders_per_hour": 36_001}) == ["orders_per_hour"]
    with pytest.raises(ConfigError, match="hard"):
        rlg.SPEC.kernel_params({"orders_per_hour": 144_001})


@pytest.mark.parametrize("seed", range(8))
def test_no_sixty_minutes_see_more_openings_than_may_be(seed):
    r = random.Random(seed)
    account, position = records(ACCOUNT, 1)[0], records(POSITION, 1)[0]
    x, now, openings = probe(intent=BUY), NOW, []
    for _ in range(1_000):
        now += r.choice([S, 20 * S, 70 * S, 400 * S, r.randint(0, 2_000) * S])
        x.market.now = now
        for ours, mine in ((x.account, account), (x.position, position)):
            ours.sent_period, ours.sent[:] = mine.sent_period, mine.sent
        if x.judge(rlg.decide, PARAMS)[1]["verdict"] == "APPROVE":
            count_sent(account, now), count_sent(position, now)
            openings.append(now)
    assert openings
    assert max(sum(t <= u < t + HOUR for u in openings) for t in openings) <= 20


@rc.thousand
@given(rc.cases(), rc.permitted(rlg.SPEC), st.integers(0, 2**32), st.sampled_from(["account", "position"]))
def test_one_more_order_sent_never_turns_a_refusal_into_an_approval(case, params, seed, part):
    for slot, fact in rc.facts(random.Random(seed)).items():
        params[slot] = fact
    _, before = rc.judge(BOT, case, params)
    sent_ = list(case[part]["sent"])
    sent_[random.Random(seed).randrange(SENT_CELLS)] += 1
    _, after = rc.judge(BOT, rc.with_(case, part, sent=sent_), params)
    assert rc.STRICTNESS[after["verdict"]] >= rc.STRICTNESS[before["verdict"]]


@rc.thousand
@given(rc.cases(), rc.permitted(rlg.SPEC), st.integers(0, 2**32))
def test_sales_and_standing_quotes_pass_and_nothing_but_the_vote_is_written(case, params, seed):
    for slot, fact in rc.facts(random.Random(seed)).items():
        params[slot] = fact
    code, answer = rc.judge(BOT, case, params)
    assert code in rlg.SPEC.reason_codes and answer["verdict"] in ("APPROVE", "REJECT")
    if case["intent"]["side"] == 1 or code == "RISK_RATE_NOTHING_SENT":
        assert answer["verdict"] == "APPROVE"
    assert rc.sets_no_constraint(answer) and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
