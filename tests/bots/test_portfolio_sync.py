"""gov.portfolio-sync: our books and the venue's, what is on its way between them, and what is real."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.errors import ConfigError
from polytraders.governance import portfolio_sync as ps
from polytraders.governance.portfolio_sync import Inputs, Item, OpenOrder, check

S, M = 1_000_000_000, 1_000_000
NOW = 1_790_000_000 * S
LIMITS = ps.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)
LEFT = OpenOrder("0xaa", 30 * M)


def ask(*items: Item, age: int = 5 * S, **orders):
    return check(Inputs(NOW - age, items, **orders), LIMITS, NOW)


def shares(ours: int, theirs: int, moving: int = 0, middle: int = 6_200) -> Item:
    return Item("0x9deb YES", ours * M, theirs * M, moving * M, middle)


CASES = [
    (ask(shares(300, 300)), "GOV_RECONCILE_OK", 0),
    (ask(shares(300, 400, 100)), "GOV_RECONCILE_SETTLING", 0),
    (ask(shares(400, 300, 100)), "GOV_RECONCILE_SETTLING", 0),
    (ask(shares(300, 400)), "GOV_RECONCILE_MISMATCH", 62 * M),
    (ask(shares(300, 401, 100)), "GOV_RECONCILE_MISMATCH", 620_000),
    (ask(Item("cash", 500 * M, 499 * M)), "GOV_RECONCILE_MISMATCH", M),
    (ask(Item("x", 0, 1)), "GOV_RECONCILE_MISMATCH", 1),
    (ask(their_orders=(LEFT,)), "GOV_RECONCILE_MISMATCH", 30 * M),
    (ask(our_orders=(LEFT,)), "GOV_RECONCILE_MISMATCH", 30 * M),
    (ask(our_orders=(LEFT,), their_orders=(LEFT,)), "GOV_RECONCILE_OK", 0),
    (ask(our_orders=(LEFT,), orders_moving=("0xaa",)), "GOV_RECONCILE_SETTLING", 0),
    (ask(age=60 * S), "GOV_RECONCILE_OK", 0),
    (ask(age=60 * S + 1), "GOV_RECONCILE_UNKNOWN", 60 * S + 1),
    (ask(age=-1), "GOV_RECONCILE_UNKNOWN", -1),
    (check(Inputs(0), LIMITS, NOW), "GOV_RECONCILE_UNKNOWN", NOW),
]


@pytest.mark.parametrize(("got", "code", "observed"), CASES)
def test_each_comparison_has_its_conclusion(got, code, observed):
    assert (got.code, got.observed, got.verdict, got.says) == (code, observed, "NONE", ())


def test_these_are_all_the_reasons():
    assert {code for _, code, _ in CASES} == set(ps.SPEC.reason_codes)


def test_a_person_is_called_above_the_limit_and_not_at_it():
    assert not ask(Item("cash", 0, M)).payload["alert"]
    assert ask(Item("cash", 0, M + 1)).payload["alert"]


def test_an_order_that_is_worth_nothing_any_more_is_a_difference_all_the_same():
    assert ask(their_orders=(OpenOrder("0xbb", 0),)).code == "GOV_RECONCILE_MISMATCH"


def test_it_is_loaded_as_a_bot_outside_the_step_that_never_blocks():
    bot = load_bot("gov.portfolio-sync")
    assert bot.check is not None and not bot.spec.kernel
    assert bot.spec.sections()["dependencies"]["blocks"] is False
    with pytest.raises(ConfigError, match="hard"):
        ps.SPEC.limits({"discrepancy_alert_usd": 101})


def some(seed: int) -> list[Item]:
    r = random.Random(seed)
    return [
        Item(
            f"m{k}", r.randint(0, 10**9), r.randint(0, 10**9), r.choice([0, r.randint(0, 10**8)]), r.randint(0, 10_000)
        )
        for k in range(r.randint(1, 8))
    ]


seeds = st.integers(0, 2**32)


@thousand
@given(seeds)
def test_a_ledger_compared_with_itself_is_equal(seed):
    assert ask(*(replace(item, theirs=item.ours) for item in some(seed))).code == "GOV_RECONCILE_OK"


@thousand
@given(seeds, st.integers(0, 7), st.integers(0, 10**9))
def test_a_larger_difference_is_never_worth_less_and_more_on_its_way_never_makes_it_larger(seed, which, more):
    items = some(seed)
    k = which % len(items)
    item = items[k]
    further = item.theirs + (more if item.theirs >= item.ours else -more)
    wider, moving = (list(items) for _ in range(2))
    wider[k], moving[k] = replace(item, theirs=further), replace(item, moving=item.moving + more)
    assert ask(*moving).observed <= ask(*items).observed <= ask(*wider).observed
    assert ask(*items) == ask(*items) and ask(*items).code in ps.SPEC.reason_codes
