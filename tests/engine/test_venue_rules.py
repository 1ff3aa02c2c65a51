"""The venue's order rules, delays, queue models and settlement in the simulated venue; every number by hand.

The venue is driven directly: orders are sent, the tape is shown, timers run out in order. No latency unless said.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import MS, PUSD, SHARE, T0, Info, S, Tape, allow, as_is, maker, random_tape, script, toy

from polytraders import rows
from polytraders.engine import matching as mt
from polytraders.engine import rules, setup
from polytraders.engine.backtest import Collected, VenueModel, feed, simulate
from polytraders.engine.kernels import kernel
from polytraders.engine.latency import Latency, log_normal, recorded
from polytraders.engine.ledger import identity_gap
from polytraders.engine.state import records
from polytraders.errors import DataError
from polytraders.reasons import Code
from polytraders.rows import POST_ONLY, ActionKind, EventKind, Flag, OrderType, Outcome, Side

BUY, SELL = Side.BUY, Side.SELL
GTC, GTD, FOK, FAK = OrderType.GTC, OrderType.GTD, OrderType.FOK, OrderType.FAK
BOOK = ((4_900, 100, 5_100, 100), (4_800, 200, 5_200, 200))


class Desk:
    """The simulated venue on the table: send, show, wait, read. Times in ms after T0."""

    def __init__(self, info: Info | None = None, cash: int = 1_000 * PUSD, **model):
        table, cells = setup.market_rows([info or Info(fee_rate=0)])
        options = {"queue_model": "risk_averse", "power": 1, "partial_fills": True} | model
        latencies = {"entry_latency": 0, "response_latency": 0} | options
        self.venue = mt.new_venue(table, cells, cash, **latencies)
        self.read, self.orders = 0, 0
        for bid, bid_size, ask, ask_size in BOOK:
            self.show(0, EventKind.CHANGE, BUY, bid, bid_size).show(0, EventKind.CHANGE, SELL, ask, ask_size)

    def until(self, ms):
        """Let every timer up to then run out."""
        with np.errstate(over="ignore"):  # the hash that picks ghosts wraps by design
            while self.venue.core[0].due <= T0 + round(ms * MS):
                mt.expire(self.venue)
        return self

    def show(self, ms, kind, side, price, size):
        """One row of the tape."""
        self.until(ms)
        row = records(rows.EVENT, 1)[0]
        row.kind, row.side, row.price, row.size = kind, side, price, round(size * SHARE)
        mt.observe(self.venue, row, T0 + round(ms * MS))
        return self

    def level(self, ms, side, price, size):
        return self.show(ms, EventKind.CHANGE, side, price, size)

    def trade(self, ms, price, size, side):
        return self.show(ms, EventKind.TRADE, side, price, size)

    def send(self, ms, side, price, size, order_type=GTC, flags=0, outcome=Outcome.YES, life_s=0.0):
        """One order, which names the second `life_s` after its sending when it is a GTD; returns its id."""
        self.until(ms)
        self.orders += 1
        action = records(rows.ACTION, 1)
        a = action[0]
        a.ts, a.kind, a.order_id, a.price, a.size = (
            T0 + round(ms * MS), ActionKind.SUBMIT, self.orders, price, round(size * SHARE),
        )  # fmt: skip
        a.outcome, a.side, a.order_type, a.flags = outcome, side, order_type, flags
        a.expiry = (T0 + round(ms * MS)) // S + life_s if order_type == GTD else 0
        return self._arrive(a)

    def cancel(self, ms, order_id):
        self.until(ms)
        a = records(rows.ACTION, 1)[0]
        a.ts, a.kind, a.order_id = T0 + round(ms * MS), ActionKind.CANCEL, order_id
        return self._arrive(a)

    def _arrive(self, action):
        core = self.venue.core[0]
        mt.send(core, self.venue.entry, self.venue.actions, action)
        mt.arrive(self.venue)
        return int(action.order_id)

    def heard(self):
        """What the venue said since the last time: (ms, kind, what matters of it)."""
        core, said = self.venue.core[0], []
        for row in self.venue.answers[self.read : core.answers_tail]:
            kind, ms = EventKind(int(row.kind)), (int(row.ts_event) - T0) / MS
            if kind in (EventKind.ORDER_REJECT, EventKind.CANCEL):
                said.append((ms, kind.name, Code(int(row.size)).name))
            elif kind == EventKind.ORDER_ACK:
                said.append((ms, "ORDER_ACK", "delayed" if row.flags & Flag.DELAYED else ""))
            else:
                said.append((ms, kind.name, (int(row.price), int(row.size) / SHARE)))
        self.read = int(core.answers_tail)
        return said

    def fills(self):
        return [what for _, kind, what in self.heard() if kind in ("FILL_CONFIRMED", "FILL_PROVISIONAL")]

    @property
    def account(self):
        return self.venue.account[0]

    @property
    def position(self):
        return self.venue.positions[0]


# ----------------------------------------------------------------------------------------------- good til date


def test_a_gtd_order_must_name_a_second_three_minutes_ahead():
    # T0 is a whole second. Sent at 0 ms: 180 s ahead is the first that is accepted. At 1 ms it is 179.999 s ahead.
    desk = Desk()
    desk.send(0, BUY, 4_800, 10, GTD, POST_ONLY, life_s=180)
    desk.send(0, BUY, 4_800, 10, GTD, POST_ONLY, life_s=179)
    desk.send(1, BUY, 4_800, 10, GTD, POST_ONLY, life_s=180)
    assert [what for _, _, what in desk.heard()] == ["", "EXEC_GTD_TOO_SOON", "EXEC_GTD_TOO_SOON"]


def test_a_gtd_order_leaves_the_book_a_minute_before_the_second_it_names():
    # it names T0 + 200 s: off the book at 140 000 ms, the money behind it free again
    desk = Desk()
    desk.send(0, BUY, 4_800, 10, GTD, POST_ONLY, life_s=200)
    assert desk.account.reserved == 4_800_000
    desk.until(139_999.999)
    assert desk.heard() == [(0, "ORDER_ACK", "")] and desk.account.reserved == 4_800_000
    desk.until(140_000)
    assert desk.heard() == [(140_000, "CANCEL", "EXEC_CANCELLED_EXPIRED")]
    assert desk.account.cash == 1_000 * PUSD and desk.venue.core[0].resting == 0


def test_a_gtd_order_that_is_gone_does_not_expire_again():
    desk = Desk()
    order = desk.send(0, BUY, 4_800, 10, GTD, POST_ONLY, life_s=200)
    desk.cancel(500, order)
    desk.until(200_000)
    assert desk.heard() == [(0, "ORDER_ACK", ""), (500, "CANCEL", "EXEC_CANCELLED")]


def test_what_a_gtd_filled_before_its_end_stays_filled():
    # alone at 0.50; 4 of 10 sold to it at 60 s; 6 leave at 140 s
    desk = Desk()
    desk.send(0, BUY, 5_000, 10, GTD, POST_ONLY, life_s=200)
    desk.trade(60_000, 5_000, 4, SELL).until(140_000)
    assert desk.heard()[1:] == [
        (60_000, "FILL_CONFIRMED", (5_000, 4.0)), (140_000, "CANCEL", "EXEC_CANCELLED_EXPIRED"),
    ]  # fmt: skip
    assert desk.position.yes == 4 * SHARE and desk.account.cash == 998 * PUSD


def test_orders_that_end_at_one_time_end_in_the_order_of_their_arrival():
    desk = Desk()
    for price in (4_500, 4_700, 4_600):
        desk.send(0, BUY, price, 10, GTD, POST_ONLY, life_s=200)
    desk.until(140_000)
    ends = [int(row.aux) for row in desk.venue.answers[:6] if row.kind == EventKind.CANCEL]
    assert ends == [1, 2, 3]


@kernel("strat")
def bid_for_a_while(market, position, account, ladder, memory, targets, params):
    """A bid of params[0] shares at 0.48 as a GTD that lives params[1] ns."""
    t = targets[0]
    t.want, t.price, t.size, t.order_type, t.passive_only = 1, 4_800, params.v[0], 1, 1
    t.ttl = params.v[1]
    return Code.STRAT_EDGE_DETECTED


def short_lived(seconds: int):
    return setup.order_bots(
        [toy("strat", bid_for_a_while, (10 * SHARE, seconds * S)), toy("risk", allow), toy("exec", as_is)]
    )


def test_an_intents_time_to_live_becomes_the_second_its_gtd_order_names():
    # decided at T0: 150 s of life name T0 + 210 s; off the book at 150 s; then the strategy asks for another
    tape, sink = Tape(), Collected()
    for bid, bid_size, ask, ask_size in BOOK:
        tape.bid(0, bid, bid_size).ask(0, ask, ask_size)
    sim = simulate(
        tape.clock(200_000).events(), [Info()], short_lived(150), cash=1_000 * PUSD, interval=100 * MS,
        venue=VenueModel(entry_latency=50 * MS, response_latency=50 * MS), sink=sink,
    )  # fmt: skip
    sent = sink.rows("actions")
    assert sent["order_type"].tolist() == [1, 1] and sent["kind"].tolist() == [ActionKind.SUBMIT] * 2
    assert (sent["expiry"][0] - T0 // S, (sent["ts"][1] - T0) / MS) == (210, 150_100)
    ends = [row for row in sink.rows("events") if row["kind"] == EventKind.CANCEL]
    assert [(row["ts_event"] - T0, Code(int(row["size"]))) for row in ends] == [(150 * S, Code.EXEC_CANCELLED_EXPIRED)]
    working = sim.state.orders[sim.state.orders["id"] > 0]
    # 150 100 + 150 000 ms, floored to the second
    assert [(int(t) - T0) // MS for t in working["expires"]] == [300_000]
    assert sim.state.account[0].rejects == 0


def test_a_gtd_intent_that_lives_too_short_for_the_venue_is_not_sent():
    sink = Collected()
    tape = Tape().bid(0, 4_900, 100).ask(0, 5_100, 100).clock(10_000)
    simulate(
        tape.events(), [Info()], short_lived(119), cash=1_000 * PUSD, interval=100 * MS, venue=VenueModel(), sink=sink
    )
    assert len(sink.rows("actions")) == 0
    assert Code.EXEC_GTD_TOO_SOON in sink.rows("decisions")["code"]


def test_stale_ends_never_crowd_out_a_timer():
    # more orders come and go than the heap of timers has places; each names an end an hour away
    desk = Desk()
    core = desk.venue.core[0]
    fill = mt.TIMERS - core.n_timers
    for k in range(fill):  # ends of orders that are gone
        mt._timer_set(core, desk.venue.timers, desk.venue.orders, T0 + 3_600 * S + k, mt.EXPIRE, 10**9 + k)
    assert core.n_timers == mt.TIMERS
    desk.send(0, BUY, 4_800, 10, GTD, POST_ONLY, life_s=200)
    assert core.n_timers == 1 and core.full == 0 and core.due == T0 + 140 * S


# ------------------------------------------------------------------------------------- least money and decimals


def test_an_order_that_takes_is_worth_a_dollar_or_refused():
    # 9.80 x 0.10 = 0.98 pUSD; 10 x 0.10 = 1.00 pUSD
    desk = Desk(Info(fee_rate=0, min_size=0)).level(0, SELL, 1_000, 50)
    for order_type in (GTC, FOK, FAK):
        desk.send(1, BUY, 1_000, 9.8, order_type)
    assert [what for _, _, what in desk.heard()] == ["EXEC_BELOW_MIN_MARKETABLE"] * 3
    desk.send(2, BUY, 1_000, 10)
    assert desk.fills() == [(1_000, 10.0)]


def test_an_order_that_waits_may_be_worth_less_than_a_dollar():
    desk = Desk(Info(fee_rate=0))
    desk.send(0, BUY, 100, 5, GTC, POST_ONLY)
    desk.send(0, BUY, 100, 5, GTC)
    assert [what for _, _, what in desk.heard()] == ["", ""]


@pytest.mark.parametrize(
    ("side", "order_type", "price", "size", "accepted"),
    [
        # a buy's money has two decimals: 0.51 x 7 = 3.57, 0.51 x 6.5 = 3.315
        (BUY, FAK, 5_100, 7, True),
        (BUY, FAK, 5_100, 6.5, False),
        (BUY, FOK, 5_100, 6.5, False),
        # a sale's has four: 0.49 x 6.55 = 3.2095
        (SELL, FAK, 4_900, 6.55, True),
        (SELL, FOK, 4_900, 6.55, True),
        # a resting order has price and size, whatever their product: 0.49 x 6.55
        (BUY, GTC, 4_900, 6.55, True),
        # nobody has three decimals of shares
        (BUY, GTC, 4_900, 6.555, False),
        (SELL, FAK, 4_900, 6.555, False),
    ],
)
def test_amounts_have_the_decimals_that_the_venue_stores(side, order_type, price, size, accepted):
    desk = Desk()
    desk.position.yes = 100 * SHARE
    desk.send(0, side, price, size, order_type)
    assert desk.heard()[0][2] == ("" if accepted else "EXEC_TOO_MANY_DECIMALS")


@pytest.mark.parametrize(("price", "size", "fine"), [(5_301, 100, False), (5_301, 10, True), (5_301, 10.01, True)])
def test_on_the_finest_tick_a_taking_buy_comes_in_hundreds(price, size, fine):
    # 0.5301 x 100 = 53.01; x 10 = 5.301
    assert rules.too_fine(FAK, BUY, price, round(size * SHARE)) == fine


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([FOK, FAK]), st.sampled_from([BUY, SELL]), st.integers(1, 9_999), st.integers(1, 10**7))
def test_the_decimals_of_a_taking_order_are_those_of_its_exact_amounts(order_type, side, price, cents):
    # price x size in 1e-6 pUSD, exactly
    money = price * cents
    exact = money % (10_000 if side == BUY else 100) == 0
    assert rules.too_fine(order_type, side, price, cents * 10_000) == (not exact)


# --------------------------------------------------------------------------------------------- what takers leave


def test_what_one_taker_took_the_next_does_not_find():
    # 100 offered at 0.51, 200 at 0.52. The first takes 70; the second asks for 80: 30 at 0.51, 50 at 0.52
    desk = Desk()
    desk.send(0, BUY, 5_200, 70, FAK)
    assert desk.fills() == [(5_100, 70.0)]
    desk.send(1, BUY, 5_200, 80, FAK)
    assert desk.fills() == [(5_100, 30.0), (5_200, 50.0)]


def test_a_level_that_changes_is_whole_again_and_one_that_repeats_itself_is_not():
    desk = Desk()
    desk.send(0, BUY, 5_100, 70, FAK)
    desk.level(1, SELL, 5_100, 100)  # the same size again: still 30 for us
    desk.send(2, BUY, 5_100, 100, FAK)
    assert desk.fills() == [(5_100, 70.0), (5_100, 30.0)]
    desk.level(3, SELL, 5_100, 60).level(4, SELL, 5_100, 100)  # it changed, and changed back
    desk.send(5, BUY, 5_100, 100, FAK)
    assert desk.fills() == [(5_100, 100.0)]


def test_a_snapshot_that_says_the_same_does_not_bring_back_what_was_taken():
    desk = Desk()
    desk.send(0, BUY, 5_100, 70, FAK)
    desk.show(1, EventKind.BOOK_CLEAR, 0, 0, 0)
    desk.show(1, EventKind.LEVEL, SELL, 5_100, 100).show(1, EventKind.LEVEL, BUY, 4_900, 100)
    desk.send(2, BUY, 5_100, 100, FAK)
    assert desk.fills() == [(5_100, 70.0), (5_100, 30.0)]


def test_fok_counts_only_what_earlier_takers_left():
    desk = Desk()
    desk.send(0, BUY, 5_100, 70, FAK)
    desk.heard()
    desk.send(1, BUY, 5_100, 40, FOK)
    desk.send(1, BUY, 5_100, 30, FOK)
    desk.send(1, BUY, 5_100, 10, FAK)
    assert [what for _, _, what in desk.heard()] == ["EXEC_FOK_NOT_FILLED", "", (5_100, 30.0), "EXEC_FAK_NOT_FILLED"]


def test_sales_consume_bids_and_no_orders_consume_the_mirrored_side():
    # a purchase of NO at 0.51 meets the bids at 0.49; a sale of YES then finds 40 of 100
    desk = Desk()
    desk.position.yes = 100 * SHARE
    desk.send(0, BUY, 5_100, 60, FAK, outcome=Outcome.NO)
    desk.send(1, SELL, 4_900, 100, FAK)
    assert desk.fills() == [(5_100, 60.0), (4_900, 40.0)]


def test_with_recorded_liquidity_every_taker_finds_the_whole_level():
    desk = Desk(consume=False)
    desk.send(0, BUY, 5_100, 70, FAK)
    desk.send(1, BUY, 5_100, 70, FAK)
    assert desk.fills() == [(5_100, 70.0), (5_100, 70.0)]


# ----------------------------------------------------------------------------------------------- our own queue


def test_the_second_of_two_orders_stands_behind_the_first_and_a_print_eats_the_queue_once():
    # 100 before us; ours 10; 50 strangers join; ours 20. A print of 130 eats 100, our 10 and 20 strangers;
    # the next of 45 the other 30 strangers and 15 of ours
    desk = Desk()
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.level(1, BUY, 4_900, 150)
    desk.send(2, BUY, 4_900, 20, GTC, POST_ONLY)
    desk.heard()
    desk.trade(3, 4_900, 130, SELL)
    assert desk.heard() == [(3, "FILL_CONFIRMED", (4_900, 10.0))]
    desk.trade(4, 4_900, 45, SELL)
    assert desk.heard() == [(4, "FILL_CONFIRMED", (4_900, 15.0))]


def test_when_the_first_is_cancelled_the_second_has_only_strangers_before_it():
    desk = Desk()
    first = desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.send(0, BUY, 4_900, 20, GTC, POST_ONLY)
    desk.cancel(1, first)
    desk.heard()
    desk.trade(3, 4_900, 105, SELL)
    assert desk.heard() == [(3, "FILL_CONFIRMED", (4_900, 5.0))]


# -------------------------------------------------------------------------------------------------- taker delay

HELD = Info(fee_rate=0, taker_delay=250 * MS)


def test_a_taker_is_held_and_meets_the_book_of_the_end_of_its_delay():
    # 100 at 0.51 when it arrives; the makers leave 40 of it before the delay is over
    desk = Desk(HELD)
    desk.send(0, BUY, 5_100, 100, FAK)
    assert desk.account.reserved == 51 * PUSD
    desk.level(200, SELL, 5_100, 40).until(250)
    assert desk.heard() == [
        (0, "ORDER_ACK", "delayed"), (250, "FILL_CONFIRMED", (5_100, 40.0)), (250, "CANCEL", "EXEC_CANCELLED"),
    ]  # fmt: skip
    assert desk.account.cash == 1_000 * PUSD - 20_400_000 and desk.account.reserved == 0


def test_a_better_price_that_comes_meanwhile_is_the_takers():
    desk = Desk(HELD)
    desk.send(0, BUY, 5_100, 50, FAK)
    desk.level(100, SELL, 5_000, 30).until(250)
    assert desk.fills() == [(5_000, 30.0), (5_100, 20.0)]


def test_a_held_taker_finds_nobody_when_all_makers_left():
    desk = Desk(HELD)
    desk.send(0, BUY, 5_100, 50, FAK)
    desk.send(0, BUY, 5_100, 60, FOK)
    desk.level(100, SELL, 5_100, 0).until(250)
    assert desk.heard() == [
        (0, "ORDER_ACK", "delayed"), (0, "ORDER_ACK", "delayed"),
        (250, "CANCEL", "EXEC_FAK_NOT_FILLED"), (250, "CANCEL", "EXEC_FOK_NOT_FILLED"),
    ]  # fmt: skip
    assert desk.account.cash == 1_000 * PUSD


def test_makers_and_post_only_orders_are_not_held():
    desk = Desk(HELD)
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.send(0, BUY, 4_900, 10, GTC)
    assert [what for _, _, what in desk.heard()] == ["", ""]
    assert desk.venue.core[0].resting == 2


def test_a_held_taker_cannot_be_cancelled_but_its_rest_can():
    # the cancel comes at 100 ms: not now. At 250 ms 100 trade; the 20 that would rest go
    desk = Desk(HELD)
    order = desk.send(0, BUY, 5_100, 120, GTC)
    desk.cancel(100, order)
    assert desk.heard() == [(0, "ORDER_ACK", "delayed")]
    desk.until(250)
    assert desk.heard() == [(250, "FILL_CONFIRMED", (5_100, 100.0)), (250, "CANCEL", "EXEC_CANCELLED")]


def test_a_held_order_that_no_longer_crosses_rests_from_then_on():
    desk = Desk(HELD)
    desk.send(0, BUY, 5_100, 50, GTC)
    desk.level(100, SELL, 5_100, 0).until(250)
    assert desk.heard() == [(0, "ORDER_ACK", "delayed")] and desk.venue.core[0].resting == 1
    desk.trade(300, 5_100, 5, SELL)
    assert desk.heard() == [(300, "FILL_CONFIRMED", (5_100, 5.0))]


def test_we_too_may_leave_while_a_taker_of_the_tape_is_on_its_way():
    # our own order on the other side is cancelled inside the window and not met
    desk = Desk(HELD)
    resting = desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.send(10, BUY, 5_100, 50, FAK)
    desk.cancel(100, resting)
    assert desk.heard()[-1] == (100, "CANCEL", "EXEC_CANCELLED")


def test_a_market_that_resolves_ends_the_wait_and_frees_the_money():
    desk = Desk(HELD)
    desk.send(0, BUY, 5_100, 50, FAK)
    desk.show(100, EventKind.RESOLUTION, 0, 10_000, 0).until(1_000)
    assert desk.heard() == [(0, "ORDER_ACK", "delayed"), (100, "CANCEL", "EXEC_CANCELLED_MARKET_RESOLVED")]
    assert (desk.account.cash, desk.account.reserved, desk.venue.core[0].delayed) == (1_000 * PUSD, 0, 0)


def test_a_run_without_delays_matches_on_arrival():
    desk = Desk(HELD, delays=False)
    desk.send(0, BUY, 5_100, 50, FAK)
    assert desk.heard() == [(0, "ORDER_ACK", ""), (0, "FILL_CONFIRMED", (5_100, 50.0))]


# -------------------------------------------------------------------------------------------------- queue models


def test_log_prob_weighs_both_sides_by_their_logarithm():
    # ahead 100, back 300: ln 301 / (ln 301 + ln 101) = 0.5529; of 200 cancelled 110.58 fall behind and 89.42 ahead
    desk = Desk(queue_model="log_prob")
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.level(1, BUY, 4_900, 400).level(2, BUY, 4_900, 200)
    behind = math.log(301) / (math.log(301) + math.log(101))
    ahead = desk.venue.orders[1].ahead
    assert ahead == math.ceil(100e6 - (1 - behind) * 200e6) and 10_570_000 <= ahead <= 10_590_000
    desk.heard()
    desk.trade(3, 4_900, 14, SELL)
    assert desk.fills() == [(4_900, 3.42)]  # 14 - 10.58 in whole hundredths


def test_of_a_loss_without_a_print_the_trade_share_comes_off_the_front():
    # 100 ahead, 100 behind; a loss of 40 of which a quarter is trades: 10 off the front, the rest risk-averse
    desk = Desk(trade_share=250_000)
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.level(1, BUY, 4_900, 200).level(2, BUY, 4_900, 160)
    assert desk.venue.orders[1].ahead == 90 * SHARE


def test_the_trade_share_leaves_what_was_printed_alone():
    # a print of 30 and the drop from 100 to 70 are one thing
    desk = Desk(trade_share=1_000_000)
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.trade(1, 4_900, 30, SELL).level(1, BUY, 4_900, 70)
    assert desk.venue.orders[1].ahead == 70 * SHARE


def test_trades_without_a_print_move_us_forward_and_never_fill_us():
    desk = Desk(trade_share=1_000_000)
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.heard()
    desk.level(1, BUY, 4_900, 400).level(2, BUY, 4_900, 0)
    assert desk.venue.orders[1].ahead == 0 and desk.fills() == []


def test_the_trade_share_is_taken_before_a_cancel_is_placed():
    # ahead 100 of 400; 200 lost, half of it trades: ahead 0; the other 100 fall behind with certainty
    desk = Desk(queue_model="power_prob", trade_share=500_000)
    desk.send(0, BUY, 4_900, 10, GTC, POST_ONLY)
    desk.level(1, BUY, 4_900, 400).level(2, BUY, 4_900, 200)
    assert desk.venue.orders[1].ahead == 0


# ------------------------------------------------------------------------------------------------------ latency


def test_messages_take_the_latencies_of_their_table_in_turn_and_never_overtake():
    table = np.array([30, 10, 20], np.int64) * MS
    desk = Desk(entry_latency=table, response_latency=np.array([5, 1], np.int64) * MS)
    for ms in (0, 1, 40, 41):
        desk.send(ms, BUY, 4_500, 10, GTC, POST_ONLY)
    # 0 + 30, 1 + 10 -> 30, 40 + 20, 41 + 30; answers 30 + 5, 30 + 1 -> 35, 60 + 5, 71 + 1
    arrived = [(int(a.ts) - T0) / MS for a in desk.venue.actions[:4]]
    heard = [(int(a.ts_recv) - T0) / MS for a in desk.venue.answers[:4]]
    assert (arrived, heard) == ([30, 30, 60, 71], [35, 35, 65, 72])


def test_log_normal_latencies_have_their_median_and_spread_and_follow_from_the_seed():
    drawn = log_normal(50 * MS, 0.5, 7)
    logs = np.log(drawn.table / (50 * MS))
    assert abs(logs.mean()) < 0.01 and abs(logs.std() - 0.5) < 0.01 and drawn.table.min() > 0
    assert (log_normal(50 * MS, 0.5, 7).table == drawn.table).all()
    assert (log_normal(50 * MS, 0.5, 8).table != drawn.table).any()
    assert drawn.name == "log-normal(50 ms, sigma 0.5, seed 7)"
    assert (log_normal(50 * MS, 0.0, 7).table == 50 * MS).all()


@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
def test_measured_latencies_are_read_from_any_table(tmp_path, kind):
    import pandas as pd

    frame = pd.DataFrame({"entry_ns": [12_000_000, 15_000_000, 13_000_000], "response_ns": [1, 2, 3]})
    path = tmp_path / f"measured.{kind}"
    if kind == "npy":
        np.save(path, frame.to_records(index=False))
    else:
        getattr(frame, f"to_{kind}")(path, index=False)
    found = recorded(path, "entry_ns")
    assert found.table.tolist() == [12_000_000, 15_000_000, 13_000_000] and found.table.dtype == np.int64
    assert found.name.startswith(f"recorded(measured.{kind}, 3 of median 13 ms, ")
    assert recorded(path, "response_ns").table.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("entry_ns\n", "no whole numbers"),
        ("entry_ns\n1.5\n", "no whole numbers"),
        ("entry_ns\n5\n-1\n", "entry_ns is -1 ns"),
        ("entry_ns\n60000000001\n", "60000000001"),
        ("other\n1\n", "cannot read"),
    ],
)
def test_a_file_that_is_no_table_of_latencies_is_refused(tmp_path, text, what):
    path = tmp_path / "measured.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=what) as error:
        recorded(path, "entry_ns")
    assert str(path) in error.value.where and "entry_ns" in error.value.rule
    with pytest.raises(DataError):
        recorded(tmp_path / "absent.csv", "entry_ns")


# --------------------------------------------------------------------------------------------------- settlement


def test_a_fill_is_provisional_until_the_chain_confirms_it():
    # 10 bought at 0.51, confirmed 3 s later: the shares are ours at once, and for sale only then
    desk = Desk(settlement_delay=3_000 * MS)
    desk.send(0, BUY, 5_100, 10, FAK)
    assert desk.heard() == [(0, "ORDER_ACK", ""), (0, "FILL_PROVISIONAL", (5_100, 10.0))]
    p = desk.position
    assert (p.yes, p.yes_unsettled, p.yes_unsettled_cost, p.yes_reserved) == (10 * SHARE, 10 * SHARE, 5_100_000, p.yes)
    desk.send(10, SELL, 4_900, 5, FAK)
    assert desk.heard() == [(10, "ORDER_REJECT", "EXEC_NOT_ENOUGH_BALANCE")]
    desk.until(3_000)
    assert desk.heard() == [(3_000, "FILL_CONFIRMED", (5_100, 10.0))]
    assert (p.yes, p.yes_unsettled, p.yes_unsettled_cost, p.yes_reserved) == (10 * SHARE, 0, 0, 0)
    desk.send(3_001, SELL, 4_900, 5, FAK)
    assert desk.fills() == [(4_900, 5.0)]


def test_what_a_sale_brought_in_is_not_spent_before_it_is_settled():
    # 100 YES at a cost of 40; 100 sold at 0.49 bring 49, which no order may use for 3 s; nothing else is there
    desk = Desk(cash=0, settlement_delay=3_000 * MS)
    p, a = desk.position, desk.account
    p.yes, p.yes_cost, a.cost, a.deposits = 100 * SHARE, 40 * PUSD, 40 * PUSD, 40 * PUSD
    desk.send(0, SELL, 4_900, 100, FAK)
    assert (a.cash, a.unsettled, a.cost, a.realised) == (0, 49 * PUSD, 0, 9 * PUSD) and identity_gap(a) == 0
    desk.send(1, BUY, 4_800, 10, GTC, POST_ONLY)
    assert desk.heard()[-1] == (1, "ORDER_REJECT", "EXEC_NOT_ENOUGH_BALANCE")
    desk.until(3_000)
    assert (a.cash, a.unsettled) == (49 * PUSD, 0) and identity_gap(a) == 0


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_void_restores_the_books_to_the_last_micro_pusd(side):
    # 30 YES at an odd cost of 12.345678; 10 more bought at 0.51, or 10 sold at 0.49, with a fee of 7 %; refused
    desk = Desk(Info(), settlement_delay=3_000 * MS, ghost_rate=1_000_000)
    p, a = desk.position, desk.account
    p.yes, p.yes_cost, a.cost, a.deposits = 30 * SHARE, 12_345_678, 12_345_678, a.deposits + 12_345_678
    before = (p.tobytes(), a.tobytes())
    desk.send(0, side, 5_100 if side == BUY else 4_900, 10, FAK)
    # 10 x 0.07 x 0.2499 = 0.17493
    assert a.fees == 174_930 and identity_gap(a) == 0
    # cost of 10 sold of 30: 4.115226
    assert a.cost == (12_345_678 + 5_100_000 if side == BUY else 8_230_452)
    desk.until(3_000)
    assert desk.heard()[-1] == (3_000, "FILL_VOIDED", (5_100 if side == BUY else 4_900, 10.0))
    assert (p.tobytes(), a.tobytes()) == before


def test_unsettled_shares_do_not_move_the_cost_at_which_settled_ones_are_sold():
    # 10 settled at 0.40; 10 unsettled at 0.51; 10 sold at 0.49 cost 4.00, not 4.55. Then the purchase is void:
    # nothing is left, and 0.90 was earned
    desk = Desk(settlement_delay=3_000 * MS, ghost_rate=1_000_000)
    p, a = desk.position, desk.account
    p.yes, p.yes_cost, a.cost, a.deposits = 10 * SHARE, 4 * PUSD, 4 * PUSD, 1_004 * PUSD
    desk.send(0, BUY, 5_100, 10, FAK)
    desk.venue.core[0].ghost_rate = 0  # the sale will be confirmed; the purchase is voided by hand below
    desk.send(1, SELL, 4_900, 10, FAK)
    assert (a.cost, a.realised, p.yes_cost) == (5_100_000, 900_000, 5_100_000)
    desk.venue.core[0].ghost_rate = 1_000_000
    desk.until(3_000)
    desk.venue.core[0].ghost_rate = 0
    desk.until(3_001)
    assert (p.yes, p.yes_cost, a.cost, a.realised, a.unsettled) == (0, 0, 0, 900_000, 0)
    assert a.cash == 1_000 * PUSD + 4_900_000 and identity_gap(a) == 0


def test_a_purchase_voided_after_the_resolution_pays_back_what_it_was_paid():
    # 10 bought at 0.51, resolved at 1: paid 10, then the purchase turns out not to have been: 1 000 again
    desk = Desk(settlement_delay=3_000 * MS, ghost_rate=1_000_000)
    desk.send(0, BUY, 5_100, 10, FAK)
    desk.show(1_000, EventKind.RESOLUTION, 0, 10_000, 0)
    assert desk.account.cash == 1_000 * PUSD - 5_100_000 + 10 * PUSD
    desk.until(3_000)
    a = desk.account
    assert (a.cash, a.cost, a.realised, desk.position.yes) == (1_000 * PUSD, 0, 0, 0) and identity_gap(a) == 0


def test_one_fill_in_so_many_is_a_ghost_and_always_the_same_ones():
    with np.errstate(over="ignore"):
        ghosts = [bool(mt.is_ghost(1, order, 1, 100_000)) for order in range(1, 4_001)]
        again = [bool(mt.is_ghost(1, order, 1, 100_000)) for order in range(1, 4_001)]
        other = [bool(mt.is_ghost(2, order, 1, 100_000)) for order in range(1, 4_001)]
        second = [bool(mt.is_ghost(1, order, 2, 100_000)) for order in range(1, 4_001)]
        assert not any(mt.is_ghost(1, order, 1, 0) for order in range(100))
        assert all(mt.is_ghost(1, order, 1, 1_000_000) for order in range(100))
    # 400 expected of 4 000, standard deviation 19
    assert all(340 < sum(drawn) < 460 for drawn in (ghosts, other, second))
    assert ghosts == again and ghosts != other and ghosts != second


# ------------------------------------------------------------------------------------------- the step beside it


def run(tape, pipeline, info=None, cash=1_000 * PUSD, **model):
    """(simulation, rows the step consumed) with 50 ms each way, deciding every 100 ms."""
    sink = Collected()
    sim = simulate(
        tape, [info or Info(grid=10)], pipeline, cash=cash, interval=100 * MS, venue=VenueModel(**model), sink=sink
    )
    return sim, sink.rows("events")


def crossing_tape():
    tape = Tape()
    for bid, bid_size, ask, ask_size in BOOK:
        tape.bid(0, bid, bid_size).ask(0, ask, ask_size)
    return tape.clock(20_000).events()


@pytest.mark.parametrize("ghosts", [0, 1_000_000])
def test_the_step_books_a_match_at_once_and_frees_or_reverses_it_when_the_chain_has_spoken(ghosts):
    # 10 @ 0.51, sent once a second (the strategy wakes); each is settled 2 s after its match
    pipeline = script(5_100, 10 * SHARE, order_type=FAK, passive=0, wake=1_000 * MS)
    sim, events = run(crossing_tape(), pipeline, settlement_delay=2_000 * MS, ghost_rate=ghosts)
    kinds = [EventKind(k).name for k in events["kind"] if 12 <= k <= 14]
    told = kinds.count("FILL_PROVISIONAL")
    spoken = kinds.count("FILL_VOIDED" if ghosts else "FILL_CONFIRMED")
    account, position, clock = sim.state.account[0], sim.state.positions[0], sim.state.clock[0]
    open_ = told - spoken
    # 100 offered at 0.51 and never replenished: ten fills of 10, whatever became of them
    assert told == 10 and clock.n_unsettled == open_
    assert position.yes_unsettled == open_ * 10 * SHARE == position.yes_reserved
    stands = told if not ghosts else open_
    assert position.yes == stands * 10 * SHARE and account.cost == stands * 5_100_000 and account.fills == stands
    # 10 x 0.07 x 0.2499 = 0.17493 pUSD each
    assert account.fees == stands * 174_930 and identity_gap(account) == 0
    assert account.cash + account.reserved == 1_000 * PUSD - stands * 5_274_930  # one more may be under way


def test_the_first_settlement_is_heard_of_after_delay_and_latency():
    pipeline = script(5_100, 10 * SHARE, order_type=FAK, passive=0)
    _, events = run(crossing_tape(), pipeline, settlement_delay=2_000 * MS)
    fills = [(EventKind(int(e["kind"])).name, int(e["ts_event"] - T0) // MS, int(e["ts_recv"] - T0) // MS)
             for e in events if 12 <= e["kind"] <= 14]  # fmt: skip
    assert fills[0] == ("FILL_PROVISIONAL", 50, 100)
    assert ("FILL_CONFIRMED", 2_050, 2_100) in fills


def test_an_unknown_confirmation_books_a_fill_and_an_unknown_void_changes_nothing():
    """The first is what a venue without provisional fills says; the second is of an order we never sent."""
    state = setup.new_state([Info()], maker(), cash=100 * PUSD, interval=100 * MS, sample_interval=S)
    row = records(rows.EVENT, 1)
    row["kind"], row["aux"], row["price"], row["size"], row["flags"] = EventKind.FILL_VOIDED, 77, 5_000, SHARE, 1
    before = state.account[0].tobytes()
    feed(row, state, maker(), None, rows=4_096)
    assert state.account[0].tobytes() == before


def test_a_delayed_taker_is_acknowledged_and_filled_a_delay_later():
    pipeline = script(5_100, 10 * SHARE, order_type=FAK, passive=0)
    _, events = run(crossing_tape(), pipeline, info=Info(grid=10, taker_delay=250 * MS))
    answers = [(EventKind(int(e["kind"])).name, int(e["ts_event"] - T0) // MS, bool(e["flags"] & Flag.DELAYED))
               for e in events if 10 <= e["kind"] <= 15]  # fmt: skip
    assert answers[:2] == [("ORDER_ACK", 50, True), ("FILL_CONFIRMED", 300, False)]


# ------------------------------------------------------------------------------------------------- everything on


@kernel("strat")
def wait_for_two_minutes(market, position, account, ladder, memory, targets, params):
    """10 shares of each outcome wanted at params[0], as GTD orders that live 121 s; post-only or not (params[1])."""
    for slot in (0, 4):
        t = targets[slot]
        t.want, t.outcome, t.price, t.size, t.order_type = 1, slot // 4, params.v[0], 10_000_000, 1
        t.passive_only = params.v[1]
        t.ttl = 121_000_000_000
    return Code.STRAT_EDGE_DETECTED


def stretched(tape, factor):
    """The same tape, slower by a factor."""
    slow = tape.copy()
    for clock in ("ts_recv", "ts_event"):
        slow[clock] = T0 + (tape[clock] - T0) * factor
    return slow


EVERYTHING = (
    VenueModel(
        queue_model="log_prob", trade_share=300_000, settlement_delay=700 * MS, ghost_rate=300_000, ghost_seed=5,
        entry_latency=log_normal(40 * MS, 0.8, 3), response_latency=log_normal(60 * MS, 0.8, 4),
    ),
    VenueModel(
        queue_model="power_prob", queue_power=2, settlement_delay=0, ghost_rate=500_000, liquidity="recorded",
        entry_latency=Latency("three", np.array([1, 90, 20]) * MS), response_latency=0,
    ),
    VenueModel(settlement_delay=5_000 * MS, ghost_rate=1_000_000, partial_fills=False, taker_delay="none"),
)  # fmt: skip


def books_after_every_event(tape, pipeline, infos, model, interval):
    """Replay the consumed rows one by one; the identity and every reservation must hold in between."""
    sink = Collected()
    sim = simulate(tape, infos, pipeline, cash=300 * PUSD, interval=interval, venue=model, sink=sink)
    events = sink.rows("events")
    state = setup.new_state(infos, pipeline, cash=300 * PUSD, interval=interval, sample_interval=10**9)
    for k in range(len(events)):
        feed(events[k : k + 1], state, pipeline, None, rows=4_096)
        a, orders = state.account[0], state.orders[state.orders["id"] > 0]
        waiting = state.unsettled[: state.clock[0].n_unsettled]
        assert identity_gap(a) == 0
        assert a.reserved == orders["reserved"][orders["side"] == BUY].sum() >= 0
        assert a.cost == state.positions["yes_cost"].sum() + state.positions["no_cost"].sum()
        sold = waiting[waiting["side"] == SELL]
        assert a.unsettled == (sold["price"] * sold["size"] // 10_000 - sold["fee"]).sum()
        for m, p in enumerate(state.positions):
            bought = waiting[(waiting["side"] == BUY) & (waiting["market"] == m)]
            sells = orders[(orders["side"] == SELL) & (orders["market"] == m)]
            for outcome, name in ((0, "yes"), (1, "no")):
                mine = bought[bought["outcome"] == outcome]
                assert p[f"{name}_unsettled"] == mine["size"].sum()
                assert p[f"{name}_unsettled_cost"] == (mine["price"] * mine["size"] // 10_000).sum()
                if state.markets[m].status != rows.Status.RESOLVED:
                    held_back = mine["size"].sum() + sells["reserved"][sells["outcome"] == outcome].sum()
                    assert p[f"{name}_reserved"] == held_back <= p[name]
                    assert p[f"{name}_cost"] >= p[f"{name}_unsettled_cost"] and a.cash >= 0
    assert identity_gap(sim.venue.account[0]) == 0
    assert state.account[0].tobytes() == sim.state.account[0].tobytes()
    return sim, events


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from(EVERYTHING), st.sampled_from([0, 100 * MS]), st.integers(1, 2))
def test_the_books_balance_after_every_event_with_everything_on(seed, model, interval, markets):
    infos = [Info(grid=10, taker_delay=200 * MS) for _ in range(markets)]
    sim, _ = books_after_every_event(random_tape(seed, 220, markets), maker(), infos, model, interval)
    assert sim.state.account[0].submits > 0


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6), st.sampled_from(EVERYTHING), st.sampled_from(list(OrderType)), st.integers(30, 70),
    st.integers(5, 400), st.integers(0, 1),
)  # fmt: skip
def test_the_books_balance_for_delayed_takers_of_every_kind(seed, model, order_type, cents, size, outcome):
    pipeline = script(cents * 100, size * SHARE, order_type=order_type, passive=0, outcome=outcome, wake=300 * MS)
    infos = [Info(grid=10, taker_delay=200 * MS)]
    books_after_every_event(random_tape(seed, 160), pipeline, infos, model, 100 * MS)


@pytest.mark.parametrize("passive", [0, 1])
def test_the_books_balance_when_orders_come_to_their_end(passive):
    ended = filled = 0
    for seed, model in enumerate(EVERYTHING):
        wish = toy("strat", wait_for_two_minutes, (3_900, passive))
        pipeline = setup.order_bots([wish, toy("risk", allow), toy("exec", as_is)])
        tape = stretched(random_tape(seed, 160, ticks=False, resolve=False), 200)
        _, events = books_after_every_event(tape, pipeline, [Info(taker_delay=200 * MS)], model, 10_000 * MS)
        ended += int((events["size"][events["kind"] == EventKind.CANCEL] == Code.EXEC_CANCELLED_EXPIRED).sum())
        filled += int(((events["kind"] == 12) | (events["kind"] == 13)).sum())
    assert ended > 10 and (filled > 5 or passive)  # the waiting ones stand far from the touch


def test_a_session_with_everything_on_meets_every_kind_of_settlement_and_delay():
    """The properties above are about something: confirmed, voided and open fills, makers and takers, delays."""
    tape = random_tape(11, 1_500, 2)
    infos = [Info(grid=10, taker_delay=200 * MS)] * 2
    _, quoted = books_after_every_event(tape, maker(), infos, EVERYTHING[0], 100 * MS)
    taking = script(5_500, 20 * SHARE, order_type=FAK, passive=0, wake=300 * MS)
    _, taken = books_after_every_event(tape, taking, infos, EVERYTHING[0], 100 * MS)
    counts = {kind: int((quoted["kind"] == kind).sum()) for kind in (12, 13, 14)}
    assert min(counts.values()) > 5 and counts[12] >= counts[13] + counts[14]
    assert (taken["flags"][taken["kind"] == EventKind.ORDER_ACK] & Flag.DELAYED).any()


def test_the_same_session_gives_the_same_rows_whatever_the_models():
    tape = random_tape(3, 400)
    for model in EVERYTHING:
        first, second = (run_once(tape, model) for _ in range(2))
        assert first == second


def run_once(tape, model):
    sink = Collected()
    simulate(tape, [Info(grid=10, taker_delay=200 * MS)], maker(), cash=300 * PUSD, interval=0, venue=model, sink=sink)
    return [sink.rows(kind).tobytes() for kind in sink.parts]


# ------------------------------------------------------------------------------------------- names on results


def test_every_model_is_named():
    names = EVERYTHING[0].names()
    assert names["queue"] == "log_prob, 30 % of depth lost without a print is trades"
    assert names["latency"] == (
        "entry log-normal(40 ms, sigma 0.8, seed 3), response log-normal(60 ms, sigma 0.8, seed 4)"
    )
    assert names["settlement"] == "provisional for 700 ms, then 300000 ppm voided (seed 5)"
    assert names["taker_delay"] == "of each market and date"
    plain = VenueModel().names()
    assert plain["settlement"] == "at match" and plain["liquidity"].startswith("recorded book, less what our takers")
    assert plain["latency"] == "constant(entry 50 ms, response 50 ms)"
    assert VenueModel(liquidity="recorded").names()["liquidity"] == "recorded book, not consumed by our fills"


@pytest.mark.parametrize(
    "wrong", [{"queue_model": "best"}, {"liquidity": "infinite"}, {"taker_delay": "x"}, {"ghost_rate": 1_000_001}]
)
def test_a_model_that_does_not_exist_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VenueModel(**wrong)
