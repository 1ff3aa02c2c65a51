"""exec.fee_slippage_estimator: the walk is exact, the guess is careful, the intent is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext

import execution_cases as ec
import pytest
from hypothesis import given, settings

from polytraders.engine import state as s
from polytraders.engine.fees import taker_fee
from polytraders.engine.probe import probe
from polytraders.errors import ConfigError
from polytraders.execution import fee_slippage_estimator as fse
from polytraders.rows import EventKind, OrderType, Outcome, Side
from polytraders.units import ONE

PARAMS = fse.SPEC.kernel_params()
BOOK = {"bids": [("0.62", "1000")], "asks": [("0.64", "1500"), ("0.65", "600")], "market": {"fee_rate": 50_000}}
BUY = {"side": Side.BUY, "outcome": Outcome.YES, "price": 6_500, "size": 2_000_000_000}
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def estimate(case: dict, params=PARAMS) -> tuple[str, dict]:
    return probe(**case).shape(fse.decide, params)


def slow_walk(case: dict) -> tuple[Decimal, Decimal, Decimal]:
    """(shares taken, pUSD paid, fee before rounding) in exact decimals, in the intent's own token."""
    i, market = case["intent"], case["market"]
    yes = i["outcome"] == Outcome.YES
    lifts = i["side"] == i["outcome"]
    own = [(Decimal(p if yes else ONE - p) / ONE, Decimal(q) / 10**6) for p, q in case["asks" if lifts else "bids"]]
    buying = i["side"] == Side.BUY
    limit, left = Decimal(i["price"]) / ONE, Decimal(i["size"]) / 10**6
    taken = paid = fee = Decimal(0)
    for price, there in sorted(own, reverse=not buying):
        if left <= 0 or (price > limit if buying else price < limit):
            break
        here = min(there, left)
        taken, paid, left = taken + here, paid + price * here, left - here
        fee += here * Decimal(market["fee_rate"]) / 10**6 * (price * (1 - price)) ** market["fee_exponent"]
    return taken, paid, fee


def mid_of(case: dict) -> Decimal:
    """Own-token mid in pUSD of a two-sided case."""
    mid = Decimal(max(p for p, _ in case["bids"]) + min(p for p, _ in case["asks"])) / (2 * ONE)
    return mid if case["intent"]["outcome"] == Outcome.YES else 1 - mid


def test_the_example_costs_what_it_costs_by_hand():
    # (1500 x 0.64 + 500 x 0.65) / 2000 = 0.6425; mid 0.63; fee 0.05 x (1500 x 0.2304 + 500 x 0.2275) = 22.9675
    code, plan = estimate(BOOK | {"intent": BUY})
    assert code == "EXEC_COST_ESTIMATED"
    assert (plan["q_exec"], plan["slippage_bps"], plan["fee"], plan["rebate"]) == (642_500, 125, 22_967_500, 0)
    assert plan["observed"] == 22_967_500 + 25_000_000  # 2000 x 0.0125 against mid
    assert plan["method"] == s.METHOD_WALK


def test_a_passive_intent_pays_no_taker_fee_and_is_promised_its_rebate():
    # 100 at 0.61: rate 0.05 x 0.2379 x 100 = 1.1895 pUSD of taker fee, 20 % of it is 0.2379; two cents below mid
    code, plan = estimate(BOOK | {"intent": BUY | {"price": 6_100, "size": 100_000_000, "passive_only": 1}})
    assert code == "EXEC_COST_ESTIMATED" and plan["method"] == s.METHOD_PASSIVE
    assert (plan["fee"], plan["rebate"], plan["q_exec"], plan["slippage_bps"]) == (0, 237_900, 610_000, -200)


def test_an_intent_that_meets_nothing_waits_and_is_estimated_as_passive():
    assert estimate(BOOK | {"intent": BUY | {"price": 6_300}})[1]["method"] == s.METHOD_PASSIVE


