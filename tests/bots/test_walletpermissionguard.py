"""sec.walletpermissionguard: nothing but what was granted, to whom it was granted, while it was granted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, M, ask, codes, declared, unkindness

from polytraders.security.walletpermissionguard import Inputs

BOT = "sec.walletpermissionguard"
EXCHANGE, OTHER = "0x" + "e1" * 20, "0x" + "e2" * 20
END = NOW + 10**12
QUOTE = Inputs(
    "strat.a", "matchOrders", EXCHANGE, 20 * M, "strat.a", frozenset({"matchOrders"}), frozenset({EXCHANGE}), END
)

REASONS = [
    ({}, NOW, "SEC_WALLET_PERMITTED"),
    ({"size": 800 * M}, NOW, "SEC_WALLET_PERMITTED"),
    ({"size": 800 * M + 1}, NOW, "SEC_CALL_LARGE"),
    ({"size": 1_000 * M}, NOW, "SEC_CALL_LARGE"),
    ({"size": 1_000 * M + 1}, NOW, "SEC_CALL_TOO_LARGE"),
    ({"method": "approve"}, NOW, "SEC_WALLET_PERMISSION_DENIED"),
    ({"contract": OTHER}, NOW, "SEC_WALLET_PERMISSION_DENIED"),
    ({"strategy": "strat.b"}, NOW, "SEC_WALLET_PERMISSION_DENIED"),
    ({"contracts": frozenset()}, NOW, "SEC_WALLET_PERMISSION_DENIED"),
    ({"methods": frozenset()}, NOW, "SEC_NO_METHOD_PERMITTED"),
    ({}, END - 1, "SEC_WALLET_PERMITTED"),
    ({}, END, "SEC_SESSION_KEY_EXPIRED"),
    ({"kill_switch": True}, NOW, "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("changed", "now", "code"), REASONS)
def test_every_reason_at_its_limit(changed, now, code):
    assert ask(BOT, QUOTE._replace(**changed), now=now).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


names = st.sampled_from(["strat.a", "strat.b"])
methods = st.sampled_from(["matchOrders", "approve", "splitPosition"])
contracts = st.sampled_from([EXCHANGE, OTHER])
calls = st.builds(
    Inputs, names, methods, contracts, st.integers(0, 2_000 * M), names, st.frozensets(methods),
    st.frozensets(contracts), st.integers(NOW - 10, NOW + 10), st.booleans(),
)  # fmt: skip


@MANY
@given(calls, st.integers(0, 10**9), st.integers(0, 20))
def test_never_more_than_granted_and_never_kinder_for_more_or_later(call, more, later):
    said = ask(BOT, call)
    granted = (
        not call.kill_switch
        and call.strategy == call.granted_to
        and call.method in call.methods
        and call.contract in call.contracts
        and call.expires > NOW
        and call.size <= 1_000 * M
    )
    assert (said.verdict == "APPROVE") == granted
    assert unkindness(ask(BOT, call._replace(size=call.size + more))) >= unkindness(said)
    assert unkindness(ask(BOT, call, now=NOW + later)) >= unkindness(said)
