"""sec.sessionkeymanager: signatures come out of the strategy's own, living session."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, S, ask, codes, declared, unkindness

from polytraders.security.sessionkeymanager import Inputs, Session

BOT = "sec.sessionkeymanager"
HOUR = 3_600 * S
MINE = Session("strat.a", "0xkey", NOW - HOUR, NOW - S, 100)
ASKED = Inputs("strat.a", "0xkey", 1, MINE)


def of(**changed):
    return ASKED._replace(session=MINE._replace(**changed))


REASONS = [
    (ASKED, "SEC_SESSION_ACTIVE"),
    (of(granted_at=NOW - 6 * HOUR), "SEC_SESSION_ACTIVE"),
    (of(granted_at=NOW - 6 * HOUR - 1), "SEC_SESSION_NEAR_END"),
    (of(granted_at=NOW - 8 * HOUR + 1), "SEC_SESSION_NEAR_END"),
    (of(granted_at=NOW - 8 * HOUR), "SEC_SESSION_KEY_EXPIRED"),
    (of(granted_at=NOW + 1), "SEC_SESSION_KEY_EXPIRED"),
    (of(last_used=NOW - HOUR + 1), "SEC_SESSION_ACTIVE"),
    (of(last_used=NOW - HOUR), "SEC_SESSION_KEY_EXPIRED"),
    (of(calls=799), "SEC_SESSION_ACTIVE"),
    (of(calls=800), "SEC_SESSION_NEAR_END"),
    (of(calls=999), "SEC_SESSION_NEAR_END"),
    (of(calls=1_000), "SEC_SESSION_KEY_EXPIRED"),
    (of(calls=990)._replace(asked=11), "SEC_SESSION_KEY_EXPIRED"),
    (of(revoked=True), "SEC_SESSION_REVOKED"),
    (ASKED._replace(session=None), "SEC_SESSION_MISSING"),
    (ASKED._replace(strategy="strat.b"), "SEC_SESSION_WRONG_STRATEGY"),
    (ASKED._replace(key="0xother"), "SEC_SESSION_WRONG_STRATEGY"),
    (ASKED._replace(kill_switch=True), "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_at_its_limit(given_, code):
    assert ask(BOT, given_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


@dataclass(frozen=True)
class Worse:
    older: int
    idler: int
    calls: int


sessions = st.builds(
    Session, st.sampled_from(["strat.a", "strat.b"]), st.sampled_from(["0xkey", "0xother"]),
    st.integers(NOW - 9 * HOUR, NOW), st.integers(NOW - 2 * HOUR, NOW), st.integers(0, 1_100), st.booleans(),
)  # fmt: skip
worse = st.builds(Worse, st.integers(0, HOUR), st.integers(0, HOUR), st.integers(0, 300))


@MANY
@given(st.none() | sessions, st.integers(0, 15), worse)
def test_never_kinder_and_never_somebody_elses(session, asked, w):
    said = ask(BOT, ASKED._replace(session=session, asked=asked))
    if said.verdict == "APPROVE":
        assert (session.strategy, session.key, session.revoked) == ("strat.a", "0xkey", False)
        assert session.calls + asked <= 1_000
    if session is not None:
        aged = session._replace(
            granted_at=session.granted_at - w.older,
            last_used=session.last_used - w.idler,
            calls=session.calls + w.calls,
        )
        assert unkindness(ask(BOT, ASKED._replace(session=aged, asked=asked))) >= unkindness(said)