def test_the_part_that_will_rest_is_promised_its_rebate_and_charged_as_a_maker():
    case = BOOK | {"intent": BUY | {"size": 2_500_000_000}}  # 2 100 are offered, 400 rest at 0.65
    params = fse.SPEC.kernel_params({"builder_taker_bps": 100, "builder_maker_bps": 50})
    plan = estimate(case, params)[1]
    assert plan["rebate"] == 910_000  # 400 x 0.05 x 0.2275 = 4.55, a fifth of it
    fee = Decimal("0.05") * (1500 * Decimal("0.2304") + 600 * Decimal("0.2275"))
    builder = Decimal("0.01") * 1350 + Decimal("0.005") * 260  # 1 350 pUSD taken, 260 resting
    assert plan["fee"] == (fee + builder) * 10**6


@pytest.mark.parametrize("order_type", [OrderType.FOK, OrderType.FAK])
def test_an_order_that_cannot_trade_costs_nothing(order_type):
    price = 6_500 if order_type == OrderType.FOK else 6_300
    code, plan = estimate(BOOK | {"intent": BUY | {"size": 2_500_000_000, "price": price, "order_type": order_type}})
    assert code == "EXEC_COST_ESTIMATED" and plan["method"] == s.METHOD_NONE
    assert (plan["fee"], plan["rebate"], plan["q_exec"], plan["slippage_bps"], plan["observed"]) == (0, 0, 0, 0, 0)


def test_slippage_is_a_cost_for_buys_and_sales_of_both_tokens():
    book = {"bids": [("0.40", "100")], "asks": [("0.50", "100")], "market": {"fee_rate": 0}}
    for outcome, side, price in ((0, 0, 5_000), (0, 1, 4_000), (1, 0, 6_000), (1, 1, 5_000)):
        intent = {"outcome": outcome, "side": side, "price": price, "size": 100_000_000}
        plan = estimate(book | {"intent": intent})[1]
        assert (plan["q_exec"], plan["slippage_bps"]) == (price * 100, 500)


@pytest.mark.parametrize(
    "change",
    [
        {"age_ms": 2_001},
        {"age_ms": -1},
        {"market": {"fee_rate": 50_000, "feed_up": 0}},
        {"market": {"fee_rate": 50_000, "book_ts": 0}},
        {"asks": []},
        {"bids": []},
        {"bids": [], "asks": []},
    ],
    ids=["stale", "from tomorrow", "feed down", "never seen", "no asks", "no bids", "empty"],
)
def test_a_book_that_cannot_be_believed_leads_to_the_careful_guess(change):
    code, plan = estimate(BOOK | {"intent": BUY} | change)
    assert code == "EXEC_COST_FALLBACK" and plan["method"] == s.METHOD_CONSERVATIVE
    assert (plan["q_exec"], plan["slippage_bps"], plan["rebate"]) == (650_000, 200, 0)
    assert plan["fee"] == taker_fee(2_000_000_000, 5_000, 50_000, 1)


def test_a_book_exactly_as_old_as_allowed_is_believed():
    assert estimate(BOOK | {"intent": BUY, "age_ms": 2_000})[0] == "EXEC_COST_ESTIMATED"


@pytest.mark.parametrize(
    "market",
    [{"fee_rate": -1}, {"fee_rate": 1_000_001}, {"fee_exponent": 3}, {"fee_exponent": -1}, {"rebate_rate": -1}],
)
def test_an_impossible_fee_schedule_is_charged_the_highest_published_rate(market):
    code, plan = estimate(BOOK | {"intent": BUY, "market": market})
    assert code == "EXEC_COST_FEE_SCHEDULE_STALE" and plan["method"] == s.METHOD_CONSERVATIVE
    assert (plan["fee"], plan["rebate"]) == (33_073_200, 0)  # 0.072 x 459.35


def test_a_market_without_fees_is_known_to_be_free():
    code, plan = estimate(BOOK | {"intent": BUY, "market": {"fee_rate": 0}})
    assert (code, plan["fee"]) == ("EXEC_COST_ESTIMATED", 0)


