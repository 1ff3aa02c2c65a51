"""Falsifiers: planted look-ahead of each kind is caught, and what looks only back passes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest

from polytraders.bots import Bot, register, unregister
from polytraders.data.catalog import Catalog
from polytraders.data.importer import import_files
from polytraders.engine.kernels import kernel
from polytraders.engine.state import WANT_QUOTE
from polytraders.reasons import Code
from polytraders.research import falsify
from polytraders.research.falsify import hidden_data, lookahead, shuffled, truncated, warm_up
from polytraders.rows import EVENT, EventKind, Side, Status
from polytraders.strategies import maker_tight
from polytraders.units import MICRO, NS_PER_MS, NS_PER_S, ONE

PLANTED = "strat.planted"


@pytest.fixture
def plant():
    """Register a decide function as a strategy of maker_tight's parameters; returns its id."""

    def put(decide) -> str:
        register(Bot(replace(maker_tight.SPEC, bot_id=PLANTED, name="Planted"), decide))
        return PLANTED

    yield put
    unregister(PLANTED)


# -- what passes -----------------------------------------------------------------------------------------------


def test_maker_tight_knows_nothing_of_the_future(session, settings):
    seen = []
    result = lookahead(session, settings, progress=lambda *at: seen.append(at))
    assert result.ok and not result.hidden
    assert len(result.cuts) == 6 and all(cut.rows > 20 and cut.first is None for cut in result.cuts)
    assert seen[-1] == (6, 6)
    json.dumps(result.as_dict())


def test_the_session_is_as_it_was_when_the_check_is_over(session, settings):
    before = session.events.copy()
    lookahead(session, settings, cuts=1)
    assert np.array_equal(session.events, before)


@pytest.mark.parametrize("response_ms", ["0", "50"])
def test_it_passes_whatever_is_faster_the_feed_or_the_answer(session, settings, response_ms):
    """With an answer faster than the feed we hear of a fill before the trade that caused it: that is no look-ahead."""
    slow = session.events.copy()
    slow["ts_recv"] += 40 * NS_PER_MS
    quick = settings.with_overrides({"venue.simulated.response_latency_ms": response_ms})
    assert lookahead(replace(session, events=slow), quick, cuts=2).ok


def test_maker_tight_passes_on_a_real_recording(shared, tmp_path, settings):
    path = "data/polymarket/ws/btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst"
    import_files([shared(path)], "real", root=tmp_path)
    result = lookahead(Catalog(tmp_path).load("real"), settings, cuts=2)
    assert result.ok and min(cut.rows for cut in result.cuts) > 1_000


# -- what is caught --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Cannot cache compiled function")
def test_a_kernel_that_reads_the_rows_behind_the_engines_back_is_caught(session, settings, plant):
    """It closes over the array of events itself, so large that the compiler keeps its address, not a copy."""
    memory = np.zeros(20_000, EVENT)
    n = len(session.events)
    memory[:n] = session.events
    table = memory.view(np.int64).reshape(-1, 8)  # columns: ts_recv 0, price 3
    assert table.nbytes > 1_000_000

    @kernel("strat")
    def decide(market, position, account, ladder, memory, targets, params):
        lo, hi = 0, n
        while lo < hi:  # the first row ten seconds from now
            mid = (lo + hi) // 2
            if table[mid, 0] < market.now + 10 * NS_PER_S:
                lo = mid + 1
            else:
                hi = mid
        later = table[min(lo, n - 1), 3]
        return np.int64(Code.STRAT_MAKER_NO_EDGE if later > market.best_bid else Code.STRAT_MAKER_NEAR_CLOSE)

    result = lookahead(replace(session, events=memory[:n]), settings, plant(decide))
    caught = [cut for cut in result.cuts if not cut.ok]
    assert not result.ok and {cut.future for cut in caught} == {"other"}
    assert {cut.first["bot"] for cut in caught} == {PLANTED} and all(cut.first["fields"] for cut in caught)
    assert any("changed" in sentence for sentence in result.sentences())


