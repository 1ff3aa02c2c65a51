"""Messages to rows: hand-made messages, hand-written rows."""

from __future__ import annotations

import pytest
from wire import NO, NS, T0, YES, Wire, lines_of

from polytraders.data.checks import Replay, check
from polytraders.rows import EventKind as K
from polytraders.rows import Flag, Side, Status

BUY, SELL = Side.BUY, Side.SELL
SNAPSHOT, LAST, INFERRED, GAP = Flag.SNAPSHOT, Flag.LAST, Flag.INFERRED, Flag.GAP


def rows_of(session, *columns):
    return [tuple(int(row[c]) for c in columns) for row in session.events]


def test_the_first_book_clears_and_lists_its_levels_best_first(bench, wire):
    session = bench.session([wire.book({"0.48": "10", "0.47": "20.5"}, {"0.5": "30", "0.51": "0.01"})])
    assert rows_of(session, "kind", "side", "price", "size", "flags") == [
        (K.BOOK_CLEAR, 0, 0, 0, SNAPSHOT),
        (K.LEVEL, BUY, 4800, 10_000_000, SNAPSHOT),
        (K.LEVEL, BUY, 4700, 20_500_000, SNAPSHOT),
        (K.LEVEL, SELL, 5000, 30_000_000, SNAPSHOT),
        (K.LEVEL, SELL, 5100, 10_000, SNAPSHOT | LAST),
    ]


def test_both_times_are_kept_in_ns_and_receiving_before_the_venue_sent_is_legal(bench, wire):
    frame = wire.book({"0.48": "10"}, {"0.5": "30"})
    frame["timestamp"] = str(T0 + 500)  # received at T0 + 30 ms
    session = bench.session([frame])
    assert set(rows_of(session, "ts_recv", "ts_event")) == {((T0 + 30) * NS, (T0 + 500) * NS)}
    assert session.quality == {}


def test_a_later_book_gives_only_what_differs_removals_first(bench, wire):
    session = bench.session(
        [
            wire.book({"0.48": "10", "0.47": "20"}, {"0.5": "30"}, tick_size="0.01", last_trade_price="0.5"),
            wire.book({"0.49": "7", "0.47": "20"}, {"0.5": "31"}, tick_size="0.01", last_trade_price="0.5"),
        ]
    )
    assert rows_of(session, "kind", "side", "price", "size", "flags")[4:] == [
        (K.CHANGE, BUY, 4800, 0, SNAPSHOT),
        (K.CHANGE, BUY, 4900, 7_000_000, SNAPSHOT),
        (K.CHANGE, SELL, 5000, 31_000_000, SNAPSHOT | LAST),
    ]


def test_a_book_that_changes_nothing_gives_one_row_that_repeats_the_best_level(bench, wire):
    book = {"0.48": "10"}, {"0.5": "30"}
    session = bench.session([wire.book(*book), wire.book(*book)])
    assert rows_of(session, "kind", "side", "price", "size", "flags", "ref")[3:] == [
        (K.CHANGE, BUY, 4800, 10_000_000, SNAPSHOT | LAST, 1)
    ]


def test_an_empty_book_confirmed_stays_an_empty_book(bench, wire):
    session = bench.session([wire.book({}, {}), wire.book({}, {})])
    assert rows_of(session, "kind", "ref") == [(K.BOOK_CLEAR, 0), (K.BOOK_CLEAR, 1)]


def test_one_sided_books_are_read_as_they_are(bench, wire):
    session = bench.session([wire.book({"0.99": "5"}, {}), wire.best("0.99", "1"), wire.best("0.99", "")])
    assert session.quality == {}
    assert rows_of(session, "kind", "side", "price")[2:] == [(K.CHANGE, BUY, 9900)] * 2


def test_a_price_change_with_both_tokens_is_applied_once(bench, wire):
    session = bench.session(
        [
            wire.book({"0.48": "10"}, {"0.5": "30"}),
            wire.change(
                wire.leg("0.52", "4", "BUY", NO, best_bid="0.52", best_ask="0.53"),
                wire.leg("0.48", "4", "SELL", YES, best_bid="0.47", best_ask="0.48"),
            ),
        ]
    )
    assert rows_of(session, "kind", "side", "price", "size", "flags")[3:] == [(K.CHANGE, SELL, 4800, 4_000_000, LAST)]


