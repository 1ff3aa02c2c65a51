"""sec.wallet_funding_guard: nothing is promised that the wallet does not hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, M, S, ask, codes, declared, unkindness

from polytraders.security.wallet_funding_guard import Inputs

BOT = "sec.wallet_funding_guard"
WANTS = Inputs(required=80 * M, balance=100 * M, reserved=0, read_at=NOW - S)

REASONS = [
    ({}, "SEC_FUNDING_OK"),
    ({"balance": 81_600_000}, "SEC_FUNDING_OK"),
    ({"balance": 81_599_999}, "SEC_FUNDING"),
    ({"balance": 80 * M, "in_shares": True}, "SEC_FUNDING_OK"),
    ({"reserved": 18_400_000}, "SEC_FUNDING_OK"),
    ({"reserved": 18_400_001}, "SEC_FUNDING_RACE_LOST"),
    ({"balance": 0}, "SEC_FUNDING"),
    ({"required": 1, "balance": 1}, "SEC_FUNDING"),
    ({"read_at": 0}, "SEC_FUNDING"),
    ({"read_at": NOW - 5 * S}, "SEC_FUNDING_OK"),
    ({"read_at": NOW - 5 * S - 1}, "SEC_FUNDING"),
    ({"read_at": NOW + 1}, "SEC_FUNDING"),
    ({"required": -1}, "SEC_FUNDING"),
    ({"balance": 0, "overridden_until": NOW + 1}, "SEC_FUNDING_OVERRIDE"),
    ({"balance": 0, "overridden_until": NOW}, "SEC_FUNDING"),
    ({"read_at": 0, "overridden_until": NOW + 1}, "SEC_FUNDING"),
]


@pytest.mark.parametrize(("changed", "code"), REASONS)
def test_every_reason_at_its_limit(changed, code):
    assert ask(BOT, WANTS._replace(**changed)).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


amounts = st.integers(0, 200 * M)


@MANY
@given(amounts, amounts, amounts, st.integers(0, 6 * S), st.booleans(), amounts)
def test_never_kinder_for_more_less_or_older(required, balance, reserved, age, in_shares, more):
    wants = Inputs(required, balance, reserved, NOW - age, in_shares)
    said = unkindness(ask(BOT, wants))
    for worse in (
        wants._replace(required=required + more),
        wants._replace(reserved=reserved + more),
        wants._replace(balance=balance - more),
        wants._replace(read_at=wants.read_at - more),
    ):
        assert unkindness(ask(BOT, worse)) >= said


@MANY
@given(st.integers(0, 300 * M), st.lists(st.integers(1, 100 * M), max_size=12))
def test_what_is_approved_together_never_exceeds_the_wallet(balance, wanted):
    reserved = 0
    for required in wanted:
        if ask(BOT, Inputs(required, balance, reserved, NOW)).verdict == "APPROVE":
            reserved += required
    assert reserved <= balance
