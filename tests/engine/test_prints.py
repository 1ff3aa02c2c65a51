"""A print that arrives after the loss of depth it made is put in front of it, and a queue is eaten once."""

import numpy as np
import pytest
from toys import MS, PUSD, SHARE, T0, Info, S, Tape, random_tape, script

from polytraders.engine.backtest import Collected, VenueModel, prepare, simulate, simulate_prepared
from polytraders.engine.prints import pair_prints, venue_order
from polytraders.rows import EventKind, Side


def pairs(tape, lag=30 * MS):
    events = tape.events()
    return pair_prints(events, events["ts_event"], lag).tolist()


def book():
    return Tape().bid(0, 4_900, 100).ask(0, 5_100, 100)


def test_the_print_behind_its_loss_is_paired_and_only_within_the_lag():
    assert pairs(book().bid(50, 4_900, 60).trade(71, 4_900, 40, Side.SELL)) == [-1, -1, -1, 2]
    assert pairs(book().bid(50, 4_900, 60).trade(81, 4_900, 40, Side.SELL)) == [-1, -1, -1, -1]
    assert pairs(book().bid(50, 4_900, 60).trade(71, 4_900, 40, Side.SELL), lag=0) == [-1] * 4


@pytest.mark.parametrize(
    "tape",
    [
        book().trade(49, 4_900, 40, Side.SELL).bid(50, 4_900, 60),  # it came first, as it should
        book().bid(50, 4_900, 61).trade(71, 4_900, 40, Side.SELL),  # less was lost than printed
        book().ask(50, 5_100, 60).trade(71, 4_900, 40, Side.SELL),  # another level
        book().bid(50, 4_900, 140).trade(71, 4_900, 40, Side.SELL),  # the level grew
        book().add(40, EventKind.BOOK_CLEAR).bid(50, 4_900, 60).trade(71, 4_900, 40, Side.SELL),  # a new book
    ],
)
def test_what_is_no_pair_is_left_where_it_was(tape):
    assert set(pairs(tape)) == {-1}


def test_each_print_takes_the_loss_of_its_size_first_and_shares_a_larger_one():
    tape = book().bid(50, 4_900, 60).bid(55, 4_900, 10).trade(70, 4_900, 40, Side.SELL)
    tape.trade(71, 4_900, 30, Side.SELL).trade(72, 4_900, 20, Side.SELL).trade(73, 4_900, 1, Side.SELL)
    assert pairs(tape)[4:] == [2, 3, 3, -1]


def test_the_venue_hears_the_print_first_and_at_the_time_of_its_loss():
    tape = book().bid(50, 4_900, 60).ask(60, 5_100, 90).trade(71, 4_900, 40, Side.SELL).clock(100)
    events = tape.events()
    times, order = venue_order(events["ts_event"], pair_prints(events, events["ts_event"], 30 * MS))
    assert order.tolist() == [0, 1, 4, 2, 3, 5] and ((times - T0) // MS).tolist() == [0, 0, 50, 50, 60, 100]


def filled(lag_ms, queue="power_prob"):
    """100 stand before our 10; 40 of them trade, told as a loss and then a print; then 55 more trade, likewise."""
    tape = book().bid(1_000, 4_900, 60).trade(1_021, 4_900, 40, Side.SELL)
    tape.bid(2_000, 4_900, 5).trade(2_021, 4_900, 55, Side.SELL).clock(5_000)
    venue = VenueModel(queue_model=queue, print_lag=lag_ms * MS)
    sink = Collected()
    sim = simulate(
        tape.events(), [Info(fee_rate=0)], script(4_900, 10 * SHARE), cash=100 * PUSD, interval=100 * MS,
        venue=venue, sink=sink,
    )  # fmt: skip
    return int(sim.state.positions[0].yes)


def test_a_queue_is_eaten_once():
    """100 ahead and 95 traded: nothing is left for us. Told twice, a part of each loss counts as cancels too."""
    assert filled(0) > 0 and filled(30) == 0


def test_without_a_lag_nothing_changes_and_a_prepared_stream_is_for_its_lag():
    events = random_tape(5, 500, 2)
    infos = [Info(grid=10)] * 2
    plain = prepare(events, infos)
    other = prepare(events, infos, venue=VenueModel(print_lag=50 * MS))
    assert len(plain.order) == 0 and sorted(other.order.tolist()) == list(range(len(events)))
    assert (np.diff(other.times) >= 0).all()
    with pytest.raises(ValueError, match="lag of prints"):
        simulate_prepared(other, script(4_900, 5 * SHARE), cash=PUSD, interval=S)