def test_a_table_of_the_future_inside_the_kernel_is_found_in_its_code(session, settings, plant):
    future = tuple(int(price) for price in session.events["price"][:: len(session.events) // 100])

    @kernel("strat")
    def decide(market, position, account, ladder, memory, targets, params):
        return np.int64(
            Code.STRAT_MAKER_NO_EDGE if future[market.now // NS_PER_S % 100] > 5_000 else Code.STRAT_MAKER_NEAR_CLOSE
        )

    result = lookahead(session, settings, plant(decide), cuts=1)
    assert all(cut.ok for cut in result.cuts)  # no re-run can see it
    assert not result.ok and "future" in result.hidden[0] and PLANTED in result.hidden[0]


def test_a_parameter_fitted_to_the_whole_recording_is_caught(session, settings):
    """The future comes in through the configuration: the edge is chosen from the last price."""

    def derive(given):
        last = given.events[given.events["kind"] == EventKind.TRADE]["price"][-1]
        return given, settings.with_overrides({"strat.maker_tight.edge_bps": str(10 + int(last) % 97)})

    result = lookahead(session, settings, derive=derive)
    assert not result.ok and any(not cut.ok and cut.future == "truncated" for cut in result.cuts)


def test_a_parameter_fitted_to_what_had_been_received_passes(session, settings):
    def derive(given):
        first = given.events[given.events["kind"] == EventKind.TRADE]["price"][0]
        return given, settings.with_overrides({"strat.maker_tight.edge_bps": str(10 + int(first) % 97)})

    assert lookahead(session, settings, derive=derive).ok


TABLE = np.zeros(100)


def _reads_a_table(at):
    return TABLE[at]


def test_hidden_data_is_found_through_a_function_and_small_constants_are_not_data():
    weights = (1, 2, 3)

    def small(at):
        return weights[at]

    def calls(at):
        return small(at) + _reads_a_table(at)

    assert hidden_data(small) == []
    assert [what.rpartition(".")[2] for what in hidden_data(calls)] == ["TABLE, an array of 100 numbers"]
    assert hidden_data(maker_tight.decide) == []


def test_a_cut_keeps_what_is_on_its_way():
    rows = np.zeros(4, EVENT)
    rows["ts_event"], rows["ts_recv"], rows["kind"] = [1, 2, 6, 9], [3, 8, 9, 12], EventKind.CHANGE
    happens = np.array([1, 2, 6, 9])
    kept = truncated(rows, happens, 5)
    # rows 0 and 1 have happened at 5, row 1 is received at 8, behind the clock row
    assert kept["ts_recv"].tolist() == [3, 5, 8]
    assert kept["kind"].tolist() == [EventKind.CHANGE, EventKind.CLOCK, EventKind.CHANGE]


# -- warm-up ---------------------------------------------------------------------------------------------------


def test_maker_tight_comes_to_want_the_same_whenever_it_is_started(session, settings):
    easy = settings.with_overrides({"disc.marketscanner.min_volume_24h_usd": "0"})
    result = warm_up(session, easy)
    assert result.ok and len(result.starts) == 3
    assert all(start.agreement[-1] == 1.0 for start in result.starts)
    json.dumps(result.as_dict())


def test_a_strategy_that_never_forgets_its_start_is_caught(session, settings, plant):
    @kernel("strat")
    def decide(market, position, account, ladder, memory, targets, params):
        memory[0] += 1.0  # how often it was asked since the start
        return np.int64(Code.STRAT_MAKER_NO_EDGE if memory[0] % 1000 < 500 else Code.STRAT_MAKER_NEAR_CLOSE)

    result = warm_up(session, settings, plant(decide))
    assert not result.ok and result.needs is None
    assert "STRAT_MAKER_NEAR_CLOSE from the start, STRAT_MAKER_NO_EDGE when late" in [s.last for s in result.starts]


# -- shuffled signal -------------------------------------------------------------------------------------------


@kernel("strat")
def follow(market, position, account, ladder, memory, targets, params):
    """Buy YES after somebody bought, NO after somebody sold, and give it back when the opposite comes."""
    if market.status != Status.OPEN or market.best_bid < 0 or market.best_ask < 0 or market.last_price < 0:
        return np.int64(Code.STRAT_MAKER_ONE_SIDED_BOOK)
    t = targets[0]
    t.size, t.order_type, t.max_slippage_bps, t.ttl = 20 * MICRO, 3, 100, NS_PER_S
    up = market.last_side == Side.BUY
    held = position.no if up else position.yes
    if held > 0:
        t.want, t.outcome, t.side, t.reduce_only = WANT_QUOTE, 1 if up else 0, Side.SELL, 1
        t.size, t.price = held, ONE - market.best_ask if up else market.best_bid
    elif (position.yes if up else position.no) == 0:
        t.want, t.outcome, t.side = WANT_QUOTE, 0 if up else 1, Side.BUY
        t.price = market.best_ask if up else ONE - market.best_bid
    t.fair, t.edge = 100 * t.price + 5_000, 5_000
    return np.int64(Code.STRAT_EDGE_DETECTED)


def flow_world(session, informed: bool):
    """One market: every 20 s a trade, and 5 s later the book moves four ticks, its way or any way."""
    rng = np.random.Generator(np.random.PCG64(3))
    rows, t0 = [], 1_776_330_000 * NS_PER_S

    def put(ms, kind, side, price, size):
        at = t0 + ms * NS_PER_MS
        rows.append((at, at, len(rows), price, size * MICRO, 0, 0, 0, kind, side, 1))

    def book(ms, mid):
        put(ms, EventKind.BOOK_CLEAR, 0, 0, 0)
        for k in range(1, 6):
            put(ms, EventKind.LEVEL, Side.BUY, mid - 100 * k, 5_000)
            put(ms, EventKind.LEVEL, Side.SELL, mid + 100 * k, 5_000)

    mid = 5_000
    book(0, mid)
    for k in range(120):
        ms = 1_000 + 20_000 * k
        side = int(rng.integers(2))
        put(ms, EventKind.TRADE, side, mid + (100 if side == Side.BUY else -100), 50)
        for again in range(10):  # the book is confirmed, so that it is not stale
            book(ms + 100 + 400 * again, mid)
        way = side if informed else int(rng.integers(2))
        mid += 400 if way == Side.BUY else -400
        mid = 8_000 if mid > 8_000 else 2_000 if mid < 2_000 else mid
        for again in range(20):
            book(ms + 5_000 + 700 * again, mid)
    info = dataclasses.replace(session.markets[0], tick=100, grid=100, fee_rate=0, rebate_rate=0, end_ts=0, event_id="")
    return replace(session, name="flow", events=np.array(rows, EVENT), markets=(info,))


@pytest.mark.parametrize("informed", [True, False])
def test_an_edge_that_comes_from_the_trades_vanishes_when_they_are_dealt_out_anew(session, settings, plant, informed):
    result = shuffled(flow_world(session, informed), settings, plant(follow), draws=19)
    assert result.shuffled == "trades" and len(result.null) == 19
    if informed:
        assert result.ok and result.p == 1 / 20 and result.pnl > 0 and np.mean(result.null) < result.pnl / 4
    else:
        assert not result.ok and result.p > falsify.LEVEL


def test_shuffled_trades_are_the_same_trades_at_the_touch_of_their_side(session):
    rng = np.random.Generator(np.random.PCG64(1))
    mixed = falsify.shuffle_trades(session, rng)
    before, after = (e[e["kind"] == EventKind.TRADE] for e in (session.events, mixed))
    assert np.array_equal(before["ts_recv"], after["ts_recv"]) and not np.array_equal(before["side"], after["side"])
    assert before["size"].sum() == after["size"].sum() and before["side"].sum() == after["side"].sum()
    same = np.setdiff1d(np.arange(len(mixed)), np.flatnonzero(mixed["kind"] == EventKind.TRADE))
    assert np.array_equal(session.events[same], mixed[same])
    bid, ask = falsify._touch(session)
    rows = np.flatnonzero(mixed["kind"] == EventKind.TRADE)
    rows = rows[(bid[rows] >= 0) & (ask[rows] > bid[rows])]
    outside = (mixed["price"][rows] >= ask[rows]) == (mixed["side"][rows] == Side.BUY)
    assert outside.mean() > 0.95


def test_signals_are_permuted_each_among_its_own(session):
    rows = np.zeros(60, EVENT)
    rows["kind"], rows["aux"], rows["size"] = EventKind.SIGNAL, np.arange(60) % 2, np.arange(60)
    mixed = falsify.shuffle_signals(replace(session, events=rows), np.random.Generator(np.random.PCG64(1)))
    for number in (0, 1):
        assert sorted(mixed["size"][mixed["aux"] == number]) == list(range(number, 60, 2))
    assert not np.array_equal(mixed["size"], rows["size"])
