"""exec.nonceshepherd: nonces without gap or repeat, salts without repeat, credentials that do not run out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, S, ask, codes, declared

from polytraders.execution.nonceshepherd import Inputs

BOT = "exec.nonceshepherd"


def tx(confirmed=8, highest_sent=7, read_at=NOW - S, **more):
    return Inputs(True, confirmed, highest_sent, read_at=read_at, **more)


def order(**more):
    return Inputs(False, **more)


REASONS = [
    (tx(), "EXEC_NONCE_RESERVED"),
    (tx(highest_sent=9, sent=(8, 9), in_pool=(9,)), "EXEC_NONCE_RESEQUENCED"),
    (tx(highest_sent=8, sent=(8,)), "EXEC_NONCE_RESEQUENCED"),
    (tx(highest_sent=10, sent=(8, 9, 10), in_pool=(8, 9, 10)), "EXEC_NONCE_RESERVED"),
    (tx(highest_sent=11, sent=(8, 9, 10, 11), in_pool=(8, 9, 10, 11)), "EXEC_NONCE_HELD"),
    (tx(confirmed=9), "EXEC_NONCE_UNKNOWN"),
    (tx(read_at=0), "EXEC_NONCE_UNKNOWN"),
    (tx(read_at=NOW - 30 * S), "EXEC_NONCE_RESERVED"),
    (tx(read_at=NOW - 30 * S - 1), "EXEC_NONCE_UNKNOWN"),
    (tx(credentials_end=NOW + 600 * S), "EXEC_NONCE_RESERVED"),
    (tx(credentials_end=NOW + 600 * S - 1), "EXEC_CREDENTIAL_EXPIRING"),
    (order(credentials_end=NOW), "EXEC_CREDENTIAL_EXPIRED"),
    (order(), "EXEC_NONCE_RESERVED"),
    (order(unposted=59), "EXEC_NONCE_RESERVED"),
    (order(unposted=60), "EXEC_NONCE_HELD"),
    (order(salt=5, salts=frozenset({5})), "EXEC_SALT_REUSED"),
    (order(salt=5, salts=frozenset({6})), "EXEC_NONCE_RESERVED"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_at_its_limit(given_, code):
    assert ask(BOT, given_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


@MANY
@given(
    st.lists(st.sampled_from(["send", "send", "drop", "mine", "look"]), max_size=40), st.randoms(use_true_random=False)
)
def test_over_any_history_nonces_have_no_gap_and_no_repeat(history, pick):
    confirmed, pool, sent, highest = 0, set(), set(), -1
    for what in history:
        if what == "send":
            said = ask(BOT, tx(confirmed, highest, sent=tuple(sent), in_pool=tuple(pool)))
            if said.refused:
                assert said.code == "EXEC_NONCE_HELD" and len(sent) == 4
                continue
            nonce = said.payload["nonce"]
            assert nonce >= confirmed and nonce not in pool
            assert nonce in sent or nonce == highest + 1
            sent.add(nonce)
            pool.add(nonce)
            highest = max(highest, nonce)
        elif what == "drop" and pool:
            pool.discard(pick.choice(sorted(pool)))
        elif what == "mine":
            while confirmed in pool:
                pool.discard(confirmed)
                sent.discard(confirmed)
                confirmed += 1
        assert sent == {*range(confirmed, highest + 1)}