def test_legs_that_disagree_are_a_finding_and_the_yes_leg_counts(bench, wire):
    session = bench.session(
        [
            wire.book({"0.48": "10"}, {"0.5": "30"}),
            wire.change(wire.leg("0.47", "4", "BUY"), wire.leg("0.53", "5", "SELL", NO)),
        ]
    )
    assert rows_of(session, "kind", "side", "price", "size")[3:] == [(K.CHANGE, BUY, 4700, 4_000_000)]
    assert session.quality == {"mirror_mismatch": 1}


def test_a_no_token_alone_is_mirrored(bench, wire):
    session = bench.session(
        [
            wire.book({"0.48": "10"}, {"0.5": "30"}),
            wire.book({"0.49": "30"}, {"0.52": "10", "0.53": "2"}, NO),
            wire.trade("0.49", "3", "BUY", NO),
            wire.change(wire.leg("0.47", "1", "BUY", NO)),
        ]
    )
    assert rows_of(session, "kind", "side", "price", "size")[3:] == [
        (K.CHANGE, SELL, 5000, 0),
        (K.CHANGE, BUY, 4700, 2_000_000),
        (K.CHANGE, SELL, 5100, 30_000_000),
        (K.TRADE, SELL, 5100, 3_000_000),
        (K.CHANGE, SELL, 5300, 1_000_000),
    ]


def test_a_stream_told_in_the_other_token_gives_the_same_rows(bench):
    def tell(wire: Wire, mirror: bool) -> list[dict]:
        def price(text: str) -> str:
            return f"{1 - float(text):.2f}" if mirror else text

        def side(text: str) -> str:
            return {"BUY": "SELL", "SELL": "BUY"}[text] if mirror else text

        token = NO if mirror else YES

        def book(bids: dict, asks: dict) -> dict:
            if mirror:
                bids, asks = ({price(p): s for p, s in asks.items()}, {price(p): s for p, s in bids.items()})
            return wire.book(bids, asks, token, tick_size="0.01", last_trade_price="0.5")

        return [
            book({"0.30": "10", "0.29": "5"}, {"0.33": "8"}),
            wire.change(wire.leg(price("0.31"), "6", side("BUY"), token)),
            wire.change(wire.leg(price("0.33"), "0", side("SELL"), token)),
            wire.trade(price("0.31"), "2.5", side("SELL"), token),
            book({"0.31": "3.5"}, {"0.34": "1"}),
        ]

    sessions = []
    for name, mirror in (("plain", False), ("other", True)):
        wire = Wire()
        frames = [wire.book({"0.3": "1"}, {"0.9": "1"}), *tell(wire, mirror)]
        sessions.append(bench.session(frames, name=name, replace=True))
    plain, other = sessions
    assert len(plain.events) > 10
    assert plain.events.tolist() == other.events.tolist()


def test_old_schema_changes_are_read_too(bench, wire):
    old = {
        "event_type": "price_change",
        "asset_id": YES,
        "market": wire.condition,
        "timestamp": str(T0 + 5),
        "hash": "h",
        "changes": [{"price": "0.47", "side": "BUY", "size": "3"}, {"price": "0.5", "side": "SELL", "size": "0"}],
    }
    session = bench.session([wire.book({"0.48": "10"}, {"0.5": "30", "0.51": "1"}), old])
    assert rows_of(session, "kind", "side", "price", "size", "flags")[4:] == [
        (K.CHANGE, BUY, 4700, 3_000_000, 0),
        (K.CHANGE, SELL, 5000, 0, LAST),
    ]


def test_an_array_frame_holds_several_messages_of_one_line(bench, wire):
    array = [wire.book({"0.48": "1"}, {"0.5": "1"}), wire.book({"0.5": "1"}, {"0.52": "1"}, NO)]
    bench.session([array])
    table = bench.catalog.table("x", "messages").to_pylist()
    assert [(row["line"], row["part"], row["n_rows"]) for row in table] == [(1, 0, 3), (1, 1, 1)]
    assert table[0]["sha256"] == table[1]["sha256"]


def test_best_quotes_that_agree_confirm_the_book_and_those_that_do_not_leave_it_old(bench, wire):
    session = bench.session(
        [wire.book({"0.48": "1"}, {"0.5": "1"}), wire.best("0.48", "0.5"), wire.best("0.48", "0.49")]
    )
    assert rows_of(session, "kind", "ref")[3:] == [(K.CHANGE, 1)]
    (finding,) = bench.quality()
    assert finding["kind"] == "quote_mismatch"
    assert finding["value"] == 100
    assert finding["line"] == 3
    assert bench.catalog.manifest("x")["best"] == {"checked": 2, "agreed": 1}


