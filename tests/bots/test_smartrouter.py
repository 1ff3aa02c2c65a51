"""exec.smartrouter: never more than asked, never worse than asked, never what the venue refuses."""

from __future__ import annotations

import os
import subprocess
import sys

import execution_cases as ec
import pytest
from hypothesis import given, settings

from polytraders.engine.probe import Probe, probe
from polytraders.errors import ConfigError
from polytraders.execution import smartrouter as sr
from polytraders.rows import POST_ONLY, OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, ONE

PARAMS = sr.SPEC.kernel_params()
BOOK = {"bids": [("0.53", "900")], "asks": [("0.54", "2200"), ("0.56", "9000")]}
BUY = {"side": Side.BUY, "outcome": Outcome.YES, "price": 5_500, "size": 6_000_000_000}
PASSIVE = BUY | {"passive_only": 1, "size": 100_000_000}
thousand = settings(max_examples=1_000, deadline=None, derandomize=True)


def route(case: dict, params=PARAMS) -> tuple[str, list[tuple[str, str, str, bool]]]:
    """Code's name and the plan's orders as (type, price, size, post-only)."""
    code, plan = probe(**case).shape(sr.decide, params)
    return code, [(o["order_type"], o["price"], o["size"], o["post_only"]) for o in plan["orders"]]


def planned(case: dict) -> tuple[Probe, str, list[tuple[int, int, int, int]]]:
    """The probe after the decision, the code's name, the orders as (price, size, order type, flags) in integers."""
    x = probe(**case)
    code, _ = x.shape(sr.decide, PARAMS)
    return (
        x,
        code,
        [tuple(int(x.plan[f][k]) for f in ("price", "size", "order_type", "flags")) for k in range(x.plan.n)],
    )


def test_the_example_takes_2200_and_lets_3800_wait():
    assert route(BOOK | {"intent": BUY}) == (
        "EXEC_ROUTE_SPLIT",
        [("FAK", "0.55", "2200", False), ("GTC", "0.55", "3800", True)],
    )


def test_the_example_in_the_other_token_is_the_same_order_seen_from_the_other_side():
    mirrored = {"bids": [("0.46", "2200"), ("0.44", "9000")], "asks": [("0.47", "900")]}
    assert route(mirrored | {"intent": BUY | {"outcome": Outcome.NO}}) == (
        "EXEC_ROUTE_SPLIT",
        [("FAK", "0.55", "2200", False), ("GTC", "0.55", "3800", True)],
    )


def test_what_is_wholly_inside_is_taken_at_once():
    assert route(BOOK | {"intent": BUY | {"size": 2_200_000_000}}) == (
        "EXEC_ROUTE_TAKE",
        [("FAK", "0.55", "2200", False)],
    )


def test_an_intent_that_meets_nothing_waits():
    assert route(BOOK | {"intent": BUY | {"price": 5_300}}) == ("EXEC_ROUTE_PASSIVE", [("GTC", "0.53", "6000", True)])