def test_an_intent_of_no_size_costs_nothing():
    code, plan = estimate(BOOK | {"intent": BUY | {"size": 0}})
    assert code == "EXEC_COST_ESTIMATED" and plan["method"] == s.METHOD_NONE
    assert (plan["fee"], plan["rebate"], plan["q_exec"], plan["observed"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("size", [-5, fse.LARGEST + 1, 9 * 10**18])
def test_a_size_outside_all_sense_is_guessed_and_does_not_overflow(size):
    code, plan = estimate(BOOK | {"intent": BUY | {"size": size}})
    assert code == "EXEC_COST_FALLBACK"
    assert plan["fee"] == (fse.LARGEST // 80 if size > 0 else 0)  # 0.05 x 0.25 of the largest size


@pytest.mark.parametrize("price", [-5, 10_001, 20_000])
def test_a_price_outside_0_and_1_is_never_a_profit(price):
    code, plan = estimate(BOOK | {"intent": BUY | {"price": price}})
    assert code == "EXEC_COST_FALLBACK" and plan["fee"] >= 0 and plan["slippage_bps"] >= 200


def test_a_builder_fee_beyond_the_venue_s_cap_does_not_start():
    assert fse.SPEC.check({"builder_taker_bps": 60}) == ["builder_taker_bps"]
    for values in ({"builder_taker_bps": 101}, {"builder_maker_bps": 51}, {"unknown_fee_rate_ppm": 49_999}):
        with pytest.raises(ConfigError, match="hard"):
            fse.SPEC.check(values)


@thousand
@given(ec.cases(taking=True))
def test_the_expected_price_and_fee_equal_a_walk_in_exact_decimals(case):
    i = case["intent"]
    code, plan = estimate(case)
    if not (case["bids"] and case["asks"]):
        return
    with localcontext() as context:
        context.prec = 60
        taken, paid, fee = slow_walk(case)
        if i["order_type"] == OrderType.FOK and taken < Decimal(i["size"]) / 10**6:
            taken = Decimal(0)
        if taken == 0:
            assert plan["fee"] == 0
            return
        against_us = ROUND_CEILING if i["side"] == Side.BUY else ROUND_FLOOR
        q_exec = (paid / taken * ONE * 100).quantize(Decimal(1), against_us)
        slippage = (q_exec / (ONE * 100) - mid_of(case)) * (1 if i["side"] == Side.BUY else -1)
        cost = (paid - mid_of(case) * taken) * (1 if i["side"] == Side.BUY else -1)
        assert code == "EXEC_COST_ESTIMATED" and plan["method"] == s.METHOD_WALK
        assert plan["q_exec"] == q_exec
        assert plan["slippage_bps"] == (slippage * ONE).quantize(Decimal(1), ROUND_CEILING)
        # each level's fee is floored to 1e-9 pUSD before the one rounding, as the venue simulation does
        assert abs(plan["fee"] - int(fee.quantize(Decimal("1e-5"), ROUND_HALF_UP) * 10**6)) in (0, 10)
        assert plan["observed"] == plan["fee"] + (cost * 10**6).quantize(Decimal(1), ROUND_CEILING)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ec.cases(whole=True, taking=True))
def test_the_fee_is_what_the_simulated_venue_books(case):
    case = ec.with_intent(case, order_type=OrderType.FAK)
    case["intent"]["size"] = case["intent"]["size"] // ec.CENT * ec.CENT
    x = probe(**case)
    x.market.tick, x.market.min_size = x.market.grid, ec.CENT
    _, plan = x.shape(fse.decide, PARAMS)
    answers = ec.SimulatedVenue(x).send(x.intent, x.intent.price, x.intent.size, OrderType.FAK, 0)
    fills = [row for row in answers if row["kind"] == EventKind.FILL_CONFIRMED]
    if not (case["bids"] and case["asks"]) or ec.rejected(answers):
        return
    assert sum(int(row["ref"]) for row in fills) * 10 == plan["fee"]
    size = sum(int(row["size"]) for row in fills)
    paid = sum(int(row["size"]) * int(row["price"]) for row in fills)
    assert plan["q_exec"] == (-(-paid * 100 // size) if x.intent.side == Side.BUY else paid * 100 // size)


@thousand
@given(ec.cases())
def test_not_knowing_never_makes_an_order_cheaper(case):
    known = ec.fresh(case)
    if not (case["bids"] and case["asks"]) or case["intent"]["size"] == 0:
        return
    _, seen = estimate(known)
    code, stale = estimate(known | {"age_ms": 2_001})
    assert code == "EXEC_COST_FALLBACK"
    assert stale["fee"] >= seen["fee"] and stale["rebate"] <= seen["rebate"]
    assert stale["slippage_bps"] >= max(seen["slippage_bps"], 200)
    if known["market"]["fee_rate"] <= 72_000 and known["market"]["fee_exponent"] >= 1:
        code, unknown = estimate(known | {"market": known["market"] | {"fee_rate": -1}})
        assert code == "EXEC_COST_FEE_SCHEDULE_STALE"
        assert unknown["fee"] >= seen["fee"] and unknown["rebate"] == 0


@thousand
@given(ec.cases(taking=True))
def test_a_larger_order_never_has_a_smaller_fee_or_a_better_average(case):
    case = ec.with_intent(case, order_type=OrderType.FAK)
    _, small = estimate(case)
    _, large = estimate(ec.with_intent(case, size=case["intent"]["size"] + 7_654_321))
    assert large["fee"] >= small["fee"]
    if small["method"] == large["method"] == s.METHOD_WALK and small["q_exec"] > 0:
        assert large["slippage_bps"] >= small["slippage_bps"]


@thousand
@given(ec.cases())
def test_an_estimate_changes_neither_intent_nor_orders_and_made_again_is_the_same(case):
    x = probe(**case)
    x.plan.n, x.plan.price[:], x.plan.size[:], x.plan.flags[:] = 2, 4_321, 5_000_000, 1
    kept = [r.tobytes() for r in (x.intent, x.market, x.position, x.account)] + [x.ladder.tobytes()]
    first = x.shape(fse.decide, PARAMS)
    orders = [(int(x.plan.price[k]), int(x.plan.size[k]), int(x.plan.flags[k])) for k in range(2)]
    assert x.shape(fse.decide, PARAMS) == first
    assert orders == [(4_321, 5_000_000, 1)] * 2
    assert [r.tobytes() for r in (x.intent, x.market, x.position, x.account)] + [x.ladder.tobytes()] == kept


class Watched(list):
    """A ladder that remembers which of its cells were read."""

    def __init__(self, cells):
        super().__init__(int(c) for c in cells)
        self.read = set()

    def __getitem__(self, cell):
        self.read.add(int(cell))
        return super().__getitem__(cell)


@thousand
@given(ec.cases(taking=True))
def test_no_level_is_read_beyond_the_one_that_completes_the_order_or_passes_its_price(case):
    x = probe(**case)
    i, m, ladder = x.intent, x.market, Watched(x.ladder)
    side = int(i.side if i.outcome == Outcome.YES else 1 - i.side)
    limit = int(i.price if i.outcome == Outcome.YES else ONE - i.price)
    plain = getattr(fse.walk, "py_func", fse.walk)
    taken, _, _ = plain(ladder, m, side, limit, int(i.size), 50_000, 1)
    first = int(m.levels if side == Side.BUY else 0)
    read = sorted((cell - first for cell in ladder.read), reverse=side == Side.SELL)
    prices = [level * int(m.grid) for level in read]
    assert all(p <= limit if side == Side.BUY else p >= limit for p in prices)
    before_last = sum(int(x.ladder[first + level]) for level in read[:-1])
    assert not read or before_last < i.size, "the walk went on when it had enough"
    assert taken == min(before_last + (int(x.ladder[first + read[-1]]) if read else 0), max(int(i.size), 0))


def test_the_compiled_bot_and_plain_python_give_the_same_answers():
    python = subprocess.run(
        [sys.executable, ec.__file__, fse.SPEC.bot_id],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert python.stdout.strip() == ec.digest(fse.SPEC.bot_id)