def test_quotes_of_the_no_token_are_compared_in_yes_space(bench, wire):
    session = bench.session([wire.book({"0.48": "1"}, {"0.5": "1"}), wire.best("0.5", "0.52", NO)])
    assert session.quality == {}


def test_both_tokens_announce_a_tick_change_and_one_row_says_it(bench, wire):
    session = bench.session(
        [
            wire.book({"0.96": "1"}, {"0.97": "1"}, tick_size="0.01", last_trade_price="0.9"),
            wire.tick("0.01", "0.001"),
            wire.tick("0.01", "0.001", NO),
            wire.change(wire.leg("0.965", "3", "BUY")),
        ]
    )
    assert rows_of(session, "kind", "price", "aux")[3:] == [(K.TICK_SIZE, 10, 100), (K.CHANGE, 9650, 0)]
    (info,) = session.markets
    assert (info.tick, info.grid) == (100, 10)
    assert "tick" not in info.assumed
    assert session.quality == {}


def test_a_price_off_the_tick_is_a_finding_and_gives_an_inferred_tick_change(bench, wire):
    session = bench.session([wire.book({"0.96": "1"}, {"0.97": "1"}), wire.change(wire.leg("0.965", "3", "BUY"))])
    assert rows_of(session, "kind", "price", "aux", "flags")[3:] == [
        (K.TICK_SIZE, 50, 100, INFERRED),
        (K.CHANGE, 9650, 0, LAST),
    ]
    assert session.quality == {"off_tick": 1, "tick_unannounced": 1}


def test_a_resolution_closes_the_market_with_its_payout(bench, wire):
    session = bench.session(
        [wire.book({"0.48": "1"}, {"0.5": "1"}, NO), wire.book({"0.48": "1"}, {"0.5": "1"}), wire.resolved(YES)]
    )
    # The NO token came first and is taken as YES: the winner is then the other one.
    assert rows_of(session, "kind", "price", "aux")[-2:] == [(K.STATUS, 0, Status.RESOLVED), (K.RESOLUTION, 0, 0)]
    assert "yes_token" in session.markets[0].assumed


def test_news_of_markets_that_are_not_recorded_gives_no_rows(bench, wire):
    other = wire.resolved("9") | {"market": "0x" + "cd" * 32, "assets_ids": ["9", "8"]}
    session = bench.session([wire.book({"0.48": "1"}, {"0.5": "1"}), other])
    assert len(session.events) == 3
    assert len(session.markets) == 1
    assert session.quality == {}


def test_a_new_market_message_tells_the_rules_of_its_market(bench, wire):
    new = {
        "event_type": "new_market",
        "market": wire.condition,
        "slug": "some-slug",
        "question": "Some?",
        "clob_token_ids": [NO, YES],
        "outcomes": ["Yes", "No"],
        "order_price_min_tick_size": "0.001",
        "fee_schedule": {"exponent": "1", "rate": "0.03", "taker_only": True, "rebate_rate": "0.25"},
        "event_message": {"id": "77"},
        "timestamp": str(T0),
    }
    session = bench.session([new, wire.book({"0.48": "1"}, {"0.5": "1"})])
    (info,) = session.markets
    assert (info.yes_token, info.no_token) == (NO, YES)  # index 0 is YES, whichever is seen first
    assert (info.slug, info.question, info.event_id) == ("some-slug", "Some?", "77")
    assert (info.tick, info.fee_rate, info.rebate_rate) == (10, 30_000, 250_000)
    assert rows_of(session, "kind", "side", "price")[1:] == [(K.LEVEL, BUY, 5000), (K.LEVEL, SELL, 5200)]


def test_a_repeated_message_is_not_applied_again(bench, wire):
    first = wire.book({"0.48": "1"}, {"0.5": "9"})
    trade = wire.trade("0.5", "3", "BUY")
    change = wire.change(wire.leg("0.47", "4", "BUY"))
    gone = wire.change(wire.leg("0.47", "0", "BUY"))
    session = bench.session([first, trade, trade, change, gone, change])
    assert rows_of(session, "kind", "price", "size")[3:] == [
        (K.TRADE, 5000, 3_000_000),
        (K.CHANGE, 4700, 4_000_000),
        (K.CHANGE, 4700, 0),
    ]
    assert [(row["kind"], row["line"], row["value"]) for row in bench.quality()] == [
        ("duplicate", 3, 1),
        ("duplicate", 6, 3),
    ]


