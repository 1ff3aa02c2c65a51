"""gov.useractivityledger: whether the record of what people did is whole, and what it says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.errors import ConfigError
from polytraders.governance import useractivityledger as ul
from polytraders.governance.useractivityledger import NEED_REASON, Act, Inputs, check, sessions

S = 1_000_000_000
NOW = 1_790_000_000 * S
LIMITS = ul.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def act(seq: int, kind: str = "approve", person: str = "ann", reason: str = "deep", ago: int = 600) -> Act:
    return Act(seq, NOW - ago * S, person, kind, f"ti_{seq}", "cli", reason=reason)


def ask(*acts: Act, broken: str = "", **params):
    return check(Inputs(NOW, acts, broken), ul.SPEC.limits(params), NOW)


CASES = [
    (ask(act(1), act(2, "arm")), "GOV_USER_ACTION_RECORDED", 2),
    (ask(), "GOV_USER_ACTION_RECORDED", 0),
    (ask(act(1, reason="")), "GOV_USER_ACTION_RECORDED", 1),
    (ask(act(1, person=" ")), "GOV_ACTION_UNEXPLAINED", 1),
    (ask(act(1), broken="action 6"), "GOV_AUDIT_CHAIN_BROKEN", 1),
    (ask(act(1, "override", reason=""), broken="action 6"), "GOV_AUDIT_CHAIN_BROKEN", 1),
    (ask(act(1), retain_days=2_554), "GOV_RETENTION_BELOW_REGULATORY_MINIMUM", 2_554),
    (check(Inputs(0), LIMITS, NOW), "GOV_AUDIT_LOG_UNAVAILABLE", 0),
    (check(Inputs(NOW + 1), LIMITS, NOW), "GOV_AUDIT_LOG_UNAVAILABLE", 0),
    *((ask(act(1, kind, reason=" ")), "GOV_ACTION_UNEXPLAINED", 1) for kind in sorted(NEED_REASON)),
]


@pytest.mark.parametrize(("got", "code", "observed"), CASES)
def test_each_reading_has_its_conclusion(got, code, observed):
    assert (got.code, got.observed, got.verdict, got.says) == (code, observed, "NONE", ())


def test_these_are_all_the_reasons():
    assert {code for _, code, _ in CASES} == set(ul.SPEC.reason_codes)


def test_a_ledger_that_is_kept_for_less_than_five_years_is_refused():
    with pytest.raises(ConfigError):
        ul.SPEC.limits({"retain_days": 1_824})


def test_it_is_loaded_as_a_bot_outside_the_step_that_never_blocks():
    assert load_bot("gov.useractivityledger").check is check
    assert not any(got.refused for got, _, _ in CASES)


acts = st.lists(
    st.builds(act, st.integers(1, 10**6), st.sampled_from(["approve", "arm", "propose"]), st.sampled_from("abc"),
              st.just("x"), st.integers(0, 10**6)),
    max_size=30, unique_by=lambda a: a.seq,
)  # fmt: skip


@thousand
@given(acts, st.integers(60, 86_400))
def test_every_act_is_in_exactly_one_session_of_its_person(given_, gap):
    found = sessions(tuple(given_), gap * S)
    told = [one for mine in found.values() for session in mine for one in session]
    assert sorted(one.seq for one in told) == sorted(one.seq for one in given_)
    for person, mine in found.items():
        assert all(one.person == person for session in mine for one in session)
        for session in mine:
            assert all(b.ts - a.ts <= gap * S for a, b in itertools.pairwise(session))
            assert [one.seq for one in session] == sorted(one.seq for one in session)
        assert all(b[0].ts - a[-1].ts > gap * S for a, b in itertools.pairwise(mine))


@thousand
@given(acts)
def test_a_broken_chain_is_never_a_ledger(given_):
    got = ask(*given_, broken="action 6")
    assert got.code == "GOV_AUDIT_CHAIN_BROKEN"
    assert got.payload == {}
    assert ask(*given_) == ask(*given_)
