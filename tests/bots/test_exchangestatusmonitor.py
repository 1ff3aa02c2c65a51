"""exec.exchangestatusmonitor: what the venue takes, by what it answers; unknown is closed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import event_rows, load_bot
from polytraders.engine.state import VENUE_LEFT, VENUE_RESET
from polytraders.errors import ConfigError
from polytraders.execution import exchangestatusmonitor as esm
from polytraders.execution.exchangestatusmonitor import Answer, Inputs, check
from polytraders.rows import EventKind

S = 1_000_000_000
NOW = 1_790_000_000 * S
LIMITS = esm.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
RANK = {"RESUME": 0, "POST_ONLY": 1, "PAUSE": 2, "FLATTEN": 3}


def ask(*last, ago: int = S, trouble: int = 0, limits=LIMITS, **more):
    """Ten good answers, one every five seconds, and the given ones behind them."""
    said = [(200, "")] * 10 + [x if isinstance(x, tuple) else (x, "") for x in last]
    times = range(len(said) - 1, -1, -1)
    answers = tuple(Answer(NOW - ago - 5 * S * k, *x) for k, x in zip(times, said, strict=True))
    return check(Inputs(answers, trouble, **more), limits, NOW)


CASES = [
    (ask(), "EXEC_EXCHANGE_STATUS_HEALTHY", "RESUME"),
    (ask(400, 403, 404), "EXEC_EXCHANGE_STATUS_HEALTHY", "RESUME"),
    (ask(trouble=NOW - 30 * S), "EXEC_EXCHANGE_STATUS_HEALTHY", "RESUME"),
    (ask(trouble=NOW - 30 * S + 1), "EXEC_EXCHANGE_COOLING", "PAUSE"),
    (ask((503, "post_only_mode")), "EXEC_EXCHANGE_POST_ONLY", "POST_ONLY"),
    (ask((503, "cancel-only")), "EXEC_EXCHANGE_CANCEL_ONLY", "PAUSE"),
    (ask((503, "trading disabled")), "EXEC_EXCHANGE_DOWN", "FLATTEN"),
    (ask((503, "")), "EXEC_EXCHANGE_DEGRADED", "PAUSE"),
    (ask(425), "EXEC_EXCHANGE_RESTARTING", "PAUSE"),
    (ask(425, 0, 0), "EXEC_EXCHANGE_RESTARTING", "PAUSE"),
    (ask(429), "EXEC_EXCHANGE_DEGRADED", "PAUSE"),
    (ask(500, 500, 500, 200), "EXEC_EXCHANGE_DEGRADED", "PAUSE"),
    (ask(0, 0, 0, 0), "EXEC_EXCHANGE_DEGRADED", "PAUSE"),
    (ask(0, 0, 0, 0, 0), "EXEC_EXCHANGE_DOWN", "FLATTEN"),
    (ask(500, 500, 500, 500, 500), "EXEC_EXCHANGE_DOWN", "FLATTEN"),
    (ask(ago=30 * S), "EXEC_EXCHANGE_STATUS_HEALTHY", "RESUME"),
    (ask(ago=30 * S + 1), "EXEC_EXCHANGE_UNKNOWN", "PAUSE"),
    (check(Inputs(()), LIMITS, NOW), "EXEC_EXCHANGE_UNKNOWN", "PAUSE"),
    (check(Inputs((Answer(NOW + 1, 200),)), LIMITS, NOW), "EXEC_EXCHANGE_UNKNOWN", "PAUSE"),
]


@pytest.mark.parametrize(("got", "code", "action"), CASES)
def test_each_way_to_answer_has_its_conclusion(got, code, action):
    assert (got.code, got.payload["action"]) == (code, action)
    assert got.verdict == {"RESUME": "APPROVE", "POST_ONLY": "RESHAPE"}.get(action, "REJECT")


def test_these_are_all_the_reasons():
    assert {code for _, code, _ in CASES} == set(esm.SPEC.reason_codes)


def test_the_step_hears_of_it_as_a_budget_that_renews_itself():
    paused, well = ask(425, governor=7), ask(governor=7)
    rows = event_rows(paused, NOW)
    assert rows["kind"].tolist() == [EventKind.CONFIG] * 2 and rows["aux"].tolist() == [7, 7]
    assert dict(zip(rows["price"].tolist(), rows["size"].tolist(), strict=True)) == {
        VENUE_LEFT: 0,
        VENUE_RESET: NOW + LIMITS.max_silence_s,
    }
    assert [s.value for s in well.says] == [0, 0] and ask(425).says == ()


def test_a_switch_is_armed_only_by_an_outage_and_only_where_it_is_wanted():
    wanted = esm.SPEC.limits({"switch_on_outage": "true"})
    assert [s.kind for s in ask((503, "disabled"), limits=wanted).says] == ["SWITCH"]
    assert ask((503, "disabled")).says == () and ask(425, limits=wanted).says == ()


def test_it_is_loaded_as_a_bot_outside_the_step_and_its_limits_bind():
    bot = load_bot("exec.exchangestatusmonitor")
    assert bot.decide is None and bot.check is not None and not bot.spec.kernel
    with pytest.raises(ConfigError, match="hard"):
        esm.SPEC.limits({"quarantine_s": 4})


statuses = st.sampled_from([200, 200, 200, 400, 0, 0, 425, 429, 500, 503])
modes = st.sampled_from(["", "post_only_mode", "cancel-only", "trading disabled"])
answers = st.lists(st.tuples(st.integers(1, 30), statuses, modes), max_size=30)


def timed(drawn) -> tuple[Answer, ...]:
    at, made = NOW - sum(gap for gap, *_ in drawn) * S, []
    for gap, status, mode in drawn:
        at += gap * S
        made.append(Answer(at, status, mode if status == 503 else ""))
    return tuple(made)


@thousand
@given(answers, st.integers(0, 100), st.integers(1, 20))
def test_one_more_time_out_is_never_treated_more_kindly(drawn, trouble, wait):
    said = timed(drawn)
    trouble = NOW - trouble * S if trouble else 0
    now = NOW + wait * S
    before = check(Inputs(said, trouble), LIMITS, now)
    after = check(Inputs((*said, Answer(now, 0)), trouble), LIMITS, now)
    if before.code != "EXEC_EXCHANGE_UNKNOWN":  # which knows less than a time-out does
        assert RANK[after.payload["action"]] >= RANK[before.payload["action"]]
    assert after.code not in ("EXEC_EXCHANGE_STATUS_HEALTHY", "EXEC_EXCHANGE_COOLING")


@thousand
@given(answers, st.integers(0, 100), st.integers(5, 60), st.integers(0, 60))
def test_a_longer_quarantine_never_resumes_sooner_and_the_same_is_said_again(drawn, trouble, quarantine, more):
    given_ = Inputs(timed(drawn), NOW - trouble * S if trouble else 0)
    short, long = (esm.SPEC.limits({"quarantine_s": q}) for q in (quarantine, quarantine + more))
    first, second = check(given_, short, NOW), check(given_, long, NOW)
    assert RANK[second.payload["action"]] >= RANK[first.payload["action"]]
    assert check(given_, short, NOW) == first and first.code in esm.SPEC.reason_codes
    assert (first.verdict == "APPROVE") == (first.code == "EXEC_EXCHANGE_STATUS_HEALTHY")