def test_a_polled_book_that_is_the_same_again_is_news_of_its_age_not_a_duplicate(bench, wire):
    poll = wire.book({"0.48": "1"}, {"0.5": "1"}, hash="h", tick_size="0.01", last_trade_price="0.5")
    session = bench.session([poll, poll])
    assert session.quality == {}
    assert rows_of(session, "kind", "ref")[3:] == [(K.CHANGE, 1)]


def test_silence_is_a_gap_and_the_next_book_starts_afresh(bench, wire):
    book = {"0.48": "1"}, {"0.5": "1"}
    frames = [wire.book(*book), wire.change(wire.leg("0.47", "1", "BUY")), wire.book(*book)]
    session = bench.session(frames[:1] + frames[1:], name="short")
    assert GAP not in {int(f) & GAP for f in session.events["flags"]}
    (result,) = (bench.bring(lines_of(frames, every_ms=6_000), "long.jsonl"),)
    events = bench.catalog.load(result.name).events
    assert [(int(r["kind"]), int(r["flags"]) & GAP) for r in events][3:] == [
        (K.CHANGE, GAP),
        (K.BOOK_CLEAR, GAP),
        (K.LEVEL, 0),
        (K.LEVEL, 0),
    ]
    gaps = bench.quality("long")
    assert [(g["kind"], g["value"], g["ts_recv"]) for g in gaps] == [
        ("gap", 6_000 * NS, (T0 + 6_030) * NS),
        ("gap", 6_000 * NS, (T0 + 12_030) * NS),
    ]


def test_receive_times_that_run_backward_are_held_and_told(bench, wire):
    lines = lines_of([wire.book({"0.48": "1"}, {"0.5": "1"}), wire.change(wire.leg("0.47", "1", "BUY"))], every_ms=-10)
    result = bench.bring(lines)
    events = bench.catalog.load(result.name).events
    assert set(events["ts_recv"].tolist()) == {(T0 + 30) * NS}
    assert bench.catalog.table("x", "messages").column("ts_recv").to_pylist() == [(T0 + 30) * NS, (T0 + 20) * NS]
    assert result.manifest["quality"] == {"receive_time_backward": 1}


def test_venue_times_that_run_backward_are_told_and_kept(bench, wire):
    late, early = wire.book({"0.48": "1"}, {"0.5": "1"}), wire.change(wire.leg("0.47", "1", "BUY"))
    early["timestamp"] = str(T0 - 200)
    session = bench.session([late, early])
    assert int(session.events["ts_event"][-1]) == (T0 - 200) * NS
    (finding,) = bench.quality()
    assert (finding["kind"], finding["value"]) == ("venue_time_backward", 201 * NS)


def test_a_crossed_book_is_told_once_per_episode(bench, wire):
    session = bench.session(
        [
            wire.book({"0.48": "1"}, {"0.5": "1"}),
            wire.change(wire.leg("0.5", "1", "BUY")),
            wire.change(wire.leg("0.51", "1", "BUY")),
            wire.change(wire.leg("0.5", "0", "BUY"), wire.leg("0.51", "0", "BUY")),
            wire.change(wire.leg("0.5", "1", "BUY")),
        ]
    )
    assert session.quality == {"crossed_book": 2}


def test_changes_before_the_first_full_book_are_kept_and_told_once(bench, wire):
    session = bench.session([wire.change(wire.leg("0.4", "1", "BUY")), wire.change(wire.leg("0.41", "1", "BUY"))])
    assert rows_of(session, "kind", "price") == [(K.CHANGE, 4000), (K.CHANGE, 4100)]
    assert session.quality == {"no_snapshot": 1}
    assert any("no full book" in note for note in session.notes)


def test_trades_are_inferred_only_where_none_are_recorded(bench, wire):
    before, after = wire.book({"0.48": "10"}, {"0.5": "30"}), wire.book({"0.48": "10"}, {"0.5": "22"})
    guessed = bench.session([before, after], name="guessed")
    assert rows_of(guessed, "kind", "side", "price", "size", "flags")[3:] == [
        (K.TRADE, BUY, 5000, 8_000_000, INFERRED),
        (K.CHANGE, SELL, 5000, 22_000_000, SNAPSHOT | LAST),
    ]
    told = bench.session([before, wire.trade("0.5", "7.5", "BUY"), after], name="told", replace=True)
    assert rows_of(told, "kind", "size", "flags")[3:] == [
        (K.TRADE, 7_500_000, LAST),
        (K.CHANGE, 22_000_000, SNAPSHOT | LAST),
    ]


