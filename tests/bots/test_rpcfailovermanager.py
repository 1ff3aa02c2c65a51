"""sec.rpcfailovermanager: who is healthy, who is primary, and when nobody is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, S, ask, codes, declared, unkindness

from polytraders.errors import ConfigError
from polytraders.security.rpcfailovermanager import SPEC, Inputs, Probe

BOT = "sec.rpcfailovermanager"


def pool(*heights, primary="a", at=NOW - S):
    probes = tuple(Probe("abcdef"[i], h or 0, (9 - i) * 10**6, at, h is None) for i, h in enumerate(heights))
    return Inputs(probes, primary)


REASONS = [
    (pool(100, 100, 100), "SEC_RPC_HEALTHY"),
    (pool(100, 99, 100), "SEC_RPC_HEALTHY"),
    (pool(100, 98, 100), "SEC_RPC_LAGGING"),
    (pool(100, 100, 100, None), "SEC_RPC_LAGGING"),
    (pool(100, 97, 100), "SEC_RPC_AT_QUORUM"),
    (pool(100, 100), "SEC_RPC_HEALTHY"),
    (pool(97, 100, 100), "SEC_RPC_FAILED_OVER"),
    (pool(None, 100, 100), "SEC_RPC_FAILED_OVER"),
    (pool(100, 100, primary=""), "SEC_RPC_HEALTHY"),
    (pool(100, None), "SEC_RPC_QUORUM_LOST"),
    (pool(), "SEC_RPC_QUORUM_LOST"),
    (pool(100, 100, 103), "SEC_RPC_QUORUM_LOST"),
    (pool(100, 100, at=NOW - 15 * S), "SEC_RPC_HEALTHY"),
    (pool(100, 100, at=NOW - 15 * S - 1), "SEC_RPC_QUORUM_LOST"),
    (replace(pool(100, 100), kill_switch=True), "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_at_its_limit(given_, code):
    assert ask(BOT, given_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


def test_the_highest_then_the_quickest_is_elected():
    assert ask(BOT, pool(None, 99, 100, 100)).payload == {"primary": "d", "quarantined": ("a",), "head": 100}


def test_a_quorum_of_one_does_not_start():
    with pytest.raises(ConfigError):
        SPEC.limits({"min_providers_quorum": 1})


pools = st.lists(st.none() | st.integers(90, 100), max_size=6)


@MANY
@given(pools, st.sampled_from(["", *"abcdef"]), st.integers(0, 5))
def test_the_elected_is_healthy_and_a_failure_more_is_never_kinder(heights, primary, failing):
    given_ = pool(*heights, primary=primary)
    said = ask(BOT, given_)
    up = [h for h in heights if h is not None]
    healthy = {"abcdef"[i] for i, h in enumerate(heights) if h is not None and max(up) - h < 3}
    assert said.refused == (len(healthy) < 2)
    if not said.refused:
        elected = said.payload["primary"]
        assert elected in healthy and (elected == primary or primary not in healthy)
        assert {*said.payload["quarantined"]} == {p.provider for p in given_.probes} - healthy
    if said.refused and failing < len(heights) and (heights[failing] is None or heights[failing] < max(up)):
        worse = [None if i == failing else h for i, h in enumerate(heights)]
        assert unkindness(ask(BOT, pool(*worse, primary=primary))) >= unkindness(said)
