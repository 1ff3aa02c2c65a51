"""sec.chainstateverifier: believed is what a quorum says alike, of a chain that still holds what was relied on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, M, S, ask, codes, declared, unkindness

from polytraders.security.chainstateverifier import Inputs, View

BOT = "sec.chainstateverifier"
FINE = View("a", 100, "0xaa", 7, 1_000 * M, 500 * M, "0x99")
LIES = {"balance": 1_500 * M}


def views(*changes):
    return tuple(FINE._replace(provider="abcdef"[i], **change) for i, change in enumerate(changes))


def read(*changes, **more):
    return replace(Inputs(views(*changes), NOW - S, "0x99"), **more)


REASONS = [
    (read({}, {}, {}), "SEC_CHAIN_AGREED"),
    (read({}, {}, LIES), "SEC_CHAIN_MINORITY"),
    (read({}, {}, {"block": "0xbb"}), "SEC_CHAIN_MINORITY"),
    (read({}, {}, {"nonce": 8}), "SEC_CHAIN_MINORITY"),
    (read({}, LIES), "SEC_CHAIN_DISAGREES"),
    (read({}), "SEC_CHAIN_DISAGREES"),
    (read({}, {}, LIES, LIES), "SEC_CHAIN_DISAGREES"),
    (read({}, {}, {}, LIES, LIES), "SEC_CHAIN_DISAGREES"),
    (read({"before": "0x1"}, {"before": "0x1"}), "SEC_CHAIN_REORG"),
    (read({"before": ""}, {"before": ""}), "SEC_CHAIN_AGREED"),
    (read({}, {}, relied_on=""), "SEC_CHAIN_AGREED"),
    (read({}, {}, read_at=0), "SEC_CHAIN_STALE"),
    (read(), "SEC_CHAIN_STALE"),
    (read({}, {}, read_at=NOW - 60 * S), "SEC_CHAIN_AGREED"),
    (read({}, {}, read_at=NOW - 60 * S - 1), "SEC_CHAIN_STALE"),
    (read({}, {}, needed=1_000 * M), "SEC_CHAIN_AGREED"),
    (read({}, {}, needed=1_000 * M + 1), "SEC_CHAIN_BALANCE_SHORT"),
    (read({}, {}, kill_switch=True), "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_at_its_limit(given_, code):
    assert ask(BOT, given_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


def test_two_that_agree_outweigh_two_that_agree_only_when_told_so():
    five = read({}, {}, {}, LIES, LIES)
    assert ask(BOT, five, {"halt_on_mismatch": "false"}).code == "SEC_CHAIN_MINORITY"


changes = st.sampled_from([{}, LIES, {"block": "0xbb"}, {"nonce": 8}])


@MANY
@given(st.lists(changes, max_size=6), st.integers(0, 2_000 * M), st.randoms(use_true_random=False))
def test_approved_only_by_a_quorum_in_any_order(said_by, needed, shuffle):
    given_ = read(*said_by, needed=needed)
    said = ask(BOT, given_)
    groups = [n for _, n in Counter(tuple(sorted(change.items())) for change in said_by).most_common()]
    if said.verdict == "APPROVE":
        assert groups[0] >= 2 and (len(groups) == 1 or groups[1] < 2)
        assert said.payload["balance"] >= needed
    shuffled = [*given_.views]
    shuffle.shuffle(shuffled)
    assert ask(BOT, replace(given_, views=tuple(shuffled))).code == said.code
    assert unkindness(ask(BOT, replace(given_, needed=needed + M))) >= unkindness(said)
