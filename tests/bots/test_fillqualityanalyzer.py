"""exec.fillqualityanalyzer: price, time and drift of our fills; what was not measured is left out and counted."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polytraders.bots import load_bot
from polytraders.errors import ConfigError
from polytraders.execution import fillqualityanalyzer as fq
from polytraders.execution.fillqualityanalyzer import Fill, Inputs, check

S, M = 1_000_000_000, 1_000_000
NOW = 1_790_000_000 * S
LIMITS = fq.SPEC.limits()
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def fill(slip: int = -50, drift: int = 0, *, side: int = 0, size: int = 100, seconds: int = 1, ago: int = 60, **more):
    """A fill so many pips beyond a middle of 0.625, which then went so many against us."""
    sign, filled = (1 if side == 0 else -1), NOW - ago * S
    made = Fill(side, 6_250 + sign * slip, size * M, filled - seconds * S, filled, 12_500, 12_500 - 2 * sign * drift)
    return replace(made, **more)


def ask(*fills: Fill, limits=LIMITS):
    return check(Inputs(fills), limits, NOW)


def score(*fills: Fill) -> int:
    return ask(*fills).payload["score_ppm"]


CASES = [
    (ask(*[fill(20, 50)] * 5), "EXEC_FILL_GOOD", 600_000),  # 0.4/2 + 0.4/2 + 0.2
    (ask(*[fill(20, 50, took=True, seconds=5)] * 5), "EXEC_FILL_POOR", 400_000),
    (ask(*[fill(21)] * 5), "EXEC_SLIPPAGE_BREACH", 21),
    (ask(*[fill(0, 51)] * 5), "EXEC_FILL_TOXIC", 51),
    (ask(*[fill(0, fee=110, fee_estimated=100)] * 5), "EXEC_FILL_GOOD", 1_000_000),
    (ask(*[fill(0, fee=111, fee_estimated=100)] * 5), "EXEC_FEE_OVERRUN", 555),
    (ask(*[fill()] * 4), "EXEC_FILL_UNMEASURED", 4),
    (ask(*[fill()] * 4, fill(ago=29)), "EXEC_FILL_UNMEASURED", 4),
    (ask(*[fill()] * 4, fill(ago=30)), "EXEC_FILL_GOOD", 1_000_000),
]


@pytest.mark.parametrize(("got", "code", "observed"), CASES)
def test_each_set_of_fills_has_its_conclusion(got, code, observed):
    assert (got.code, got.observed, got.verdict) == (code, observed, "APPROVE")


def test_these_are_all_the_reasons():
    assert {code for _, code, _ in CASES} == set(fq.SPEC.reason_codes)


@pytest.mark.parametrize(
    "broken",
    [
        {"mid2_decided": 0},
        {"mid2_after": 0},
        {"size": 0},
        {"filled": NOW - 10 * S, "decided": NOW - 11 * S},
        {"filled": NOW + S},
        {"decided": NOW},
    ],
)
def test_what_cannot_be_judged_is_left_out_and_counted(broken):
    got = ask(*[fill()] * 5, replace(fill(900, 900), **broken))
    assert (got.code, got.payload["judged"], got.payload["left_out"]) == ("EXEC_FILL_GOOD", 5, 1)


def test_a_large_fill_counts_for_its_size():
    measures = {name: value for name, value, *_ in ask(*[fill(0)] * 9, fill(100, size=900)).measures}
    assert measures["slippage"] == 50


def test_only_orders_that_take_are_blamed_for_their_time():
    assert score(*[fill(0, seconds=900)] * 5) == 1_000_000
    assert score(*[fill(0, seconds=900, took=True)] * 5) == 800_000


def test_it_is_loaded_as_a_bot_outside_the_step_and_its_limits_bind():
    bot = load_bot("exec.fillqualityanalyzer")
    assert bot.check is not None and not bot.spec.kernel
    with pytest.raises(ConfigError, match="hard"):
        fq.SPEC.limits({"min_score": "0.19"})


def some(seed: int) -> list[Fill]:
    r = random.Random(seed)
    return [
        fill(
            r.randint(-300, 300),
            r.randint(-400, 400),
            side=r.randint(0, 1),
            size=r.choice([1, 5, 100, 3_000]),
            seconds=r.choice([0, 1, 4, 90]),
            took=r.random() < 0.5,
            fee=r.choice([0, r.randint(0, 10**6)]),
            fee_estimated=r.choice([0, r.randint(0, 10**6)]),
        )
        for _ in range(r.randint(5, 12))
    ]


seeds = st.integers(0, 2**32)


@thousand
@given(seeds, st.integers(0, 11), st.integers(0, 500), st.booleans())
def test_a_fill_made_worse_never_raises_the_score(seed, which, worse, later):
    fills = some(seed)
    f = fills[which % len(fills)]
    sign = 1 if f.side == 0 else -1
    change = {"mid2_after": f.mid2_after - sign * worse} if later else {"price": f.price + sign * worse}
    harmed = list(fills)
    harmed[which % len(fills)] = replace(f, **change)
    assert 0 <= score(*harmed) <= score(*fills) <= 1_000_000


@thousand
@given(seeds)
def test_order_and_side_of_the_fills_do_not_matter(seed):
    fills = some(seed)
    mixed = random.Random(seed).sample(fills, len(fills))
    turned = []
    for f in fills:
        middles = {"mid2_decided": 20_000 - f.mid2_decided, "mid2_after": 20_000 - f.mid2_after}
        turned.append(replace(f, side=1 - f.side, price=10_000 - f.price, **middles))
    assert ask(*fills) == ask(*mixed) == ask(*turned) and ask(*fills).code in fq.SPEC.reason_codes
