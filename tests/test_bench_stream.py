"""The benchmark: invariants S1 to S5 of its stream, and parity of our loops with others on it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bench import bare, stream, twin
from polytraders import rows as r
from polytraders import units

EVENTS = 20_000


@pytest.fixture(scope="module")
def one() -> np.ndarray:
    return stream.one_market(EVENTS)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return stream.many_markets(7, EVENTS)


def touches(rows: np.ndarray) -> list[tuple[int, int]]:
    """(best bid, best ask) in pips after each row of one market, None for an empty side. Dicts, no engine."""
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    out = []
    for row in rows[rows["kind"] == r.EventKind.CHANGE]:
        side = book[row["side"]]
        side[int(row["price"])] = int(row["size"])
        if row["size"] == 0:
            del side[int(row["price"])]
        out.append((max(book[0], default=None), min(book[1], default=None)))
    return out


def test_the_same_seed_gives_the_same_bytes(one):
    assert stream.sha256(stream.one_market(EVENTS)) == stream.sha256(one)


def test_another_seed_gives_another_stream(one):
    assert stream.sha256(stream.one_market(EVENTS, seed=stream.SEED + 1)) != stream.sha256(one)


def test_the_bytes_are_those_of_every_other_machine(one):
    assert stream.sha256(one) == "c4dac583b2d9518ad56e4c1becedbb4a9e1585ec667c3a47f9e251fab8ae1d0e"


def test_both_clocks_run_forward_and_the_feed_takes_five_to_six_milliseconds(one):
    assert (np.diff(one["ts_event"]) >= 0).all() and (np.diff(one["ts_recv"]) >= 0).all()
    latency = one["ts_recv"] - one["ts_event"]
    assert latency.min() >= 5 * units.NS_PER_MS and latency.max() < 6 * units.NS_PER_MS
    assert (one["seq"] == np.arange(EVENTS)).all()


def test_no_book_is_ever_crossed_or_one_sided_once_it_has_opened(many):
    for market in range(7):
        after = touches(many[many["market"] == market])[2 * stream.OPENING :]
        assert len(after) > 1_000
        assert all(bid is not None and ask is not None and bid < ask for bid, ask in after)


def test_prices_are_whole_ticks_and_sizes_whole_cents_of_a_share(many):
    assert (many["price"] % stream.TICK == 0).all()
    assert many["price"].min() >= stream.TICK and many["price"].max() <= stream.TICKS * stream.TICK
    assert (many["size"] % units.CENT_SHARE == 0).all()
    assert (many["size"] > 0)[many["kind"] == r.EventKind.TRADE].all()


def test_every_row_is_a_message_of_its_own(one):
    assert (one["flags"] == r.Flag.LAST).all() and (one["ref"] == np.arange(EVENTS)).all()


def test_a_trade_eats_the_touch_and_the_level_it_leaves_is_the_next_message(one):
    book: tuple[dict[int, int], dict[int, int]] = ({}, {})
    expected = None
    for row in one:
        price, size, side = int(row["price"]), int(row["size"]), int(row["side"])
        if expected is not None:
            assert (row["kind"], side, price, size) == (r.EventKind.CHANGE, *expected)
            expected = None
        if row["kind"] == r.EventKind.TRADE:
            hit = 1 - side  # side is the aggressor's
            assert price == (max(book[0]) if hit == r.Side.BUY else min(book[1]))
            assert size <= book[hit][price]
            expected = (hit, price, book[hit][price] - size)
        elif size:
            book[side][price] = size
        else:
            book[side].pop(price, None)


def test_about_one_event_in_thirteen_is_a_trade(one):
    assert 0.07 < (one["kind"] == r.EventKind.TRADE).mean() < 0.082


def test_spreading_over_markets_changes_neither_the_number_of_events_nor_how_busy_a_market_is(one, many):
    assert len(many) == len(one)
    share = np.bincount(many["market"], minlength=7) / EVENTS
    assert np.abs(share - 1 / 7).max() < 0.02
    pace = (one["ts_event"][-1] - one["ts_event"][0]) / EVENTS
    of_one = np.diff(many["ts_event"][many["market"] == 3]).mean()
    assert abs(of_one / pace - 1) < 0.1


def test_one_of_many_is_the_stream_of_one(one):
    assert stream.sha256(stream.many_markets(1, EVENTS)) == stream.sha256(one)


def test_a_stream_too_short_to_open_its_markets_is_refused():
    with pytest.raises(ValueError, match="20 levels each"):
        stream.many_markets(1_000, 20_000)


def test_the_peer_gets_the_same_events_in_the_same_order(one):
    peer = stream.peer_events(one)
    assert peer.dtype.itemsize == 64 and len(peer) == EVENTS
    assert (peer["exch_ts"] == one["ts_event"]).all() and (peer["local_ts"] == one["ts_recv"]).all()
    assert (np.rint(peer["px"] * units.ONE).astype(np.int64) == one["price"]).all()
    assert (np.rint(peer["qty"] * units.MICRO).astype(np.int64) == one["size"]).all()
    assert (peer["ev"] >> 30 == 3).all()  # valid at the exchange and at the local clock
    assert ((peer["ev"] & 0xFF == 2) == (one["kind"] == r.EventKind.TRADE)).all()
    assert ((peer["ev"] & 0xFF == 1) == (one["kind"] == r.EventKind.CHANGE)).all()
    assert ((peer["ev"] >> 29 & 1 == 1) == (one["side"] == r.Side.BUY)).all()
    assert ((peer["ev"] >> 28 & 1 == 1) == (one["side"] == r.Side.SELL)).all()


def test_the_bare_loop_ends_with_the_book_that_the_rows_say(one):
    book = bare.empty()
    bid, ask = bare.replay(one, book)
    expected, expected_bid, expected_ask = bare.oracle(one)
    assert (book == expected).all() and (bid, ask) == (expected_bid, expected_ask)
    assert (bid * stream.TICK, ask * stream.TICK) == touches(one)[-1]


def test_the_peers_maker_earns_on_our_venue_what_it_earns_on_the_peers():
    """Figures of hftbacktest 2.4.4 (bench/peers/hft_maker.py) on the first 300 000 events of seed 20260501."""
    result = twin.run(stream.one_market(300_000))
    assert result == {"decisions": 57_030, "fills": 10_119, "position": -90.0, "balance": 406.7}


def test_a_calm_market_is_as_its_mix_says():
    calm = stream.one_market(100_000, mix=stream.CALM)
    assert 0.045 < (calm["kind"] == r.EventKind.TRADE).mean() < 0.055
    assert 48 < np.diff(calm["ts_recv"]).mean() / units.NS_PER_MS < 52
    after = touches(calm)[2 * stream.OPENING :]
    assert all(bid is not None and ask is not None and bid < ask for bid, ask in after)
    assert 0.003 < np.mean([a != b for a, b in pairwise(after)]) < 0.008
