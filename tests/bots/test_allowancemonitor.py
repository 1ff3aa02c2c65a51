"""sec.allowancemonitor: contracts may take what trading needs, not more, and nobody unknown anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, M, S, ask, codes, declared, unkindness

from polytraders.security.allowancemonitor import Allowance, Inputs

BOT = "sec.allowancemonitor"
EXCHANGE, ADAPTER, STRANGER = ("0x" + digit * 40 for digit in "123")
KNOWN = frozenset({EXCHANGE, ADAPTER})
OPERATOR = Allowance("CTF", EXCHANGE, 1, NOW, operator=True)


def pusd(amount, spender=EXCHANGE, used=NOW):
    return Allowance("pUSD", spender, amount, used)


READ = Inputs((pusd(300 * M), OPERATOR), KNOWN, NOW - S)
DAY = 86_400 * S

REASONS = [
    ({}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"allowances": (pusd(450 * M),)}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"allowances": (pusd(450 * M + 1),)}, "SEC_ALLOWANCE_NEAR_CEILING"),
    ({"allowances": (pusd(500 * M),)}, "SEC_ALLOWANCE_NEAR_CEILING"),
    ({"allowances": (pusd(500 * M + 1),)}, "SEC_ALLOWANCE_EXCEEDS_CEILING"),
    ({"allowances": (pusd(2**256 - 1),)}, "SEC_ALLOWANCE_EXCEEDS_CEILING"),
    ({"allowances": (pusd(1, used=NOW - DAY),)}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"allowances": (pusd(1, used=NOW - DAY - 1),)}, "SEC_ALLOWANCE_IDLE"),
    ({"allowances": (pusd(0, used=0),)}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"allowances": (pusd(1, STRANGER),)}, "SEC_ALLOWANCE_STRANGER"),
    ({"allowances": (Allowance("CTF", STRANGER, 1, NOW, True),)}, "SEC_ALLOWANCE_STRANGER"),
    ({"exchange": EXCHANGE, "needed": 300 * M}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"exchange": EXCHANGE, "needed": 300 * M + 1}, "SEC_ALLOWANCE_SHORT"),
    ({"exchange": EXCHANGE, "selling": True}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"exchange": ADAPTER, "selling": True}, "SEC_ALLOWANCE_SHORT"),
    ({"read_at": 0}, "SEC_ALLOWANCE_UNKNOWN"),
    ({"read_at": NOW - 60 * S}, "SEC_ALLOWANCE_IN_BOUNDS"),
    ({"read_at": NOW - 60 * S - 1}, "SEC_ALLOWANCE_UNKNOWN"),
    ({"kill_switch": True}, "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("changed", "code"), REASONS)
def test_every_reason_at_its_limit(changed, code):
    assert ask(BOT, replace(READ, **changed)).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


def test_without_auto_shrink_the_verdict_stands_and_nothing_is_listed():
    wild = replace(READ, allowances=(pusd(2**256 - 1),))
    on, off = ask(BOT, wild), ask(BOT, wild, {"auto_shrink": "false"})
    assert on.payload["shrink"] == (("pUSD", EXCHANGE, 500 * M),) and off.payload["shrink"] == ()
    assert on.code == off.code


spenders = st.sampled_from([EXCHANGE, ADAPTER, STRANGER])
several = st.lists(
    st.builds(pusd, st.integers(0, 600 * M) | st.just(2**256 - 1), spenders, st.integers(NOW - 2 * DAY, NOW)),
    max_size=4,
    unique_by=lambda a: a.spender,
)


@MANY
@given(several, st.integers(0, 10**9), spenders)
def test_never_kinder_for_more_and_the_shrink_mends(allowances, more, newcomer):
    given_ = replace(READ, allowances=tuple(allowances))
    said = ask(BOT, given_)
    raised = tuple(a._replace(amount=a.amount + more) if a.amount else a for a in allowances)
    assert unkindness(ask(BOT, replace(given_, allowances=raised))) >= unkindness(said)
    if newcomer == STRANGER:
        joined = (*given_.allowances, pusd(1, STRANGER))
        assert ask(BOT, replace(given_, allowances=joined)).code == "SEC_ALLOWANCE_STRANGER"
    to = {spender: amount for _, spender, amount in said.payload["shrink"]}
    assert all(to[a.spender] <= a.amount for a in allowances if a.spender in to)
    mended = tuple(a._replace(amount=to.get(a.spender, a.amount)) for a in allowances)
    assert not ask(BOT, replace(given_, allowances=mended)).refused
