"""sec.keyrotationreminder: keys are young and in one place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_cases import MANY, NOW, ask, codes, declared, unkindness

from polytraders.security.keyrotationreminder import DAY, Inputs, KeyUse

BOT = "sec.keyrotationreminder"
LIVE = KeyUse("api", "a1b2c3", "live", NOW - 10 * DAY, True)
PAPER = LIVE._replace(environment="paper", real_money=False)


def aged(age):
    return Inputs((LIVE._replace(registered_at=NOW - age),), "live")


REASONS = [
    (aged(0), "SEC_KEY_FRESH"),
    (aged(27 * DAY), "SEC_KEY_FRESH"),
    (aged(27 * DAY + 1), "SEC_KEY_ROTATION_DUE"),
    (aged(33 * DAY), "SEC_KEY_ROTATION_DUE"),
    (aged(33 * DAY + 1), "SEC_KEY_ROTATION_OVERDUE"),
    (aged(-1), "SEC_KEY_AGE_UNKNOWN"),
    (aged(NOW), "SEC_KEY_AGE_UNKNOWN"),
    (Inputs((LIVE,), "elsewhere"), "SEC_KEY_AGE_UNKNOWN"),
    (Inputs((LIVE, PAPER), "live"), "SEC_KEY_REUSE_ACROSS_ENV"),
    (Inputs((LIVE, PAPER), "paper"), "SEC_KEY_REUSE_ACROSS_ENV"),
    (Inputs((LIVE, PAPER._replace(fingerprint="other")), "live"), "SEC_KEY_FRESH"),
    (Inputs((PAPER, PAPER._replace(environment="lab")), "lab"), "SEC_KEY_SHARED"),
    (replace(aged(0), kill_switch=True), "RISK_KILL_SWITCH_ACTIVE"),
]


@pytest.mark.parametrize(("given_", "code"), REASONS)
def test_every_reason_at_its_limit(given_, code):
    assert ask(BOT, given_).code == code


def test_the_reasons_above_are_all_the_bot_declares():
    assert codes(REASONS) == declared(BOT)


def test_sharing_can_be_permitted_and_is_still_said():
    params = {"require_unique_per_env": "false"}
    assert ask(BOT, Inputs((LIVE, PAPER), "live"), params).code == "SEC_KEY_SHARED"


uses = st.builds(
    KeyUse, st.sampled_from(["api", "signer"]), st.sampled_from(["f1", "f2", "f3"]),
    st.sampled_from(["live", "paper", "lab"]), st.integers(NOW - 40 * DAY, NOW), st.booleans(),
)  # fmt: skip


@MANY
@given(st.lists(uses, max_size=5), uses, st.integers(0, 10 * DAY))
def test_never_kinder_later_or_with_another_use(keys, another, later):
    given_ = Inputs(tuple(keys), "live")
    said = ask(BOT, given_)
    assert unkindness(ask(BOT, given_, now=NOW + later)) >= unkindness(said)
    if another.environment != "live":
        assert unkindness(ask(BOT, replace(given_, keys=(*keys, another)))) >= unkindness(said)