def test_a_fok_goes_whole_or_not_at_all():
    fok = BUY | {"order_type": OrderType.FOK}
    assert route(BOOK | {"intent": fok | {"size": 2_200_000_000}}) == (
        "EXEC_ROUTE_TAKE",
        [("FOK", "0.55", "2200", False)],
    )
    assert route(BOOK | {"intent": fok | {"size": 2_200_010_000}}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


def test_a_fak_takes_what_is_there_and_leaves_nothing_waiting():
    fak = BUY | {"order_type": OrderType.FAK}
    assert route(BOOK | {"intent": fak}) == ("EXEC_ROUTE_TAKE", [("FAK", "0.55", "2200", False)])
    assert route(BOOK | {"intent": fak | {"price": 5_300}}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


@pytest.mark.parametrize("order_type", [OrderType.FOK, OrderType.FAK])
def test_an_order_that_may_neither_take_nor_wait_is_not_sent(order_type):
    assert route(BOOK | {"intent": PASSIVE | {"order_type": order_type}}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


def test_a_passive_order_that_would_cross_waits_behind_the_touch():
    assert route(BOOK | {"intent": PASSIVE}) == ("EXEC_ROUTE_REPRICED", [("GTC", "0.53", "100", True)])
    sale = PASSIVE | {"side": Side.SELL, "price": 5_200}
    assert route(BOOK | {"intent": sale}) == ("EXEC_ROUTE_REPRICED", [("GTC", "0.54", "100", True)])


def test_a_passive_order_with_no_legal_price_behind_the_touch_is_not_sent():
    book = {"asks": [("0.01", "100")]}
    assert route(book | {"intent": PASSIVE | {"price": 100}}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


def test_a_passive_order_needs_only_a_live_book_not_a_new_or_two_sided_one():
    assert route({"bids": BOOK["bids"], "age_ms": 60_000, "intent": PASSIVE}) == (
        "EXEC_ROUTE_PASSIVE",
        [("GTC", "0.55", "100", True)],
    )


@pytest.mark.parametrize(
    "market", [{"book_ts": 0}, {"feed_up": 0}, {"tick": 0}], ids=["never seen", "feed down", "no tick"]
)
@pytest.mark.parametrize("intent", [BUY, PASSIVE], ids=["taking", "passive"])
def test_without_a_book_nothing_is_sent(market, intent):
    assert route(BOOK | {"intent": intent, "market": market}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


@pytest.mark.parametrize(
    "change",
    [{"age_ms": 2_001}, {"age_ms": -1}, {"bids": []}, {"asks": []}],
    ids=["stale", "from tomorrow", "no bids", "no asks"],
)
def test_without_a_fresh_two_sided_book_nothing_is_taken(change):
    assert route(BOOK | {"intent": BUY} | change) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


@pytest.mark.parametrize(
    ("price", "tick", "grid", "code", "rests_at"),
    [
        (5_230, 100, 10, "EXEC_ROUTE_TICK_CHANGED", "0.52"),  # legal on 0.001, the tick is 0.01 now
        (5_235, 100, 10, "EXEC_ROUTE_REPRICED", "0.52"),  # legal on no tick this market has had
        (5_230, 10, 10, "EXEC_ROUTE_PASSIVE", "0.523"),
        (9_995, 100, 10, "EXEC_ROUTE_REPRICED", "0.99"),
        (9_990, 100, 10, "EXEC_ROUTE_TICK_CHANGED", "0.99"),
    ],
)
def test_a_price_off_the_tick_comes_down_for_a_buy_and_says_why(price, tick, grid, code, rests_at):
    case = {"bids": [("0.50", "1")], "tick": tick, "grid": grid, "intent": PASSIVE | {"price": price}}
    assert route(case) == (code, [("GTC", rests_at, "100", True)])


def test_a_price_off_the_tick_goes_up_for_a_sale():
    case = {"bids": [("0.50", "1")], "grid": 10, "tick": 100, "intent": PASSIVE | {"side": Side.SELL, "price": 5_230}}
    assert route(case) == ("EXEC_ROUTE_TICK_CHANGED", [("GTC", "0.53", "100", True)])


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, 99), (Side.BUY, 0), (Side.SELL, 9_901), (Side.SELL, ONE)])
def test_a_price_that_can_only_be_made_worse_is_not_sent(side, price):
    assert route(BOOK | {"intent": PASSIVE | {"side": side, "price": price}}) == ("EXEC_ROUTE_NO_LIQUIDITY", [])


def test_sizes_are_floored_to_a_hundredth_of_a_share():
    code, orders = route(BOOK | {"intent": PASSIVE | {"price": 5_300, "size": 100_019_999}})
    assert (code, orders) == ("EXEC_ROUTE_PASSIVE", [("GTC", "0.53", "100.01", True)])


def test_an_order_below_the_minimum_size_is_not_sent():
    assert route(BOOK | {"intent": PASSIVE | {"size": 4_999_999}}) == ("EXEC_ROUTE_BELOW_MIN_SIZE", [])
    assert route(BOOK | {"intent": PASSIVE | {"size": -1}}) == ("EXEC_ROUTE_BELOW_MIN_SIZE", [])
    assert route(BOOK | {"intent": PASSIVE | {"size": 0}, "market": {"min_size": 0}}) == (
        "EXEC_ROUTE_BELOW_MIN_SIZE",
        [],
    )


def test_a_taking_order_below_one_pusd_is_not_sent_and_waits_if_it_may():
    cheap = {"bids": [("0.05", "900")], "asks": [("0.06", "900")]}  # 10 x 0.06 = 0.60 pUSD
    small = BUY | {"price": 600, "size": 10_000_000}
    assert route(cheap | {"intent": small | {"order_type": OrderType.FAK}}) == ("EXEC_ROUTE_BELOW_MIN_SIZE", [])
    assert route(cheap | {"intent": small}) == ("EXEC_ROUTE_REPRICED", [("GTC", "0.05", "10", True)])


def test_depth_too_small_to_be_taken_is_waited_behind():
    book = {"bids": [("0.52", "900")], "asks": [("0.54", "4.99"), ("0.56", "900")]}
    assert route(book | {"intent": BUY | {"size": 100_000_000}}) == (
        "EXEC_ROUTE_REPRICED",
        [("GTC", "0.53", "100", True)],
    )


def test_a_rest_too_small_to_wait_is_dropped():
    assert route(BOOK | {"intent": BUY | {"size": 2_204_000_000}}) == (
        "EXEC_ROUTE_TAKE",
        [("FAK", "0.55", "2200", False)],
    )


def test_the_waiting_order_stands_behind_dust_that_cannot_be_taken():
    book = {"bids": [("0.50", "900")], "asks": [("0.54", "100"), ("0.55", "0.005"), ("0.57", "900")]}
    assert route(book | {"intent": BUY | {"size": 200_000_000}}) == (
        "EXEC_ROUTE_SPLIT",
        [("FAK", "0.55", "100", False), ("GTC", "0.54", "100", True)],
    )


def test_taking_sizes_have_amounts_that_the_venue_stores():
    # at 0.53 a buy goes in whole shares: 0.53 pUSD each; what is left over waits behind the offers that remain
    book = {"bids": [("0.50", "900")], "asks": [("0.53", "1000.77")]}
    assert route(book | {"intent": BUY | {"price": 5_300, "size": 1_000_770_000}}) == (
        "EXEC_ROUTE_TAKE",
        [("FAK", "0.53", "1000", False)],
    )
    # a sale at 0.501 needs money with four decimals: shares in steps of 0.10
    book = {"bids": [("0.501", "1000.77")], "asks": [("0.60", "1")], "tick": 10}
    sale = BUY | {"side": Side.SELL, "price": 5_010, "order_type": OrderType.FAK}
    assert route(book | {"intent": sale}) == ("EXEC_ROUTE_TAKE", [("FAK", "0.501", "1000.7", False)])


def test_the_slippage_limit_bounds_what_is_taken_and_the_rest_waits_behind_it():
    book = {"bids": [("0.53", "900")], "asks": [("0.54", "100"), ("0.55", "100"), ("0.56", "900")]}
    limited = BUY | {"price": 5_600, "size": 500_000_000, "max_slippage_bps": 100}  # mid 0.535: up to 0.54
    assert route(book | {"intent": limited}) == (
        "EXEC_ROUTE_SPLIT",
        [("FAK", "0.54", "100", False), ("GTC", "0.54", "400", True)],
    )
    assert route(book | {"intent": limited | {"max_slippage_bps": 10}}) == (
        "EXEC_ROUTE_REPRICED",
        [("GTC", "0.53", "500", True)],
    )
    sale = limited | {"side": Side.SELL, "price": 5_000, "max_slippage_bps": 150}  # mid 0.535: down to 0.52
    bids = [("0.53", "100"), ("0.52", "100"), ("0.51", "900")]
    assert route(book | {"bids": bids, "intent": sale}) == (
        "EXEC_ROUTE_SPLIT",
        [("FAK", "0.52", "200", False), ("GTC", "0.52", "300", True)],
    )


def test_reduce_only_sells_no_more_than_is_held_and_buys_nothing():
    held = {"yes": 50_000_000, "no": 7_000_000, "yes_reserved": 20_000_000}
    sale = PASSIVE | {"side": Side.SELL, "price": 5_400, "reduce_only": 1}
    assert route(BOOK | {"intent": sale, "position": held})[1] == [("GTC", "0.54", "50", True)]
    assert route(BOOK | {"intent": sale | {"outcome": Outcome.NO, "price": 4_700}, "position": held})[1] == [
        ("GTC", "0.47", "7", True)
    ]
    assert route(BOOK | {"intent": sale}) == ("EXEC_ROUTE_BELOW_MIN_SIZE", [])
    assert route(BOOK | {"intent": PASSIVE | {"reduce_only": 1}, "position": held}) == ("EXEC_ROUTE_BELOW_MIN_SIZE", [])


def test_reduce_only_that_takes_at_once_leaves_reserved_shares_alone():
    held = {"yes": 50_000_000, "yes_reserved": 20_000_000}
    sale = BUY | {"side": Side.SELL, "price": 5_300, "reduce_only": 1, "order_type": OrderType.FAK}
    assert route(BOOK | {"intent": sale, "position": held})[1] == [("FAK", "0.53", "30", False)]


def test_a_quote_already_resting_is_planned_again_so_that_it_is_kept():
    sale = PASSIVE | {"side": Side.SELL, "price": 5_400, "reduce_only": 1, "size": 50_000_000}
    resting = {"yes": 50_000_000, "yes_reserved": 50_000_000}
    assert route(BOOK | {"intent": sale, "position": resting})[1] == [("GTC", "0.54", "50", True)]


def test_parameters_beyond_their_hard_limits_do_not_start():
    assert sr.SPEC.check({"max_orderbook_age_ms": 3_001}) == ["max_orderbook_age_ms"]
    for values in ({"max_orderbook_age_ms": 15_001}, {"min_marketable_usd": "0.99"}):
        with pytest.raises(ConfigError, match="hard"):
            sr.SPEC.check(values)


def own_side(x: Probe) -> int:
    """Side in YES space."""
    return int(x.intent.side if x.intent.outcome == Outcome.YES else 1 - x.intent.side)


def yes_price(x: Probe, price: int) -> int:
    return price if x.intent.outcome == Outcome.YES else ONE - price


def offers(x: Probe, cap: int) -> list[tuple[int, int]]:
    """(YES price, micro-shares) of the other side within a YES-space cap, best first."""
    m = x.market
    if own_side(x) == Side.BUY:
        levels = [(i * int(m.grid), int(x.ladder[m.levels + i])) for i in range(m.levels)]
        return [(p, q) for p, q in levels if q and p <= cap]
    return [(p, q) for p, q in ((i * int(m.grid), int(x.ladder[i])) for i in range(m.levels)) if q and p >= cap][::-1]


def check_plan(case: dict) -> None:
    """T1 ... T6 on one case, by definitions that share nothing with the bot's code."""
    kept = probe(**case)
    x, code, orders = planned(case)
    for name in ("intent", "market", "position", "account"):
        assert getattr(x, name).tobytes() == getattr(kept, name).tobytes(), name
    i, m = x.intent, x.market
    assert len(orders) <= 2 and (orders == []) == (code in ("EXEC_ROUTE_BELOW_MIN_SIZE", "EXEC_ROUTE_NO_LIQUIDITY"))
    assert sum(size for _, size, _, _ in orders) <= max(i.size, 0)  # T1
    taken = 0
    for price, size, order_type, flags in orders:
        assert (price <= i.price) if i.side == Side.BUY else (price >= i.price)  # T2
        assert price % m.tick == 0 and m.tick <= price <= ONE - m.tick
        assert size % CENT_SHARE == 0 and size >= m.min_size
        inside = offers(x, yes_price(x, price))
        if flags & POST_ONLY:
            assert order_type == i.order_type and order_type in (OrderType.GTC, OrderType.GTD)
            assert sum(q for _, q in inside) <= taken  # T3: nothing within its price is left
        else:
            assert order_type in (OrderType.FAK, OrderType.FOK) and not i.passive_only
            assert size <= sum(q for _, q in inside)  # T4
            money = price * (size // CENT_SHARE)
            assert money % (10_000 if i.side == Side.BUY else 100) == 0 and money >= 1_000_000
            if i.max_slippage_bps:
                mid2 = int(m.mark2 if i.outcome == Outcome.YES else 2 * ONE - m.mark2)
                worse = 2 * price - mid2 if i.side == Side.BUY else mid2 - 2 * price
                assert worse <= 2 * i.max_slippage_bps
            assert 0 <= m.best_bid < m.best_ask and m.now - m.book_ts <= 2_000_000_000  # T6
            taken += size
    if orders:
        assert m.book_ts > 0 and m.feed_up
    if i.reduce_only and orders:
        assert i.side == Side.SELL
        assert sum(o[1] for o in orders) <= (x.position.yes if i.outcome == 0 else x.position.no)


@thousand
@given(ec.cases())
def test_every_plan_of_any_intent_keeps_the_invariants(case):
    check_plan(case)


@thousand
@given(ec.cases(taking=True))
def test_every_plan_of_a_taking_intent_keeps_the_invariants(case):
    check_plan(case)


@thousand
@given(ec.cases(taking=True))
def test_what_is_taken_is_all_that_can_be_taken(case):
    x, _, orders = planned(ec.with_intent(case, max_slippage_bps=0, order_type=OrderType.FAK))
    i, m = x.intent, x.market
    cap = sr.onto_tick(yes_price(x, int(i.price)), int(m.tick), own_side(x))
    if not (case["bids"] and case["asks"]) or cap < 0:
        assert orders == []
        return
    depth = sum(q // CENT_SHARE for _, q in offers(x, cap))
    own = yes_price(x, cap)
    best = min(depth, int(i.size) // CENT_SHARE)
    while best > 0 and own * best % (10_000 if i.side == Side.BUY else 100):
        best -= 1
    if best * CENT_SHARE < m.min_size or own * best < 1_000_000:
        assert orders == []
    else:
        assert orders == [(own, best * CENT_SHARE, OrderType.FAK, 0)]


@thousand
@given(ec.cases())
def test_planning_again_gives_the_same_plan_and_a_planned_quote_plans_itself(case):
    x, code, orders = planned(case)
    again, _ = x.shape(sr.decide, PARAMS)
    assert again == code and orders == [
        tuple(int(x.plan[f][k]) for f in ("price", "size", "order_type", "flags")) for k in range(x.plan.n)
    ]
    if len(orders) == 1 and orders[0][3] & POST_ONLY:
        price, size, _, _ = orders[0]
        assert planned(ec.with_intent(case, price=price, size=size))[2] == orders


@thousand
@given(ec.cases(taking=True))
def test_a_larger_intent_never_takes_less(case):
    def taken(case: dict) -> int:
        return sum(size for _, size, _, flags in planned(case)[2] if not flags & POST_ONLY)

    case = ec.with_intent(case, order_type=OrderType.FAK)
    assert taken(ec.with_intent(case, size=case["intent"]["size"] + 3_210_000)) >= taken(case)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ec.cases(taking=True), ec.cases(taking=True, whole=True), ec.cases(whole=True))
def test_the_simulated_venue_refuses_no_planned_order(odd, whole, mixed):
    for case in (odd, whole, ec.fresh(mixed)):
        x, code, orders = planned(case)
        if case is odd:  # it matches whole hundredths of each level: the dust that a real match would take stays there
            orders = orders[:1]
        venue = ec.SimulatedVenue(x)
        for order in orders:
            assert ec.rejected(venue.send(x.intent, *order)) == [], (code, orders)
            venue.refresh()


def test_the_compiled_bot_and_plain_python_give_the_same_plans():
    python = subprocess.run(
        [sys.executable, ec.__file__, sr.SPEC.bot_id],
        env=os.environ | {"POLYTRADERS_JIT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert python.stdout.strip() == ec.digest(sr.SPEC.bot_id)
