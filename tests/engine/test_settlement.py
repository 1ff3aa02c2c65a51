"""How money comes back: resolution and redemption, complete sets, conversions; numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, T0, Info, S, Tape, allow, as_is, random_tape, script, toy

from polytraders import rows
from polytraders.engine import ledger, setup
from polytraders.engine.backtest import Collected, VenueModel, feed, simulate
from polytraders.engine.kernels import kernel
from polytraders.engine.ledger import group_loss_with
from polytraders.engine.matching import arrive, new_venue, send
from polytraders.engine.state import ACCOUNT, INTENT, POSITION, records
from polytraders.errors import DataError
from polytraders.reasons import Code
from polytraders.rows import ActionKind, EventKind, OrderType, Outcome, Side, Status

BOUGHT = 1_000 * PUSD - 5_274_930
"""Cash after `take`: 10 YES at 0.51 cost 5.10 and a fee of 10 x 0.07 x 0.51 x 0.49 = 0.17493."""


ONE_MARKET = (Info(),)


def books(cash=100):
    """An account with `cash` pUSD and an empty position."""
    account, position = records(ACCOUNT, 1)[0], records(POSITION, 1)[0]
    account.deposits = account.cash = cash * PUSD
    return account, position


def session(tape, pipeline, *, until=60_000.001, infos=ONE_MARKET, cash=1_000 * PUSD, wait=0, merge=0, redeemed=0):
    """(simulation, what it wrote), deciding every 100 ms; until, wait (each way) and redeemed in ms.

    A microsecond beyond the grid, so that what became of the last decision is still heard.
    """
    sink = Collected()
    model = VenueModel(entry_latency=wait * MS, response_latency=wait * MS, redemption_delay=redeemed * MS)
    sim = simulate(
        tape.clock(until).events(), infos, pipeline, cash=cash, interval=100 * MS, venue=model, sink=sink,
        merge_least=merge,
    )  # fmt: skip
    return sim, sink


def one_take() -> Tape:
    """0.49 x 100 against 0.51 x 100, which is gone at 50 ms and leaves 0.52 x 200: mid 0.505."""
    return Tape().bid(0, 4_900, 100).ask(0, 5_200, 200).ask(0, 5_100, 100).ask(50, 5_100, 0)


def take():
    """Takes 10 YES at up to 0.51 whenever they are there."""
    return script(5_100, 10 * SHARE, order_type=OrderType.FAK, passive=0)


# -- fees by date -------------------------------------------------------------------------------------------------


def test_a_fee_schedule_holds_from_its_row_on():
    """10 at 0.51: 0.07 x 10 x 0.2499 = 0.17493, from 1 s on 0.02 x 10 x 0.2499 = 0.04998, and makers get half."""
    tape = one_take().add(1_000, EventKind.FEES, size=0.02, price=1, aux=500_000)
    sim, sink = session(tape.ask(2_000, 5_100, 100).ask(2_050, 5_100, 0), take())
    events = sink.rows("events")
    mine = events[events["kind"] == EventKind.FILL_CONFIRMED]
    assert (mine["ref"] * 10).tolist() == [174_930, 49_980]
    market = sim.state.markets[0]
    assert (market.fee_rate, market.rebate_rate) == (20_000, 500_000)
    # a maker then earns half of 10 x 0.02 x 0.49 x 0.51 = 0.04998
    tape = one_take().add(60, EventKind.FEES, size=0.02, price=1, aux=500_000).trade(500, 4_900, 200, Side.SELL)
    sim, _ = session(tape.bid(550, 4_900, 0), script(4_900, 10 * SHARE))
    assert sim.state.account[0].rebates == 24_990 and sim.state.account[0].fills == 1


def test_without_fees_a_new_schedule_charges_nothing():
    tape = one_take().add(1_000, EventKind.FEES, size=0.02, price=1, aux=0).ask(2_000, 5_100, 100).ask(2_050, 5_100, 0)
    model = VenueModel(entry_latency=0, response_latency=0, fees=False)
    sim = simulate(tape.clock(60_000).events(), [Info()], take(), cash=100 * PUSD, interval=100 * MS, venue=model)
    assert sim.state.account[0].fills == 2 and sim.state.account[0].fees == 0


# -- resolution ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payout", "paid"), [(10_000, 10), (5_000, 5), (0, 0)])
def test_what_a_market_pays_is_owed_until_it_is_redeemed(payout, paid):
    sim, _ = session(one_take().resolve(1_000, payout), take(), until=20_000.001, redeemed=20_000)
    account = sim.state.account[0]
    assert (account.cash, account.receivable) == (BOUGHT, paid * PUSD)
    assert account.equity == BOUGHT + paid * PUSD and account.realised == paid * PUSD - 5_100_000
    assert sim.state.markets[0].redeeming == 1 and ledger.identity_gap(account) == 0
    sim, _ = session(one_take().resolve(1_000, payout), take(), until=21_000.001, redeemed=20_000)
    account = sim.state.account[0]
    assert (account.cash, account.receivable, account.equity) == (BOUGHT + paid * PUSD, 0, BOUGHT + paid * PUSD)
    assert sim.venue.account[0].cash == account.cash and sim.venue.account[0].receivable == 0
    assert sim.state.markets[0].redeeming == 0 and ledger.identity_gap(account) == 0


def test_money_that_is_owed_cannot_be_spent():
    """Market 0 pays 10 at 1 s, redeemed at 31 s. Another buy needs 5.10 and up to 0.175 of fee; 4.73 are left."""
    tape = one_take().resolve(1_000, 10_000)
    tape.market = 1
    tape.bid(2_000, 4_900, 100).ask(2_000, 5_100, 100).bid(40_000, 4_900, 110).ask(40_050, 5_100, 0)
    sim, sink = session(tape, take(), infos=(Info(), Info()), cash=10 * PUSD, redeemed=30_000)
    events = sink.rows("events")
    mine = events[events["kind"] == EventKind.FILL_CONFIRMED]
    assert mine["market"].tolist() == [0, 1] and ((mine["ts_event"] - T0) // S).tolist() == [0, 40]
    assert Code.EXEC_NO_FUNDS in sink.rows("decisions")["code"]
    assert ledger.identity_gap(sim.state.account[0]) == 0


def test_a_disputed_market_pays_nothing_and_takes_no_order_until_it_is_resolved():
    disputed = one_take().add(1_000, EventKind.STATUS, aux=Status.RESOLVING).bid(2_000, 4_800, 150)
    sim, _ = session(disputed, take())
    account, position = sim.state.account[0], sim.state.positions[0]
    assert sim.state.markets[0].status == Status.RESOLVING and position.yes == 10 * SHARE
    assert (account.cash, account.receivable, position.marked) == (BOUGHT, 0, 5_050_000)
    late = Tape().add(0, EventKind.STATUS, aux=Status.RESOLVING).bid(0, 4_900, 100).ask(0, 5_100, 100)
    _, sink = session(late, take())
    answers = sink.rows("events")
    answers = answers[(answers["kind"] >= EventKind.ORDER_ACK) & (answers["kind"] <= EventKind.CANCEL)]
    assert len(answers) and set(answers["kind"]) == {EventKind.ORDER_REJECT}
    assert set(answers["size"]) == {Code.EXEC_MARKET_CLOSED}
    half = one_take().add(1_000, EventKind.STATUS, aux=Status.RESOLVING).resolve(5_000, 5_000)
    sim, _ = session(half, take())  # the vote says neither: each share pays 0.50
    assert sim.state.account[0].cash == BOUGHT + 5 * PUSD and sim.state.markets[0].status == Status.RESOLVED


@pytest.mark.parametrize(("redeemed", "owed"), [(10_000, True), (2_000, False)])
def test_a_fill_heard_of_after_the_resolution_is_paid_like_the_rest(redeemed, owed):
    """Taken at 4 s, when the market resolves 10 ms later; heard of at 8 s; redeemed before or after that."""
    tape = Tape().bid(0, 4_900, 100).ask(0, 5_100, 100).ask(4_005, 5_100, 0).resolve(4_010, 10_000)
    sim, sink = session(tape, take(), wait=4_000, redeemed=redeemed)
    sample = [row for row in sink.rows("samples") if row["ts"] == T0 + 8_000 * MS][-1]
    spendable = sample["cash"] + sample["reserved"]  # it tries again at once, and is refused
    assert spendable == (BOUGHT if owed else BOUGHT + 10 * PUSD) and sample["equity"] == BOUGHT + 10 * PUSD
    account = sim.state.account[0]
    assert account.cash + account.reserved == sim.venue.account[0].cash == BOUGHT + 10 * PUSD
    assert account.receivable == 0 and ledger.identity_gap(account) == 0


def test_a_payout_no_market_makes_is_refused():
    with pytest.raises(DataError, match="unknown payout"):
        session(one_take().resolve(1_000, 2_500), take())


# -- one book for both outcomes: who meets whom ------------------------------------------------------------------


def test_complementary_our_yes_bid_buys_from_somebody_who_sells_yes():
    tape = one_take().trade(500, 4_900, 200, Side.SELL).bid(550, 4_900, 0)
    sim, _ = session(tape, script(4_900, 10 * SHARE))
    account, position = sim.state.account[0], sim.state.positions[0]
    assert (position.yes, position.yes_cost) == (10 * SHARE, 4_900_000)
    assert account.cash + account.reserved == 995_100_000 and account.fees == 0


def test_mint_our_no_bid_at_p_is_a_yes_ask_at_one_minus_p():
    """A YES buyer lifts 0.52: with our NO bid at 0.48 that makes 1 pUSD a pair, which mints both shares."""
    tape = one_take().trade(500, 5_200, 300, Side.BUY).ask(550, 5_200, 0).bid(550, 4_900, 0)
    sim, _ = session(tape, script(4_800, 10 * SHARE, outcome=Outcome.NO))
    account, position = sim.state.account[0], sim.state.positions[0]
    assert (position.no, position.no_cost, position.yes) == (10 * SHARE, 4_800_000, 0)
    assert account.cash + account.reserved == 995_200_000 and account.fees == 0
    assert position.last_fill_price == 5_200 and position.last_fill_side == Side.SELL
    # a buyer who pays 0.51 only does not reach it
    low = session(one_take().trade(500, 5_100, 300, Side.BUY), script(4_800, 10 * SHARE, outcome=Outcome.NO))[0]
    assert low.state.positions[0].no == 0


def test_merge_our_no_sale_at_p_is_a_yes_bid_at_one_minus_p():
    """We hold 10 NO at 0.49. Somebody sells YES at 0.49: with our sale of NO at 0.51 both pairs end in 1 pUSD."""
    tape = one_take().ask(100, 5_100, 50)
    pipeline = script(5_100, 10 * SHARE, outcome=Outcome.NO, side=Side.SELL)
    state = setup.new_state([Info()], pipeline, cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    ledger.book_fill(state.account[0], state.positions[0], Outcome.NO, Side.BUY, 4_900, 10 * SHARE, 0, 0)
    feed(tape.events(), state, pipeline, None)
    order = state.orders[state.orders["id"] > 0][0]
    assert (order["outcome"], order["side"], order["price"]) == (Outcome.NO, Side.SELL, 5_100)
    told = np.zeros(1, rows.EVENT)
    told["kind"], told["aux"], told["price"], told["size"] = EventKind.FILL_CONFIRMED, order["id"], 5_100, 10 * SHARE
    told["ts_recv"], told["flags"] = T0 + 500 * MS, rows.Flag.LAST | rows.Flag.MAKER
    feed(told, state, pipeline, None)
    account, position = state.account[0], state.positions[0]
    assert (position.no, position.no_cost, account.cash, account.realised) == (0, 0, 100_200_000, 200_000)
    assert position.last_fill_price == 4_900 and position.last_fill_side == Side.BUY


# -- complete sets ------------------------------------------------------------------------------------------------


def test_a_pair_is_worth_one_whatever_the_mid():
    for mark2 in (0, 1, 2 * 137, 9_999, 2 * 9_950, 19_999):
        account, position = books()
        ledger.book_fill(account, position, Outcome.YES, Side.BUY, 4_800, 10 * SHARE, 0, 0)
        ledger.book_fill(account, position, Outcome.NO, Side.BUY, 4_900, 10 * SHARE, 0, 0)
        ledger.mark(account, position, mark2)
        assert position.marked == 10 * PUSD and account.equity == 100_300_000  # 0.97 paid a pair


def test_without_a_mid_what_has_no_partner_stands_at_cost():
    account, position = books()
    ledger.book_fill(account, position, Outcome.YES, Side.BUY, 4_000, 10 * SHARE, 0, 0)
    ledger.book_fill(account, position, Outcome.NO, Side.BUY, 5_000, 4 * SHARE, 0, 0)
    ledger.mark(account, position, 0)
    assert position.marked == 4 * PUSD + 6 * 400_000


def test_splitting_books_no_profit_and_shares_the_cost_out_at_mid():
    account, position = books()
    ledger.split(account, position, 10 * SHARE, 2 * 3_700)
    ledger.mark(account, position, 2 * 3_700)
    assert (account.cash, account.cost, account.realised) == (90 * PUSD, 10 * PUSD, 0)
    assert (position.yes_cost, position.no_cost) == (3_700_000, 6_300_000)
    assert account.equity == 100 * PUSD and ledger.identity_gap(account) == 0
    ledger.merge(account, position, 10 * SHARE)
    assert (account.cash, account.cost, account.realised) == (100 * PUSD, 0, 0)
    assert position.yes == position.no == 0


def test_merging_frees_one_a_pair_and_takes_the_pairs_cost_out():
    """10 YES for 4.80 and 6 NO for 3.00. Four pairs cost 1.92 + 2.00: 4.00 come back, 0.08 is profit."""
    account, position = books()
    ledger.book_fill(account, position, Outcome.YES, Side.BUY, 4_800, 10 * SHARE, 0, 0)
    ledger.book_fill(account, position, Outcome.NO, Side.BUY, 5_000, 6 * SHARE, 0, 0)
    ledger.merge(account, position, 4 * SHARE)
    assert account.cash == 100 * PUSD - 7_800_000 + 4 * PUSD and account.realised == 80_000
    assert (position.yes, position.yes_cost) == (6 * SHARE, 2_880_000)
    assert (position.no, position.no_cost) == (2 * SHARE, 1_000_000)
    assert ledger.identity_gap(account) == 0


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("bsmn"), st.integers(1, 60), st.integers(1, 99)), max_size=12))
def test_the_identity_holds_through_any_mixture_of_trades_and_sets(moves):
    account, position = books()
    for what, lots, cents in moves:
        size = lots * 10_000 * 37
        if what == "s":
            ledger.split(account, position, size, cents * 200)
        elif what == "m" and min(position.yes, position.no) >= size:
            equity = account.equity
            ledger.merge(account, position, size)
            ledger.mark(account, position, 9_900)
            assert what == "m" and account.equity == equity
        elif what in "bn":
            outcome = Outcome.YES if what == "b" else Outcome.NO
            ledger.book_fill(account, position, outcome, Side.BUY, cents * 100, size, 0, 0)
        ledger.mark(account, position, 9_900)
        assert ledger.identity_gap(account) == 0
        assert account.cost == position.yes_cost + position.no_cost


def venue_of(infos, cash=100):
    """A venue without latency, and how to send it an action: returns (kind, size, price) of its last answer."""
    markets, cells = setup.market_rows(infos)
    venue = new_venue(
        markets, cells, cash * PUSD, entry_latency=0, response_latency=0, queue_model="risk_averse", power=1,
        partial_fills=True,
    )  # fmt: skip

    def ask(kind, size, market=0, index_set=0):
        action = records(rows.ACTION, 1)
        action["kind"], action["size"], action["market"], action["price"] = kind, size, market, index_set
        send(venue.core[0], venue.entry, venue.actions, action[0])
        arrive(venue)
        answer = venue.answers[venue.core[0].answers_tail - 1]
        return int(answer["kind"]), int(answer["size"]), int(answer["price"])

    return venue, ask


def test_the_venue_splits_what_the_cash_covers_and_merges_what_is_free():
    venue, ask = venue_of([Info()])
    account, position = venue.account[0], venue.positions[0]
    assert ask(ActionKind.SPLIT, 100 * SHARE + 10_000)[:2] == (EventKind.SPLIT, 0)
    assert ask(ActionKind.SPLIT, 12_345)[:2] == (EventKind.SPLIT, 0)  # not a hundredth of a share
    assert ask(ActionKind.SPLIT, 30 * SHARE)[:2] == (EventKind.SPLIT, 30 * SHARE)
    assert (account.cash, position.yes, position.no) == (70 * PUSD, 30 * SHARE, 30 * SHARE)
    ledger.hold(account, position, Outcome.NO, Side.SELL, 25 * SHARE)  # an open sell of 25 NO
    assert ask(ActionKind.MERGE, 6 * SHARE)[:2] == (EventKind.MERGE, 0)
    assert ask(ActionKind.MERGE, 5 * SHARE)[:2] == (EventKind.MERGE, 5 * SHARE)
    assert (account.cash, position.yes, position.no) == (75 * PUSD, 25 * SHARE, 25 * SHARE)
    assert ledger.identity_gap(account) == 0


def event(kind, size, market=0, price=0, ms=500):
    row = np.zeros(1, rows.EVENT)
    row["kind"], row["size"], row["market"], row["price"], row["flags"] = kind, size, market, price, rows.Flag.LAST
    row["ts_recv"] = row["ts_event"] = T0 + ms * MS
    return row


def test_the_step_books_the_sets_that_the_venue_made():
    idle = script(4_900, 10 * SHARE, want=0)
    state = setup.new_state([Info()], idle, cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    feed(event(EventKind.SPLIT, 20 * SHARE), state, idle, None)
    account, position = state.account[0], state.positions[0]
    assert (account.cash, position.yes, position.no, account.equity) == (80 * PUSD, 20 * SHARE, 20 * SHARE, 100 * PUSD)
    feed(event(EventKind.SPLIT, 0, ms=600), state, idle, None)  # refused
    assert account.cash == 80 * PUSD


def merging():
    """(a pipeline that wants nothing, its state): sets of one share on are merged."""
    idle = script(4_900, 10 * SHARE, want=0)
    options = {"cash": 100 * PUSD, "interval": 100 * MS, "sample_interval": S, "merge_least": SHARE}
    return idle, setup.new_state([Info()], idle, **options)


def test_complete_sets_are_merged_into_cash_and_asked_for_once():
    """10 pairs from a split, no order on them: merged for 10.00 at the next decision, not again at the one after."""
    pipeline, state = merging()
    sink = Collected()
    feed(event(EventKind.SPLIT, 10 * SHARE), state, pipeline, sink)
    feed(Tape().bid(700, 4_900, 100).bid(900, 4_900, 90).clock(1_200).events(), state, pipeline, sink)
    actions, position = sink.rows("actions"), state.positions[0]
    assert actions["kind"].tolist() == [ActionKind.MERGE] and actions["size"].tolist() == [10 * SHARE]
    assert position.merging == position.yes_reserved == position.no_reserved == 10 * SHARE
    feed(event(EventKind.MERGE, 10 * SHARE, ms=1_300), state, pipeline, sink)
    account = state.account[0]
    assert (account.cash, account.cost, account.equity) == (100 * PUSD, 0, 100 * PUSD)
    assert position.merging == position.yes_reserved == position.no_reserved == position.yes == position.no == 0


def test_a_refused_merge_gives_the_shares_back():
    pipeline, state = merging()
    feed(event(EventKind.SPLIT, 10 * SHARE), state, pipeline, None)
    feed(Tape().bid(700, 4_900, 100).clock(900).events(), state, pipeline, None)
    assert state.positions[0].merging == 10 * SHARE
    feed(event(EventKind.MERGE, 0, ms=950), state, pipeline, None)
    position = state.positions[0]
    assert position.merging == position.yes_reserved == 0 and position.yes == 10 * SHARE
    assert state.account[0].cash == 90 * PUSD


def test_a_merge_that_the_resolution_overtakes_is_paid_once():
    pipeline, state = merging()
    feed(event(EventKind.SPLIT, 10 * SHARE), state, pipeline, None)
    feed(Tape().bid(700, 4_900, 100).clock(900).resolve(1_000, 5_000).events(), state, pipeline, None)
    feed(event(EventKind.MERGE, 10 * SHARE, ms=1_100), state, pipeline, None)
    account = state.account[0]
    assert account.cash == 100 * PUSD and ledger.identity_gap(account) == 0


# -- conversions --------------------------------------------------------------------------------------------------

EVENT_OF_THREE = [Info(event_id="e", neg_risk=True)] * 3


def test_the_markets_of_a_neg_risk_event_form_a_ring_and_others_do_not():
    infos = [Info(event_id="a", neg_risk=True), Info(event_id="b"), Info(event_id="a", neg_risk=True), Info()]
    markets, _ = setup.market_rows([*infos, Info(event_id="a", neg_risk=True), Info(event_id="c", neg_risk=True)])
    assert markets["group"].tolist() == [0, -1, 0, -1, 0, 1]
    assert markets["group_next"].tolist() == [2, 1, 4, 3, 0, 5]


@pytest.mark.parametrize(
    ("index_set", "cash", "yes", "costs", "realised"),
    [
        # NO of 0 and 1 for 10 x (0.60 + 0.70) = 13.00: 10.00 comes back, YES of 2 carries the other 3.00
        (0b011, 10, [0, 0, 10], [0, 0, 3_000_000], 0),
        # NO of 0 alone, 6.00: nothing comes back, YES of 1 and 2 carry 3.00 each
        (0b001, 0, [0, 10, 10], [0, 3_000_000, 3_000_000], 0),
        # all three, 6.00 + 7.00 + 8.00 = 21.00: exactly one outcome wins, so two NO pay: 20.00, a loss of 1.00
        (0b111, 20, [0, 0, 0], [0, 0, 0], -1_000_000),
    ],
)
def test_a_conversion_pays_m_minus_one_and_the_other_outcomes(index_set, cash, yes, costs, realised):
    venue, ask = venue_of(EVENT_OF_THREE)
    account, positions = venue.account[0], venue.positions
    for m, price in enumerate((6_000, 7_000, 8_000)):
        ledger.book_fill(account, positions[m], Outcome.NO, Side.BUY, price, 10 * SHARE, 0, 0)
    before = account.cash
    assert ask(ActionKind.CONVERT, 10 * SHARE, index_set=index_set) == (EventKind.CONVERT, 10 * SHARE, index_set)
    assert account.cash - before == cash * PUSD and account.realised == realised
    assert positions["yes"].tolist() == [shares * SHARE for shares in yes]
    assert positions["no"].tolist() == [0 if index_set >> m & 1 else 10 * SHARE for m in range(3)]
    assert positions["yes_cost"].tolist() == costs
    assert account.cost == positions["yes_cost"].sum() + positions["no_cost"].sum()
    assert ledger.identity_gap(account) == 0


def test_a_conversion_fee_is_taken_from_what_comes_back():
    """10 NO of two of three at 50 bps: 9.95 pUSD and 9.95 YES of the third, which carries 13.00 - 9.95 = 3.05."""
    markets, _ = setup.market_rows(EVENT_OF_THREE)
    account, positions = records(ACCOUNT, 1)[0], records(POSITION, 3)
    account.deposits = account.cash = 100 * PUSD
    for m, price in enumerate((6_000, 7_000)):
        ledger.book_fill(account, positions[m], Outcome.NO, Side.BUY, price, 10 * SHARE, 0, 0)
    ledger.convert(account, markets, positions, 0, 0b011, 10 * SHARE, 50)
    assert account.cash == 100 * PUSD - 13 * PUSD + 9_950_000
    assert positions[2].yes == 9_950_000 and positions[2].yes_cost == 3_050_000
    assert ledger.identity_gap(account) == 0


def test_the_index_set_counts_from_the_market_it_is_sent_for():
    venue, ask = venue_of(EVENT_OF_THREE)
    ledger.book_fill(venue.account[0], venue.positions[2], Outcome.NO, Side.BUY, 6_000, 10 * SHARE, 0, 0)
    assert ask(ActionKind.CONVERT, 10 * SHARE, market=2, index_set=1)[1] == 10 * SHARE
    assert venue.positions["yes"].tolist() == [10 * SHARE, 10 * SHARE, 0]


@pytest.mark.parametrize(
    ("infos", "size", "index_set"),
    [
        (EVENT_OF_THREE, 11 * SHARE, 0b001),  # more than is held
        (EVENT_OF_THREE, 10 * SHARE, 0b011),  # none held in market 1
        (EVENT_OF_THREE, 10 * SHARE, 0),  # no question chosen
        (EVENT_OF_THREE, 10 * SHARE, 0b1001),  # a fourth question of three
        ([Info(event_id="e", neg_risk=True)], 10 * SHARE, 1),  # an event of one question
        ([Info(), Info()], 10 * SHARE, 1),  # no neg-risk event
    ],
)
def test_a_conversion_that_the_contract_would_revert_changes_nothing(infos, size, index_set):
    venue, ask = venue_of(infos)
    ledger.book_fill(venue.account[0], venue.positions[0], Outcome.NO, Side.BUY, 6_000, 10 * SHARE, 0, 0)
    assert ask(ActionKind.CONVERT, size, index_set=index_set)[1] == 0
    assert venue.positions["no"].tolist()[0] == 10 * SHARE and venue.positions["yes"].sum() == 0


def test_the_step_books_the_conversion_that_the_venue_made():
    state = setup.new_state(EVENT_OF_THREE, take(), cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    for m, price in enumerate((6_000, 7_000)):
        ledger.book_fill(state.account[0], state.positions[m], Outcome.NO, Side.BUY, price, 10 * SHARE, 0, 0)
    feed(event(EventKind.CONVERT, 10 * SHARE, price=0b011), state, take(), None)
    account = state.account[0]
    assert account.cash == 97 * PUSD and state.positions[2].yes == 10 * SHARE
    assert account.equity == 100 * PUSD and ledger.identity_gap(account) == 0  # no mid yet: the YES at its 3.00


def test_sets_heard_of_after_the_resolution_are_paid_like_the_rest():
    """20 sets made at the venue before YES won, heard of after it: 20.00 paid for them, 20.00 back for the YES."""
    idle = script(4_900, 10 * SHARE, want=0)
    for redeemed in (0, 1):
        state = setup.new_state([Info()], idle, cash=100 * PUSD, interval=100 * MS, sample_interval=S)
        end = event(EventKind.RESOLUTION, 0, price=10_000)
        end["aux"] = 1 - redeemed
        feed(np.concatenate([end, event(EventKind.SPLIT, 20 * SHARE, ms=600)]), state, idle, None)
        account, position = state.account[0], state.positions[0]
        assert (account.cash + account.receivable, position.yes, position.no) == (100 * PUSD, 0, 0)
        assert account.receivable == (0 if redeemed else 20 * PUSD)
        assert (account.equity, account.cost, ledger.identity_gap(account)) == (100 * PUSD, 0, 0)


def test_a_conversion_heard_of_after_a_resolution_pays_back_what_its_shares_were_paid():
    """10 NO of 0 and of 1 for 6.00 and 7.00. Market 0 resolves to NO: 10.00 for its NO. Then it is heard that both were
    converted before: 10.00 and 10 YES of 2 instead, so those 10.00 go back. The venue has 97 and 10 YES as well."""
    idle = script(4_900, 10 * SHARE, want=0)
    state = setup.new_state(EVENT_OF_THREE, idle, cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    for m, price in enumerate((6_000, 7_000)):
        ledger.book_fill(state.account[0], state.positions[m], Outcome.NO, Side.BUY, price, 10 * SHARE, 0, 0)
    feed(event(EventKind.RESOLUTION, 0, price=0), state, idle, None)
    assert state.account[0].cash == 97 * PUSD  # 100 - 13 + 10
    feed(event(EventKind.CONVERT, 10 * SHARE, price=0b011, ms=600), state, idle, None)
    account, positions = state.account[0], state.positions
    assert account.cash == 97 * PUSD and ledger.identity_gap(account) == 0
    assert positions["no"].tolist() == [0, 0, 0] and positions["yes"].tolist() == [0, 0, 10 * SHARE]


# -- the worst outcome of an event --------------------------------------------------------------------------------


def survey(*holdings, market=0):
    """(largest loss, the position surveyed) of an event; each holding is a dict of POSITION fields in shares, pUSD."""
    infos = [Info(event_id="e", neg_risk=True)] * len(holdings)
    markets, _ = setup.market_rows(infos)
    positions = records(POSITION, len(holdings))
    for position, fields in zip(positions, holdings, strict=True):
        for name, value in fields.items():
            position[name] = round(value * PUSD)
    ledger.survey_group(markets, positions, markets[market])
    return ledger.group_loss(positions[market]) / PUSD, positions[market]


def test_yes_in_two_outcomes_can_both_lose():
    # 10 YES of A for 4.00, 10 YES of B for 3.00: a third outcome takes both
    assert survey({"yes": 10, "yes_cost": 4}, {"yes": 10, "yes_cost": 3}, {})[0] == 7


def test_no_in_two_outcomes_can_lose_only_once():
    # 10 NO of A for 6.00, 10 NO of B for 7.00: if A wins B's pay 10, if B wins A's do; another outcome pays both
    assert survey({"no": 10, "no_cost": 6}, {"no": 10, "no_cost": 7}, {})[0] == 13 - 10


def test_yes_and_no_of_one_market_lose_nothing_but_what_they_cost_over_one():
    assert survey({"yes": 10, "yes_cost": 5, "no": 10, "no_cost": 5.2}, {})[0] == pytest.approx(0.2)


def test_no_of_one_outcome_and_yes_of_another_hedge_all_but_one_case():
    # 10 NO of A for 6.00, 10 YES of B for 3.00. A wins: nothing, -9. B wins: 20, +11. Another: 10, +1.
    assert survey({"no": 10, "no_cost": 6}, {"yes": 10, "yes_cost": 3}, {})[0] == 9


def test_outcomes_that_the_run_does_not_know_are_one_more_case():
    # YES of every market the run has, 10 each for 9.00 in all: an outcome outside of it may still win
    assert survey({"yes": 10, "yes_cost": 5}, {"yes": 10, "yes_cost": 4})[0] == 9


@pytest.mark.parametrize("market", [0, 1, 2])
def test_the_loss_is_the_events_whichever_market_is_asked(market):
    holdings = ({"no": 10, "no_cost": 6}, {"yes": 4, "yes_cost": 2, "no": 3, "no_cost": 1}, {"no": 7, "no_cost": 5})
    # no = 20, A wins 20 - 10, B wins 20 + 4 - 3, C wins 20 - 7, another 20: worst 10 for 14.00
    assert survey(*holdings, market=market)[0] == 4


def test_open_buys_count_where_they_hurt():
    # an open buy of 10 YES of A at 0.40 (4.00): lost if another wins, never counted as won
    assert survey({"yes_buying": 4}, {})[0] == 4
    # an open buy of 10 NO of A at 0.60 (6.00): lost if A wins
    assert survey({"no_buying": 6}, {})[0] == 6
    # both: only one of them can be lost
    assert survey({"yes_buying": 4, "no_buying": 6}, {})[0] == 6


@pytest.mark.parametrize(
    ("outcome", "side", "cents", "loss"),
    [
        (Outcome.YES, Side.BUY, 40, 13 - 10 + 4),  # B wins: 10 NO of A pay 10, the new 4.00 are gone
        (Outcome.NO, Side.BUY, 40, 13 - 10 + 4),  # A wins: 10 NO of B pay 10, the new 4.00 are gone
        (Outcome.NO, Side.SELL, 70, 13 - 10 + 3),  # B wins: 7.00 instead of the 10 that A's NO would have paid
    ],
)
def test_what_an_intent_would_add_is_known_before_it_is_sent(outcome, side, cents, loss):
    """10 NO of A for 6.00 and 10 NO of B for 7.00: 3.00 may be lost. An order for 10 of A comes on top."""
    _, position = survey({"no": 10, "no_cost": 6}, {"no": 10, "no_cost": 7}, {})
    intent = records(INTENT, 1)[0]
    intent.outcome, intent.side, intent.price, intent.size = outcome, side, cents * 100, 10 * SHARE
    assert ledger.group_loss_with(position, intent) / PUSD == loss


def test_a_quote_that_stays_is_not_counted_twice():
    _, position = survey({"yes_buying": 4}, {})
    intent = records(INTENT, 1)[0]
    intent.price, intent.size, intent.replaces = 4_000, 10 * SHARE, 4 * PUSD
    assert ledger.group_loss_with(position, intent) == 4 * PUSD


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, 50)] * 4), min_size=1, max_size=6), st.integers(0, 5))
def test_the_loss_is_the_worst_of_all_outcomes_written_out(held, market):
    fields = ("yes", "no", "yes_buying", "no_buying")
    holdings = [dict(zip(fields, row, strict=True)) | {"yes_cost": row[0] / 2, "no_cost": row[1] / 2} for row in held]
    worst = []
    for winner in range(len(held) + 1):  # the last one: an outcome that the run does not know
        paid = -sum(row[0] + row[1] for row in held) / 2
        for m, (yes, no, yes_buying, no_buying) in enumerate(held):
            paid += yes - no_buying if m == winner else no - yes_buying
        worst.append(paid)
    assert survey(*holdings, market=market % len(held))[0] == pytest.approx(-min(worst))


@kernel("risk")
def group_limit(intent, market, position, account, ladder, vote, params):
    """Refuses what could cost more than params[0] micro-pUSD in the worst outcome of the event."""
    vote.observed, vote.limit = group_loss_with(position, intent), params.v[0]
    if market.group >= 0 and vote.observed > vote.limit:
        vote.verdict = rows.Verdict.REJECT
        return Code.RISK_PORTFOLIO_LIMIT
    return Code.RISK_WITHIN_LIMITS


@pytest.mark.parametrize(("cents", "refused"), [(40, False), (60, True)])
def test_the_step_tells_risk_bots_the_worst_outcome_of_the_event(cents, refused):
    """6.00 in YES of market 1 may be lost, 10 of market 0 at 0.40 or 0.60 as well; the limit is 10."""
    pipeline = script(cents * 100, 10 * SHARE, risk=toy("risk", group_limit, (10 * PUSD,)))
    infos = [Info(event_id="e", neg_risk=True)] * 2
    state = setup.new_state(infos, pipeline, cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    ledger.book_fill(state.account[0], state.positions[1], Outcome.YES, Side.BUY, 6_000, 10 * SHARE, 0, 0)
    sink = Collected()
    feed(Tape().bid(0, 3_000, 10).ask(0, 7_000, 10).clock(150).events(), state, pipeline, sink)
    said = sink.rows("decisions")
    (vote,) = said[said["limit"] == 10 * PUSD]
    assert vote["observed"] == (6 + cents / 10) * PUSD
    assert len(sink.rows("actions")) == (0 if refused else 1)


# -- everything at once -------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([1, 50]), st.sampled_from([0, 3_000]), st.integers(1, 3))
def test_the_books_balance_after_every_event_with_all_of_it_on(seed, wait, redeemed, markets):
    """Random sessions with fee changes, resolutions at 0, 50 and 100, redemption, merges and a neg-risk event."""
    infos = [Info(grid=10, event_id="e", neg_risk=True) for _ in range(markets)]
    tape = random_tape(seed, 250, markets)
    more = [EventKind.FEES] * markets
    own = np.zeros(markets, rows.EVENT)
    at = tape["ts_recv"][len(tape) // 2]
    own["ts_recv"] = own["ts_event"] = at
    own["kind"], own["market"], own["flags"] = more, range(markets), rows.Flag.LAST
    own["size"], own["price"], own["aux"] = 30_000, 1, 250_000
    closing = event(EventKind.CLOCK, 0, market=-1)
    closing["ts_recv"] = closing["ts_event"] = tape["ts_recv"][-1] + 10 * S
    tape = np.concatenate([tape[tape["ts_recv"] < at], own, tape[tape["ts_recv"] >= at], closing])
    model = VenueModel(entry_latency=wait * MS, response_latency=wait * MS, redemption_delay=redeemed * MS)
    options = {"cash": 300 * PUSD, "interval": 100 * MS, "merge_least": SHARE}
    sink = Collected()
    sim = simulate(tape, infos, both_sides(), venue=model, sink=sink, **options)
    state = setup.new_state(infos, both_sides(), sample_interval=10**9, **options)
    events = sink.rows("events")
    for k in range(len(events)):
        feed(events[k : k + 1], state, both_sides(), None, rows=4_096)
        account, positions = state.account[0], state.positions
        assert ledger.identity_gap(account) == 0
        assert min(account.cash, account.reserved, account.cost, account.receivable) >= 0
        assert account.cost == positions["yes_cost"].sum() + positions["no_cost"].sum()
        assert account.receivable == positions["receivable"].sum()
        marked = positions["marked"].sum()
        assert account.marked == marked and (positions["yes"] >= 0).all() and (positions["no"] >= 0).all()
    # the same cash at the venue, which held it all along
    assert sim.state.account[0].cash + sim.state.account[0].reserved == (
        sim.venue.account[0].cash + sim.venue.account[0].reserved
    )
    assert sim.state.account[0].equity == state.account[0].equity


@kernel("strat")
def buy_both(market, position, account, ladder, memory, targets, params):
    """Joins both sides by buying YES and NO, so that sets pile up."""
    if market.status != Status.OPEN or market.best_bid < 100 or market.best_ask < 0:
        return Code.STRAT_MAKER_ONE_SIDED_BOOK
    targets[0].want, targets[0].price, targets[0].size, targets[0].passive_only = 1, market.best_bid, 7_000_000, 1
    t = targets[4]
    t.want, t.outcome, t.price, t.size, t.passive_only = 1, 1, 10_000 - market.best_ask, 7_000_000, 1
    return Code.STRAT_MAKER_QUOTE_JOIN


def both_sides():
    return setup.order_bots([toy("strat", buy_both), toy("risk", allow), toy("exec", as_is)])


def test_a_maker_that_buys_both_sides_merges_what_it_bought():
    """YES at 0.49 at 1 s, NO at 0.49 at 2 s: seven pairs for 6.86, merged for 7.00, 0.14 realised and no cost left."""
    tape = Tape().bid(0, 4_900, 100).ask(0, 5_100, 100)
    tape.trade(1_000, 4_900, 107, Side.SELL).trade(2_000, 5_100, 107, Side.BUY)
    tape.add(2_010, EventKind.STATUS, aux=Status.PAUSED)
    sim, sink = session(tape, both_sides(), wait=10, merge=SHARE)
    account, position = sim.state.account[0], sim.state.positions[0]
    assert (account.fills, account.realised, account.cost, position.yes, position.no) == (2, 140_000, 0, 0, 0)
    assert account.cash + account.reserved == 1_000_140_000
    actions = sink.rows("actions")
    assert (actions["kind"] == ActionKind.MERGE).sum() == 1
    assert sim.venue.account[0].realised == 140_000
    kept, _ = session(tape, both_sides(), wait=10)
    assert kept.state.positions[0].yes == kept.state.positions[0].no == 7 * SHARE
    assert kept.state.account[0].equity == account.equity
