"""L1 after every event, on random sessions; and the corners of cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, Info, maker, random_tape, script

from polytraders.engine import ledger, setup
from polytraders.engine.backtest import Collected, VenueModel, feed, simulate
from polytraders.engine.state import ACCOUNT, POSITION, records
from polytraders.rows import OrderType, Side

MODELS = (
    VenueModel(),
    VenueModel(entry_latency=0, response_latency=0, queue_model="power_prob"),
    VenueModel(entry_latency=700 * MS, response_latency=3 * MS, partial_fills=False),
)


def identity_after_every_event(tape, pipeline, infos, model, interval):
    """Replay the consumed rows one by one and look at the books in between."""
    sink = Collected()
    sim = simulate(tape, infos, pipeline, cash=300 * PUSD, interval=interval, venue=model, sink=sink)
    events = sink.rows("events")
    state = setup.new_state(infos, pipeline, cash=300 * PUSD, interval=interval, sample_interval=10**9)
    for k in range(len(events)):
        feed(events[k : k + 1], state, pipeline, None, rows=4_096)
        account = state.account[0]
        assert ledger.identity_gap(account) == 0
        assert account.cash >= 0 and account.reserved >= 0 and account.cost >= 0
        open_orders = state.orders[state.orders["id"] > 0]
        assert account.reserved == open_orders["reserved"][open_orders["side"] == Side.BUY].sum()
        assert account.cost == state.positions["yes_cost"].sum() + state.positions["no_cost"].sum()
        for p, m in zip(state.positions, range(len(infos)), strict=True):
            sells = open_orders[(open_orders["side"] == Side.SELL) & (open_orders["market"] == m)]
            assert p.yes_reserved == sells["reserved"][sells["outcome"] == 0].sum() <= max(p.yes, 0)
            assert p.no_reserved == sells["reserved"][sells["outcome"] == 1].sum() <= max(p.no, 0)
    return sim


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(MODELS), st.sampled_from([0, 100 * MS]), st.integers(1, 3))
def test_the_books_balance_to_the_micro_pusd_after_every_event(seed, model, interval, markets):
    infos = [Info(grid=10, fee_exponent=1 + m % 2) for m in range(markets)]
    sim = identity_after_every_event(random_tape(seed, 250, markets), maker(), infos, model, interval)
    assert sim.state.account[0].submits > 0


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from(list(OrderType)),
    st.integers(1, 99),
    st.integers(5, 400),
    st.integers(0, 1),
)
def test_the_books_balance_for_takers_of_every_kind(seed, order_type, cents, size, outcome):
    pipeline = script(cents * 100, size * SHARE, order_type=order_type, passive=0, outcome=outcome)
    identity_after_every_event(random_tape(seed, 160), pipeline, [Info(grid=10)], MODELS[seed % 3], 100 * MS)


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(
    st.integers(1, 10**9).flatmap(lambda held: st.tuples(st.integers(0, held), st.just(held))), st.integers(0, 10**13)
)
def test_the_cost_of_a_part_is_its_floored_share_and_of_all_it_is_all(part, cost):
    size, held = part[0] * 10_000, part[1] * 10_000
    assert ledger.part_of_cost(cost, size, held) == cost * size // held
    assert ledger.part_of_cost(cost, held, held) == cost


@pytest.mark.parametrize("outcome", [0, 1])
def test_a_round_trip_leaves_no_cost_and_the_profit_in_cash(outcome):
    account, position = records(ACCOUNT, 1)[0], records(POSITION, 1)[0]
    account.deposits = account.cash = 100 * PUSD
    for price, size, side in ((4_000, 10, Side.BUY), (4_200, 3, Side.BUY), (5_000, 13, Side.SELL)):
        ledger.book_fill(account, position, outcome, side, price, size * SHARE, 0, 0)
    # 10 x 0.40 + 3 x 0.42 = 5.26 paid, 13 x 0.50 = 6.50 received
    assert account.cash == 101_240_000 and account.realised == 1_240_000 and account.cost == 0
    assert ledger.identity_gap(account) == 0


def test_a_complete_set_settles_to_one_whatever_happens():
    for payout in (0, 5_000, 10_000):
        account, position = records(ACCOUNT, 1)[0], records(POSITION, 1)[0]
        account.deposits = account.cash = 100 * PUSD
        ledger.book_fill(account, position, 0, Side.BUY, 4_800, 10 * SHARE, 0, 0)
        ledger.book_fill(account, position, 1, Side.BUY, 5_000, 10 * SHARE, 0, 0)
        ledger.settle(account, position, payout)
        assert account.cash == 100_200_000 and account.realised == 200_000


def test_a_hold_for_a_taking_buy_covers_the_largest_fee_it_can_meet():
    market = setup.market_rows([Info()])[0][0]
    for cents in range(1, 100):
        held = ledger.need(market, Side.BUY, cents * 100, 10 * SHARE, 0)
        worst = max(
            p * 100 * 10 * SHARE // 10_000 + int(ledger.taker_fee(10 * SHARE, p * 100, 70_000, 1))
            for p in range(1, cents + 1)
        )
        assert held >= worst
    assert ledger.need(market, Side.BUY, 5_000, 10 * SHARE, 1) == 5 * PUSD
    assert ledger.need(market, Side.SELL, 5_000, 10 * SHARE, 0) == 10 * SHARE


def test_marks_value_both_outcomes_at_mid():
    account, position = records(ACCOUNT, 1)[0], records(POSITION, 1)[0]
    position.yes, position.no = 10 * SHARE, 4 * SHARE
    ledger.mark(account, position, 4_000 + 4_200)  # mid 0.41: 10 x 0.41 + 4 x 0.59 = 6.46
    assert account.marked == 6_460_000 and account.equity == 6_460_000
    assert np.int64(position.marked) == 6_460_000