def test_a_dump_is_not_taken_for_the_book_after_a_trade(bench, wire):
    dump = wire.book({"0.48": "10"}, {"0.5": "22"}, tick_size="0.01", last_trade_price="0.5")
    session = bench.session([wire.book({"0.48": "10"}, {"0.5": "30"}), dump])
    assert K.TRADE not in session.events["kind"]


def _bad(kind, **fields):
    return {"event_type": kind, "asset_id": YES, "timestamp": str(T0), **fields}


@pytest.mark.parametrize(
    ("frame", "kind", "says"),
    [
        (_bad("book", bids=[]), "malformed", "sells"),
        (_bad("book", bids=[{"price": "0.5"}], asks=[]), "malformed", "size"),
        (_bad("book", bids=[{"price": "x", "size": "1"}], asks=[]), "malformed", "x"),
        (_bad("price_change", price_changes=[]), "malformed", "no changes"),
        (_bad("price_change", price_changes=5), "malformed", "int"),
        (_bad("price_change", changes=[{"price": "0.5", "size": "1", "side": "UP"}]), "malformed", "UP"),
        (_bad("price_change", changes=[{"price": "1", "size": "1", "side": "BUY"}]), "malformed", "outside the book"),
        (_bad("last_trade_price", price="1.5", size="1", side="BUY"), "malformed", "1.5"),
        (_bad("last_trade_price", price="0.5", size="-1", side="BUY"), "malformed", "negative"),
        (_bad("tick_size_change", old_tick_size="0.01", new_tick_size="0.3"), "malformed", "0.3"),
        (_bad("book", bids=[], asks=[], tick_size="0"), "malformed", "divide"),
        (_bad("book", bids=[{"price": "0.5", "size": "1e30"}], asks=[]), "malformed", "too large"),
        (_bad("best_bid_ask"), "malformed", "best_bid"),
        (_bad("best_bid_ask", timestamp="99999"), "malformed", "2017"),
        (_bad("new_market", market="0x1", clob_token_ids=["1"]), "malformed", "two tokens"),
        (_bad("surprise"), "unknown_type", "surprise"),
        (_bad(["book"]), "unknown_type", "book"),
        (_bad("book", asset_id=7, bids=[], asks=[]), "unknown_token", "7"),
    ],
)
def test_a_message_that_cannot_be_read_is_told_with_its_line_and_the_rest_goes_on(bench, wire, frame, kind, says):
    good = wire.book({"0.48": "1"}, {"0.5": "1"})
    session = bench.session([good, frame, wire.change(wire.leg("0.47", "1", "BUY"))])
    bad = [row for row in bench.quality() if row["kind"] == kind]
    assert [row["line"] for row in bad] == [2]
    assert says in bad[0]["detail"]
    assert rows_of(session, "kind", "price")[-1] == (K.CHANGE, 4700)


def test_a_broken_change_leaves_the_book_as_it_was(bench, wire):
    good = wire.book({"0.48": "1"}, {"0.5": "1"})
    half = wire.change(wire.leg("0.47", "1", "BUY"), wire.leg("0.46", "many", "BUY"))
    session = bench.session([good, half])
    assert len(session.events) == 3
    assert session.quality == {"malformed": 1}


def test_a_third_token_of_a_market_is_told(bench, wire):
    frames = [wire.book({"0.48": "1"}, {"0.5": "1"}, token) for token in (YES, NO, "333")]
    assert bench.session(frames).quality["unknown_token"] == 1


def test_levels_at_price_zero_or_one_are_left_out_and_told(bench, wire):
    session = bench.session([wire.book({"0": "1", "0.48": "1"}, {"0.5": "1", "1": "4", "0.6": "0"})])
    assert rows_of(session, "price")[1:] == [(4800,), (5000,)]
    assert session.quality == {"off_tick": 2}


def test_every_recording_made_here_holds_against_its_own_messages(bench, wire):
    bench.session(
        [
            wire.book({"0.48": "10", "0.47": "20"}, {"0.5": "30"}),
            wire.change(wire.leg("0.49", "1", "BUY", best_bid="0.49", best_ask="0.5")),
            wire.best("0.1", "0.9"),
            wire.book({"0.48": "9"}, {}),
            wire.best("0.48", "1"),
        ]
    )
    verdict = check("x", root=bench.root, sources=bench.folder)
    assert verdict.ok
    assert (verdict.books_compared, verdict.quotes_compared, verdict.quotes_agreed) == (2, 3, 2)


def test_replay_knows_an_empty_side():
    assert Replay().best(0) == (0, 10_000)
