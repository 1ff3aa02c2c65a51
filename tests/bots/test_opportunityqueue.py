"""disc.opportunityqueue: the best markets are candidates, and never more of them than there are places."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import risk_cases as rc
from hypothesis import example, given
from hypothesis import strategies as st

from polytraders.discovery import opportunityqueue as oq
from polytraders.engine import state as s
from polytraders.engine.probe import NOW, probe
from polytraders.errors import ConfigError
from polytraders.units import NS_PER_S

M = rc.MICRO
PARAMS = oq.SPEC.kernel_params()
BOOK = {"bids": [("0.62", "400")], "asks": [("0.64", "500")]}
STEP = 1 / oq.SCORES


def look(params=None, rating=0.6, market=None, **given_):
    """(code, candidate, score) of one market."""
    p = probe(**(BOOK | given_), market={"fee_rate": 70_000, "fee_exponent": 1} | (market or {}))
    p.market.x[s.RATING] = rating
    code = p.sense(oq.decide, oq.SPEC.kernel_params(params))
    return code, int(p.market.candidate), float(p.market.x[s.OPPORTUNITY])


def test_the_worked_example_by_hand():
    # half of two cents and 0.07 x 0.63 x 0.37 = 1.632 cents (rounded as a fee), of three; the event is far
    code, candidate, score = look({"takes": "true"})
    assert (code, candidate) == ("DISC_QUEUE_LISTED", 1)
    assert score == pytest.approx(0.6 * (1 - 263.2 / 300) / 1.1, abs=2 * STEP)
    assert look()[2] == pytest.approx(0.6 / 1.1, abs=2 * STEP)
    assert look(market={"end_ts": NOW + 3_600 * NS_PER_S})[2] == pytest.approx(0.6, abs=2 * STEP)
    assert look(market={"end_ts": NOW + 3_601 * NS_PER_S})[2] == pytest.approx(0.6 / 1.1, abs=2 * STEP)


TAKEN = {"x": [oq.entry_of(0.9, 5, NOW)] + [0.0] * (s.N_FEATURES - 1)}
REASONS = [
    ({}, "DISC_QUEUE_LISTED"),
    ({"params": {"queue_depth": 1}, "account": TAKEN}, "DISC_QUEUE_CROWDED_OUT"),
    ({"params": {"queue_depth": 2}, "account": TAKEN}, "DISC_QUEUE_LISTED"),
    ({"params": {"queue_depth": 1}, "account": TAKEN, "rating": 1.0}, "DISC_QUEUE_LISTED"),
    ({"rating": 0.0}, "DISC_QUEUE_NOT_RATED"),
    ({"rating": float("nan")}, "DISC_QUEUE_NOT_RATED"),
    ({"asks": []}, "DISC_QUEUE_NOT_RATED"),
    ({"bids": [("0.64", "9")]}, "DISC_QUEUE_NOT_RATED"),
    ({"position": {"yes": M}}, "DISC_QUEUE_LISTED"),
    ({"position": {"yes": M}, "params": {"suppress_existing_position": "true"}}, "DISC_QUEUE_SUPPRESSED"),
    ({"position": {"no": 1}, "params": {"suppress_existing_position": "true"}}, "DISC_QUEUE_SUPPRESSED"),
    ({"account": {"switch": 1}}, "DISC_QUEUE_FROZEN"),
    ({"account": {"halted": 4_003}}, "DISC_QUEUE_FROZEN"),
    ({"asks": [("0.7", "500")]}, "DISC_QUEUE_LISTED"),
    ({"asks": [("0.7", "500")], "params": {"takes": "true"}}, "DISC_QUEUE_TOO_DEAR"),
    ({"market": {"id": oq.MARKETS}}, "DISC_QUEUE_TOO_DEAR"),  # beyond what an entry can name
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_is_given_for_its_cause(given_, code):
    got, candidate, score = look(**given_)
    assert got == code
    if code != "DISC_QUEUE_FROZEN":
        assert (candidate, score > 0) == ((1, True) if code == "DISC_QUEUE_LISTED" else (0, False))


def test_the_reasons_above_are_all_the_bot_declares():
    assert {code for _, code in REASONS} == set(oq.SPEC.reason_codes)


def field(n, decide=oq.decide):
    """n markets with one account; a function that decides one of them with a rating, some seconds after the start."""
    markets = [probe(**BOOK, market={"id": k}) for k in range(n)]
    account = markets[0].account

    def ask(k, rating, at, params=PARAMS):
        markets[k].market.x[s.RATING], markets[k].market.now = rating, NOW + round(at * NS_PER_S)
        return replace(markets[k], account=account).sense(decide, params).removeprefix("DISC_QUEUE_")

    return [p.market for p in markets], account, ask


def names(account):
    """Market numbers on the list, best first."""
    return [int(e) // oq.MINUTES % oq.MARKETS for e in account.x if e]


def test_a_free_place_goes_to_the_next_best_and_a_better_one_takes_it_back():
    two = oq.SPEC.kernel_params({"queue_depth": 2})
    _, account, ask = field(3)
    assert [ask(k, r, 0, two) for k, r in enumerate((0.8, 0.7, 0.6))] == ["LISTED", "LISTED", "CROWDED_OUT"]
    assert [ask(k, r, 1, two) for k, r in enumerate((0.0, 0.7, 0.6))] == ["NOT_RATED", "LISTED", "LISTED"]
    assert [ask(k, r, 2, two) for k, r in enumerate((0.8, 0.7, 0.6))] == ["LISTED", "LISTED", "CROWDED_OUT"]
    assert names(account) == [0, 1, 2]


def test_a_score_stands_for_its_interval():
    markets, _, ask = field(1)
    ask(0, 0.6, 0)
    was = float(markets[0].x[s.OPPORTUNITY])
    ask(0, 0.9, 59.999)
    assert markets[0].x[s.OPPORTUNITY] == was
    ask(0, 0.9, 60)
    assert markets[0].x[s.OPPORTUNITY] > was


def test_a_market_that_falls_silent_loses_its_place_after_three_intervals_and_a_minute_at_the_latest():
    one = oq.SPEC.kernel_params({"queue_depth": 1})
    _, account, ask = field(2)
    assert ask(0, 0.9, 0, one) == "LISTED"
    codes = [ask(1, 0.5, at, one) for at in range(0, 301, 60)]
    assert codes == ["CROWDED_OUT"] * 5 + ["LISTED"] and names(account) == [1]


def test_a_market_that_fell_off_the_end_is_put_in_again_when_there_is_room():
    n = s.N_FEATURES + 4
    _, account, ask = field(n)
    for k in range(n):
        ask(k, 0.9 - 0.01 * k, 0)
    assert len(names(account)) == s.N_FEATURES and n - 1 not in names(account)
    for k in range(20):
        ask(k, 0.0, 1)
    assert [ask(k, 0.9 - 0.01 * k, 2) for k in range(20, n)] == ["LISTED"] * (n - 20)
    assert names(account) == list(range(20, n))


def test_a_kill_switch_freezes_everything():
    markets, account, ask = field(2)
    ask(0, 0.9, 0)
    before, market = account.x.copy(), markets[0].copy()
    account.switch = 1
    assert ask(0, 0.9, 0) == "FROZEN"
    assert np.array_equal(account.x, before) and markets[0].tobytes() == market.tobytes()


def test_a_parameter_beyond_hard_does_not_start():
    with pytest.raises(ConfigError, match="hard"):
        oq.SPEC.kernel_params({"refresh_interval_s": 4})
    with pytest.raises(ConfigError, match="32"):
        oq.SPEC.kernel_params({"queue_depth": 33})
    assert oq.SPEC.check() == []
    assert oq.SPEC.check({"queue_depth": 4}) == ["queue_depth"]


# ---------------------------------------------------------------------------------------------- properties


def story(seed: int, moves: int = 60):
    """A random field: (number of markets, parameters, moves of market, rating and seconds)."""
    r = random.Random(seed)
    n = r.choice([3, 8, 40])
    params = oq.SPEC.kernel_params(
        {"queue_depth": r.choice([1, 2, 5, 20, 32]), "refresh_interval_s": r.choice([5, 60])}
    )
    at, out = 0.0, []
    for _ in range(moves):
        at += r.choice([0, 0.1, 2, 30, 90])
        out.append((r.randrange(n), r.choice([0.0, r.random(), r.random(), r.random()]), at))
    return n, params, out


@rc.thousand
@given(st.integers(0, 2**64 - 1))
def test_the_list_is_sorted_holds_each_market_once_and_lists_no_more_than_its_places(seed):
    n, params, moves = story(seed)
    markets, account, ask = field(n)
    depth = int(params[oq.DEPTH])
    for k, rating, at in moves:
        code = ask(k, rating, at, params)
        entries, on_it = [e for e in account.x if e], names(account)
        assert list(account.x[len(entries) :]) == [0] * (s.N_FEATURES - len(entries))
        assert entries == sorted(entries, reverse=True) and len(set(on_it)) == len(on_it)
        place = on_it.index(k) if k in on_it else s.N_FEATURES
        assert (code == "LISTED") == (place < depth) == (markets[k].candidate == 1) == (markets[k].x[s.OPPORTUNITY] > 0)
        assert (code == "NOT_RATED") == (rating == 0)
        minute = NOW // 60 // NS_PER_S + int((NOW // NS_PER_S % 60 + at) // 60)
        if code in ("LISTED", "CROWDED_OUT") and markets[k].x[oq.SCORED_AT] == (NOW + round(at * NS_PER_S)) // 10**6:
            oldest = 1 + 3 * int(params[oq.REFRESH]) // (60 * NS_PER_S)
            assert all((minute - int(e)) % oq.MINUTES <= oldest for e in entries)


@rc.thousand
@given(st.integers(0, 2**64 - 1))
@example(27997770)  # a rating so small that it has no entry
def test_the_list_is_what_a_plain_model_of_it_says(seed):
    n, params, moves = story(seed)
    _, account, ask = field(n)
    refresh = int(params[oq.REFRESH]) // NS_PER_S
    oldest, depth = 1 + 3 * refresh // 60, int(params[oq.DEPTH])
    known: dict[int, tuple[float, float]] = {}  # market -> (time of the scoring in ms, entry), on the list or not
    model: list[float] = []
    for k, rating, at in moves:
        now = NOW + round(at * NS_PER_S)
        ask(k, rating, at, params)
        if rating == 0:
            model = [e for e in model if e != known.get(k, (0, 0))[1]]
            known.pop(k, None)
        else:
            if k not in known or now // 10**6 - known[k][0] >= refresh * 1_000:
                own = known.get(k, (0, 0))[1]
                minute = now // (60 * NS_PER_S)
                model = [e for e in model if e != own and (minute - int(e)) % oq.MINUTES <= oldest]
                known[k] = now // 10**6, oq.entry_of(rating * (1 / 1.1), k, now)
                if known[k][1]:  # a rating that rounds to no point at all has no entry
                    model = sorted([*model, known[k][1]], reverse=True)[: s.N_FEATURES]
            entry, worst = known[k][1], model[depth - 1] if len(model) >= depth else 0.0
            if entry and entry >= worst and entry not in model:
                model = sorted([*model, entry], reverse=True)[: s.N_FEATURES]
        assert [int(e) // oq.MINUTES % oq.MARKETS for e in model] == names(account)


@rc.thousand
@given(st.floats(0.001, 1), st.floats(0, 1), st.integers(1, 97), st.integers(1, 30), st.integers(0, 30))
def test_a_better_rating_is_never_a_lower_score_and_a_wider_spread_never_a_higher_one(rating, more, bid, ticks, wider):
    def score(rating, ticks):
        ask = min(bid + ticks, 99) * 100
        return look({"takes": "true"}, rating, {"fee_rate": 0}, bids=[(bid * 100, M)], asks=[(ask, M)])[2]

    assert score(min(rating + more, 1.0), ticks) >= score(rating, ticks) >= score(rating, ticks + wider)


@rc.thousand
@given(st.integers(0, 2**64 - 1))
def test_it_writes_the_list_its_cells_and_the_flag_and_nothing_else(seed):
    n, params, moves = story(seed, 6)
    markets, account, ask = field(n)
    for k, rating, at in moves:
        markets[k].x[s.RATING], markets[k].now = rating, NOW + round(at * NS_PER_S)
        before, money = markets[k].copy(), account.copy()
        ask(k, rating, at, params)
        for name in before.dtype.names:
            if name not in ("x", "candidate"):
                assert np.array_equal(before[name], markets[k][name]), name
        own = (s.OPPORTUNITY, oq.SCORED_AT, oq.ENTRY)
        rest = [i for i in range(s.N_FEATURES) if i not in own]
        assert np.array_equal(before.x[rest], markets[k].x[rest])
        assert all(np.array_equal(money[name], account[name]) for name in money.dtype.names if name != "x")


def test_compiled_and_plain_python_agree_to_the_bit_over_whole_stories():
    plain = getattr(oq.decide, "py_func", oq.decide)
    for seed in range(150):
        n, params, moves = story(seed)
        params[oq.TAKES] = seed % 2
        one, two = field(n), field(n, plain)
        for move in moves:
            assert one[2](*move, params) == two[2](*move, params)
        assert one[1].tobytes() == two[1].tobytes()
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one[0], two[0], strict=True))
