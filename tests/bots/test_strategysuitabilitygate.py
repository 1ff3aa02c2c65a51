"""risk.strategysuitabilitygate: class, kind of market and capital within what the desk has stated."""

from __future__ import annotations

import pytest
import risk_cases as rc
from hypothesis import given
from hypothesis import strategies as st

from polytraders.bots import LIBRARY
from polytraders.config import load_settings
from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.risk import strategysuitabilitygate as ssg
from polytraders.run.pipeline import build_pipeline
from polytraders.units import ONE

BOT = "risk.strategysuitabilitygate"
M = rc.MICRO
BUY = {"side": 0, "price": 6_200, "size": 100 * M}


def vote(used: int = 0, intent=BUY, group: int = -1, **values):
    x = probe(intent=intent, account={"cost": used, "reserved": 0}, market={"group": group})
    return x.judge(ssg.decide, ssg.SPEC.kernel_params(values))


def test_a_class_above_the_tier_is_refused():
    code, answer = vote(strategy_class="2")
    assert (code, answer["verdict"], answer["observed"], answer["limit"]) == (
        "RISK_STRATEGY_CLASS_NOT_ALLOWED",
        "REJECT",
        2,
        1,
    )
    assert vote(strategy_class="2", experience_tier="2")[0] == "RISK_STRATEGY_SUITABLE"


def test_outcomes_of_many_need_the_second_tier():
    assert vote(group=0)[0] == "RISK_NEGRISK_NEEDS_ELEVATION"
    assert vote(group=0, experience_tier="2")[0] == "RISK_STRATEGY_SUITABLE"
    assert vote(group=0, require_elevation_for_negrisk="false")[0] == "RISK_STRATEGY_SUITABLE"


@pytest.mark.parametrize(
    ("used", "code", "size"),
    [
        (738 * M, "RISK_STRATEGY_SUITABLE", -1),  # 738 + 62 = 800
        (738 * M + 1, "RISK_STRATEGY_CAPITAL_NEAR", -1),
        (938 * M, "RISK_STRATEGY_CAPITAL_NEAR", -1),
        (938 * M + 1, "RISK_STRATEGY_CAPITAL_RESHAPED", 99_990_000),
        (960 * M, "RISK_STRATEGY_CAPITAL_RESHAPED", 64_510_000),  # 40 / 0.62 = 64.516...
        (996_900_000, "RISK_STRATEGY_CAPITAL_RESHAPED", 5 * M),  # 3.1 / 0.62 = 5, the market's minimum
        (996_900_001, "RISK_STRATEGY_CAPITAL_SPENT", -1),
        (5_000 * M, "RISK_STRATEGY_CAPITAL_SPENT", -1),
    ],
)
def test_capital_counts_to_the_micro(used, code, size):
    got, answer = vote(used)
    assert (got, answer["max_size"]) == (code, size)


def test_a_quote_that_replaces_its_own_money_needs_none():
    assert vote(1_000 * M, BUY | {"replaces": 62 * M})[0] == "RISK_STRATEGY_CAPITAL_NEAR"


def test_classes_are_of_strategies_in_the_library_and_the_rest_is_basic():
    assert set(ssg.CLASSES) <= {f"strat.{name}" for name in LIBRARY["strat"]}
    assert ssg.class_of("strat.momentum") == ssg.class_of("strat.mine") == ssg.BASIC


def test_a_run_knows_its_strategys_class_and_settings_never_lower_it(monkeypatch):
    settings = load_settings().with_overrides({f"{BOT}.mode": "enforced"})

    def stated(settings) -> int:
        pipeline, _ = build_pipeline(settings, "strat.maker_tight")
        (bot,) = [b for b in pipeline.bots if b.bot.id == BOT]
        return int(bot.params[ssg.CLASS])

    assert stated(settings) == 1
    assert stated(settings.with_overrides({f"{BOT}.strategy_class": "2"})) == 2
    monkeypatch.setitem(ssg.CLASSES, "strat.maker_tight", 3)
    assert stated(settings.with_overrides({f"{BOT}.strategy_class": "2"})) == 3


def test_a_tier_beyond_hard_does_not_start():
    for values in ({"experience_tier": 4}, {"strategy_class": 0}, {"max_capital_pusd": 1_000_001}):
        with pytest.raises(ConfigError):
            ssg.SPEC.kernel_params(values)


@rc.thousand
@given(rc.cases(), rc.permitted(ssg.SPEC))
def test_what_is_left_of_a_cut_order_passes_and_fits(case, params):
    _, answer = rc.judge(BOT, case, params)
    size = rc.size_after(case, answer)
    if answer["verdict"] == "RESHAPE":
        assert 0 < size < case["intent"]["size"] and size % rc.CENT == 0
        _, again = rc.judge(BOT, rc.with_(case, "intent", size=size), params)
        assert again["verdict"] == "APPROVE"
    if size > 0 and case["intent"]["side"] == 0:
        account, intent = case["account"], case["intent"]
        used = account["cost"] + account["reserved"] - intent["replaces"]
        assert used + max(intent["price"], 1) * size // ONE <= params[ssg.CAPITAL] <= 10**12


@rc.thousand
@given(rc.cases(), rc.permitted(ssg.SPEC), st.integers(0, 10**9))
def test_more_capital_in_use_or_a_lower_tier_is_never_treated_more_kindly(case, params, more):
    _, before = rc.judge(BOT, case, params)
    _, after = rc.judge(BOT, rc.with_(case, "account", cost=case["account"]["cost"] + more), params)
    assert rc.size_after(case, after) <= rc.size_after(case, before)
    lower = params.copy()
    lower[ssg.TIER] = max(params[ssg.TIER] - 1, 1)
    _, after = rc.judge(BOT, case, lower)
    assert rc.size_after(case, after) <= rc.size_after(case, before)


@rc.thousand
@given(rc.cases(), rc.permitted(ssg.SPEC))
def test_sales_pass_and_only_the_size_is_ever_constrained(case, params):
    code, answer = rc.judge(BOT, case, params)
    assert code in ssg.SPEC.reason_codes
    if case["intent"]["side"] == 1:
        assert (code, answer["verdict"]) == ("RISK_STRATEGY_SUITABLE", "APPROVE")
    assert answer["max_price"] == answer["min_price"] == -1 and not answer["passive_only"] + answer["close_only"]
    assert (answer["max_size"] >= 0) == (answer["verdict"] == "RESHAPE") and answer["latch"] == 0
    assert rc.writes_only_the_vote(BOT, case, params)
    assert rc.judge(BOT, case, params) == (code, answer)


def test_compiled_and_plain_python_agree_to_the_bit():
    assert rc.plain_digest(BOT) == rc.digest(BOT)
