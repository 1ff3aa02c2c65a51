"""What rests of ours is taken out of the book that the step sees, whichever connection tells first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polytraders.engine import book as bk
from polytraders.engine.state import MARKET
from polytraders.rows import ACTION, EVENT, ActionKind, EventKind, Flag, OrderType, Outcome, Side
from polytraders.run.orders import Orders
from polytraders.run.own import NEWS, OwnOrders, level_of
from polytraders.units import MICRO

T0 = 1_800_000_000 * 10**9


class Step:
    """A book of one market with a grid of 100 pips, kept by the step's own kernel."""

    def __init__(self):
        self.markets = np.zeros(1, MARKET)
        market = self.markets[0]
        market["levels"], market["recip"] = bk.geometry(100)
        self.book = np.zeros(2 * int(market["levels"]), np.int64)
        market["best"] = bk.NO_BID, bk.NO_ASK

    def take(self, rows):
        bk.replay(self.book, self.markets, rows)

    def at(self, side, price):
        return int(self.book[side * int(self.markets[0]["levels"]) + price // 100])


class Run:
    """The part of a runner that this is about: feed rows, orders and their news, in any order."""

    def __init__(self):
        self.step, self.orders, self.now = Step(), Orders(), T0
        self.own = OwnOrders(self.orders, self.step)

    def feed(self, *levels, after=0, kind=EventKind.CHANGE):
        self.now += after or 1_000_000
        rows = np.zeros(len(levels), EVENT)
        rows["kind"], rows["ts_recv"] = kind, self.now
        for row, (side, price, size) in zip(rows, levels, strict=True):
            row["side"], row["price"], row["size"] = side, price, size
        self.own.adjust(rows)
        self.step.take(rows)
        return rows

    def submit(self, number, price, size, side=Side.BUY, outcome=Outcome.YES, order_type=OrderType.GTC):
        actions = np.zeros(1, ACTION)
        for name, value in {
            "kind": ActionKind.SUBMIT, "order_id": number, "price": price, "size": size, "side": side,
            "outcome": outcome, "order_type": order_type,
        }.items():  # fmt: skip
            actions[name] = value
        self.orders.sent(actions, {number: f"0x{number}"})
        self.own.heard(np.zeros(0, EVENT), actions, self.now)

    def news(self, kind, number, size=0, after=0):
        self.now += after or 1_000_000
        rows = np.zeros(1, EVENT)
        rows["kind"], rows["aux"], rows["size"], rows["ts_recv"] = kind, number, size, self.now
        self.orders.heard(rows, [f"t{self.now}"])
        mended = self.own.heard(rows, np.zeros(0, ACTION), self.now)
        self.step.take(mended)
        return mended


def test_a_level_is_told_without_us_and_whole_again_when_we_are_gone():
    run = Run()
    run.feed((Side.BUY, 4_800, 100 * MICRO), (Side.SELL, 5_200, 100 * MICRO))
    run.submit(1, 4_900, 10 * MICRO)
    run.feed((Side.BUY, 4_900, 10 * MICRO))  # ours alone
    assert run.step.at(Side.BUY, 4_900) == 0 and run.step.markets[0]["best"][Side.BUY] == 48
    run.feed((Side.BUY, 4_900, 35 * MICRO))  # somebody joins us
    assert run.step.at(Side.BUY, 4_900) == 25 * MICRO
    assert len(run.news(EventKind.ORDER_ACK, 1)) == 0
    run.feed((Side.BUY, 4_900, 25 * MICRO))  # the venue tells of our end first: too small until we know it too
    assert run.step.at(Side.BUY, 4_900) == 15 * MICRO
    (row,) = run.news(EventKind.CANCEL, 1)
    assert row["kind"] == EventKind.CHANGE and row["flags"] & Flag.INFERRED
    assert run.step.at(Side.BUY, 4_900) == 25 * MICRO


def test_a_fill_gives_back_what_it_took_and_no_more():
    run = Run()
    run.submit(1, 4_900, 10 * MICRO)
    run.feed((Side.BUY, 4_900, 30 * MICRO))
    assert run.step.at(Side.BUY, 4_900) == 20 * MICRO
    run.feed((Side.BUY, 4_900, 26 * MICRO))  # four of ours were sold into
    run.news(EventKind.FILL_PROVISIONAL, 1, 4 * MICRO)
    assert run.step.at(Side.BUY, 4_900) == 20 * MICRO


def test_an_order_for_no_stands_on_the_other_side_of_the_book():
    run = Run()
    run.submit(1, 4_700, 10 * MICRO, outcome=Outcome.NO)
    assert level_of(run.orders.by_id[1].action) == (0, Side.SELL, 5_300)
    run.feed((Side.SELL, 5_300, 12 * MICRO))
    assert run.step.at(Side.SELL, 5_300) == 2 * MICRO


@pytest.mark.parametrize("order_type", [OrderType.FAK, OrderType.FOK])
def test_what_never_rests_is_in_no_level(order_type):
    run = Run()
    run.submit(1, 4_900, 10 * MICRO, order_type=order_type)
    run.feed((Side.BUY, 4_900, 10 * MICRO))
    assert run.step.at(Side.BUY, 4_900) == 10 * MICRO


def test_a_snapshot_begins_anew():
    run = Run()
    run.submit(1, 4_900, 10 * MICRO)
    run.feed((Side.BUY, 4_900, 30 * MICRO))
    run.feed((0, 0, 0), kind=EventKind.BOOK_CLEAR)
    run.feed((Side.BUY, 4_800, 5 * MICRO), kind=EventKind.LEVEL)
    assert len(run.news(EventKind.CANCEL, 1)) == 0
    assert run.step.at(Side.BUY, 4_900) == 0 and run.step.at(Side.BUY, 4_800) == 5 * MICRO


def test_a_feed_that_died_is_not_made_to_look_alive():
    run = Run()
    run.submit(1, 4_900, 10 * MICRO)
    run.feed((Side.BUY, 4_900, 30 * MICRO))
    assert len(run.news(EventKind.CANCEL, 1, after=NEWS + 1)) == 0
    assert run.step.at(Side.BUY, 4_900) == 20 * MICRO, "too small rather than fresh"


def test_a_run_that_is_taken_over_knows_what_rests():
    run = Run()
    run.submit(1, 4_900, 10 * MICRO)
    run.own = OwnOrders(run.orders, run.step)
    run.feed((0, 0, 0), kind=EventKind.BOOK_CLEAR)
    run.feed((Side.BUY, 4_900, 30 * MICRO), kind=EventKind.LEVEL)
    assert run.step.at(Side.BUY, 4_900) == 20 * MICRO


@given(st.data())
def test_when_both_connections_have_told_everything_the_step_has_the_others_sizes(data):
    """Orders come, fill and end at two levels among others; each connection keeps its order, the two mix at will."""
    run, others, ours = Run(), dict.fromkeys((4_800, 4_900), 50 * MICRO), {}
    feed, private, number = [], [], 0
    run.feed(*((Side.BUY, price, size) for price, size in others.items()))

    def told():
        for price, size in others.items():
            ours_here = sum(left for at, left in ours.values() if at == price)
            feed.append((Side.BUY, price, size + ours_here))

    for _ in range(data.draw(st.integers(1, 20))):
        what = data.draw(st.sampled_from(["submit", "fill", "cancel", "other", "feed", "private"]))
        if what == "submit":
            number += 1
            ours[number] = data.draw(st.sampled_from([4_800, 4_900])), 10 * MICRO
            run.submit(number, *ours[number])
            private.append((EventKind.ORDER_ACK, number, 0))
            told()
        elif what in ("fill", "cancel") and ours:
            one = data.draw(st.sampled_from(sorted(ours)))
            price, left = ours[one]
            part = data.draw(st.integers(1, left // MICRO)) * MICRO if what == "fill" else left
            kind = EventKind.FILL_PROVISIONAL if what == "fill" else EventKind.CANCEL
            private.append((kind, one, part))
            ours[one] = price, left - part
            if left == part:
                del ours[one]
            told()
        elif what == "other":
            others[data.draw(st.sampled_from([4_800, 4_900]))] = data.draw(st.integers(0, 90)) * MICRO
            told()
        elif what == "feed" and feed:
            run.feed(feed.pop(0))
        elif what == "private" and private:
            run.news(*private.pop(0))
    while feed or private:
        if feed and (not private or data.draw(st.booleans())):
            run.feed(feed.pop(0))
        else:
            run.news(*private.pop(0))
    assert {price: run.step.at(Side.BUY, price) for price in others} == others
