"""exec.latencyprofiler: the slow answers count, not the mean; what was not measured is not good."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.errors import ConfigError
from polytraders.execution import latencyprofiler as lp
from polytraders.execution.latencyprofiler import Inputs, Trip, check, percentile

S, MS = 1_000_000_000, 1_000_000
NOW = 1_790_000_000 * S
LIMITS = lp.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
RANK = {
    "EXEC_LATENCY_OK": 0,
    "EXEC_LATENCY_NO_DATA": 1,
    "EXEC_FEED_LAGS": 2,
    "EXEC_LATENCY_BUDGET_EXCEEDED": 3,
    "EXEC_ROUTE_DEGRADED": 4,
}


def trips(*ns: int, route: str = "order", age: int = S) -> tuple[Trip, ...]:
    return tuple(Trip(route, NOW - age, t) for t in ns)


def ask(*ns: int, lags=(), age: int = S):
    return check(Inputs(trips(*ns, age=age), lags=tuple((NOW - S, lag) for lag in lags)), LIMITS, NOW)


CASES = [
    (ask(*[150 * MS] * 20), "EXEC_LATENCY_OK"),
    (ask(*[150 * MS + 1] * 20), "EXEC_LATENCY_BUDGET_EXCEEDED"),
    (ask(*[40 * MS] * 95, *[900 * MS] * 1), "EXEC_ROUTE_DEGRADED"),  # the 96th of 96 is the 99th percentile
    (ask(*[40 * MS] * 100, 900 * MS), "EXEC_LATENCY_OK"),  # the 100th of 101 is not
    (ask(*[40 * MS] * 90, *[500 * MS] * 10), "EXEC_LATENCY_BUDGET_EXCEEDED"),
    (ask(*[40 * MS] * 90, *[500 * MS + 1] * 10), "EXEC_ROUTE_DEGRADED"),
    (ask(*[40 * MS] * 19), "EXEC_LATENCY_NO_DATA"),
    (ask(*[40 * MS] * 20, age=300 * S), "EXEC_LATENCY_OK"),
    (ask(*[40 * MS] * 20, age=300 * S + 1), "EXEC_LATENCY_NO_DATA"),
    (ask(*[40 * MS] * 20, age=-1), "EXEC_LATENCY_NO_DATA"),
    (ask(*[40 * MS] * 20, lags=[1_000 * MS]), "EXEC_LATENCY_OK"),
    (ask(*[40 * MS] * 20, lags=[1_000 * MS + 1]), "EXEC_FEED_LAGS"),
]


@pytest.mark.parametrize(("got", "code"), CASES)
def test_each_measurement_has_its_conclusion(got, code):
    assert got.code == code and got.verdict == ("REJECT" if code == "EXEC_ROUTE_DEGRADED" else "APPROVE")


def test_these_are_all_the_reasons():
    assert {code for _, code in CASES} == set(lp.SPEC.reason_codes)


def test_the_worst_route_speaks_and_each_is_shown():
    got = check(Inputs(trips(*[40 * MS] * 20) + trips(*[700 * MS] * 20, route="cancel")), LIMITS, NOW)
    assert (got.code, got.what, got.observed) == ("EXEC_ROUTE_DEGRADED", "cancel", 700 * MS)
    assert got.payload["routes"]["order"]["p95_ns"] == 40 * MS
    assert {name for name, *_ in got.measures} == {"cancel.p95", "order.p95"}


def test_a_route_that_must_be_known_and_is_not_is_said():
    got = check(Inputs(trips(*[40 * MS] * 20, route="book")), LIMITS, NOW)
    assert (got.code, got.what, got.observed) == ("EXEC_LATENCY_NO_DATA", "order", 0)


def test_it_is_loaded_as_a_bot_outside_the_step_and_its_limits_bind():
    bot = load_bot("exec.latencyprofiler")
    assert bot.check is not None and not bot.spec.kernel
    with pytest.raises(ConfigError, match="hard"):
        lp.SPEC.limits({"fail_p99_ms": 1_001})


times = st.lists(st.integers(1, 1_500 * MS), min_size=1, max_size=60)


@thousand
@given(times, st.integers(0, 59), st.integers(0, 2_000 * MS))
def test_a_slower_answer_never_leads_to_a_kinder_conclusion(took, which, more):
    slower = list(took)
    slower[which % len(took)] += more
    first, second = ask(*took), ask(*slower)
    assert RANK[second.code] >= RANK[first.code] and second.code in lp.SPEC.reason_codes


@thousand
@given(times, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(took, r):
    mixed = list(took)
    r.shuffle(mixed)
    assert ask(*took) == ask(*mixed)


@thousand
@given(times, st.integers(1, 1_000_000))
def test_a_percentile_is_a_measured_time_that_so_many_do_not_exceed(took, ppm):
    took = sorted(took)
    p = percentile(took, ppm)
    assert p in took and sum(t <= p for t in took) * 1_000_000 >= ppm * len(took)
    assert sum(t < p for t in took) * 1_000_000 < ppm * len(took)
