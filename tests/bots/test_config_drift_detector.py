"""gov.config_drift_detector: what a run works with against what was committed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.errors import ConfigError
from polytraders.governance import config_drift_detector as cd
from polytraders.governance.config_drift_detector import Field, Inputs, check, same

S = 1_000_000_000
NOW = 1_790_000_000 * S
LIMITS = cd.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def ask(*fields: Field, age: int = 5 * S, drifted: bool = False, limits=LIMITS):
    return check(Inputs(NOW - age, fields, drifted), limits, NOW)


def limit(running: str | None = "1000", committed: str | None = "1000", explained: str = "") -> Field:
    return Field("risk.portfolioguard", "max_market_pusd", running, committed, NOW - 600 * S, explained)


CASES = [
    (ask(limit()), "GOV_CONFIG_AS_COMMITTED", 0),
    (ask(limit("1000.0")), "GOV_CONFIG_AS_COMMITTED", 0),
    (ask(limit(), drifted=True), "GOV_CONFIG_DRIFT_RESOLVED", 0),
    (ask(limit("10000")), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(limit("10000"), drifted=True), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(limit(None)), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(limit("1000", None)), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(limit("shadow", "enforced")), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(limit("1500", explained="OVR-1")), "GOV_CONFIG_DRIFT_ACK", 0),
    (ask(limit("1500", explained="OVR-1"), replace(limit("2"), field="x")), "GOV_CONFIG_DRIFT_DETECTED", 1),
    (ask(age=900 * S), "GOV_CONFIG_AS_COMMITTED", 0),
    (ask(age=900 * S + 1), "GOV_CONFIG_DRIFT_UNKNOWN", 900 * S + 1),
    (ask(age=-1), "GOV_CONFIG_DRIFT_UNKNOWN", -1),
    (check(Inputs(0, problem="no file"), LIMITS, NOW), "GOV_CONFIG_DRIFT_UNKNOWN", NOW),
]


@pytest.mark.parametrize(("got", "code", "observed"), CASES)
def test_each_comparison_has_its_conclusion(got, code, observed):
    assert (got.code, got.observed, got.verdict, got.says) == (code, observed, "NONE", ())


def test_these_are_all_the_reasons():
    assert {code for _, code, _ in CASES} == set(cd.SPEC.reason_codes)


def test_a_tolerance_lets_its_share_pass_and_no_more():
    assert same("1001", "1000", 1_000)
    assert not same("1001.01", "1000", 1_000)
    assert not same("0.1", "0", 1_000)
    for odd in ("NaN", "inf", "-inf", "1e999999", ""):
        assert not same(odd, "1000", 1_000)
    with pytest.raises(ConfigError):
        cd.SPEC.limits({"tolerance_for_numeric_drift": "0.01"})


def test_it_is_loaded_as_a_bot_outside_the_step_that_never_blocks():
    bot = load_bot("gov.config_drift_detector")
    assert bot.check is check
    assert not any(got.refused for got, _, _ in CASES)


texts = st.one_of(st.decimals(-1000, 1000, places=3).map(lambda d: f"{d:f}"), st.sampled_from(["shadow", "true", ""]))
fields = st.lists(
    st.builds(Field, st.just("risk.x"), st.text("abcdef", min_size=1, max_size=6), texts, texts), max_size=12,
    unique_by=lambda f: f.field,
)  # fmt: skip


@thousand
@given(fields)
def test_a_configuration_is_as_committed_when_it_is_compared_with_itself(given_):
    got = ask(*(replace(one, committed=one.running) for one in given_))
    assert got.code == "GOV_CONFIG_AS_COMMITTED"
    assert got == ask(*(replace(one, committed=one.running) for one in given_))


@thousand
@given(fields.filter(bool), st.randoms(use_true_random=False))
def test_one_changed_field_is_found_and_no_other(given_, pick: random.Random):
    equal = [replace(one, committed=one.running) for one in given_]
    at = pick.randrange(len(equal))
    changed = [*equal[:at], replace(equal[at], running="77777"), *equal[at + 1 :]]
    got = ask(*changed)
    assert [one["field"] for one in got.payload["drifts"]] == [equal[at].field]


@thousand
@given(fields, fields)
def test_an_explanation_never_hides_another_field(some, others):
    alone = ask(*others).observed
    renamed = [replace(one, bot_id="risk.y", explained="OVR-1") for one in some]
    assert ask(*renamed, *others).observed == alone
