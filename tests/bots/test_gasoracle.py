"""exec.gasoracle: what can wait, waits for a normal price; what keeps us safe does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, S, ask, codes, declared, unkindness

from polytraders.execution.gasoracle import DAY, Inputs

BOT = "exec.gasoracle"
GWEI = 10**9
HISTORY = tuple((NOW - i * 800 * S, (i + 1) * GWEI) for i in range(100))
MERGE = Inputs("merge", False, 30 * GWEI, NOW - S, HISTORY)

REASONS = [
    ({}, "EXEC_GAS_PROCEED"),
    ({"price": 66 * GWEI}, "EXEC_GAS_PROCEED"),
    ({"price": 67 * GWEI}, "EXEC_GAS_ELEVATED"),
    ({"price": 76 * GWEI}, "EXEC_GAS_ELEVATED"),
    ({"price": 77 * GWEI}, "EXEC_GAS_DEFERRED"),
    ({"price": 77 * GWEI, "never_defer": True}, "EXEC_GAS_URGENT"),
    ({"price": 0, "never_defer": True}, "EXEC_GAS_URGENT"),
    ({"price": 0}, "EXEC_GAS_UNKNOWN"),
    ({"read_at": 0}, "EXEC_GAS_UNKNOWN"),
    ({"read_at": NOW - 60 * S}, "EXEC_GAS_PROCEED"),
    ({"read_at": NOW - 60 * S - 1}, "EXEC_GAS_UNKNOWN"),
    ({"samples": HISTORY[:59]}, "EXEC_GAS_UNKNOWN"),
    ({"samples": HISTORY[:60]}, "EXEC_GAS_PROCEED"),
    ({"samples": tuple((at - DAY, wei) for at, wei in HISTORY)}, "EXEC_GAS_UNKNOWN"),
]


@pytest.mark.parametrize(("changed", "code"), REASONS)
def test_every_reason_at_its_limit(changed, code):
    assert ask(BOT, replace(MERGE, **changed)).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


@MANY
@given(
    st.lists(st.tuples(st.integers(NOW - 2 * DAY, NOW), st.integers(1, 500 * GWEI)), max_size=90),
    st.integers(0, 600 * GWEI),
    st.integers(0, 100 * GWEI),
)
def test_a_higher_price_never_goes_sooner_and_nothing_urgent_waits(samples, price, more):
    given_ = replace(MERGE, price=price, samples=tuple(samples))
    said = ask(BOT, given_)
    if price:
        assert unkindness(ask(BOT, replace(given_, price=price + more))) >= unkindness(said)
    assert not ask(BOT, replace(given_, never_defer=True)).refused
