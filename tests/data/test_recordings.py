"""The importer on real recordings: pinned counts, and books that are exactly those of the source."""

from __future__ import annotations

import csv
import io
from collections import Counter

import numpy as np
import orjson
import pytest
import zstandard

from polytraders.data.checks import Replay, check
from polytraders.rows import EVENT, EventKind, Flag
from polytraders.units import ONE, price_pips, size_micro

PINNED = {
    "april": {
        "rows": 369_482,
        "messages": 26_917,
        "markets": 6,
        "kinds": {"book": 26_912, "inferred_payoff": 5},
        "trades": {"recorded": 0, "inferred": 18_627},
        "best": {"checked": 0, "agreed": 0},
        "hashes": {"verified": 26_912, "mismatch": 0, "unknown": 0},
        "quality": {"gap": 3, "trade_unsized": 7_676},
    },
    "capture": {
        "rows": 5_797,
        "messages": 5_544,
        "markets": 2,
        "kinds": {"best_bid_ask": 144, "book": 144, "last_trade_price": 71, "price_change": 5_185},
        "trades": {"recorded": 71, "inferred": 0},
        "best": {"checked": 5_328, "agreed": 5_319},
        "hashes": {"verified": 144, "mismatch": 0, "unknown": 0},
        "quality": {
            "crossed_book": 1,
            "duplicate": 1,
            "no_snapshot": 1,
            "quote_mismatch": 9,
            "venue_time_backward": 1_027,
        },
    },
    "session": {
        "rows": 22_706,
        "messages": 2_097,
        "markets": 3,
        "kinds": {
            "book": 540,
            "new_market": 17,
            "out_of_scope:binance": 300,
            "out_of_scope:coinbase": 300,
            "out_of_scope:polymarket_rtds_chainlink": 900,
            "price_change": 40,
        },
        "trades": {"recorded": 0, "inferred": 0},
        "best": {"checked": 40, "agreed": 40},
        "hashes": {"verified": 540, "mismatch": 0, "unknown": 0},
        "quality": {"gap": 119},
    },
    "sd-lad": {
        "rows": 13_518,
        "messages": 7_884,
        "markets": 1,
        "kinds": {"book": 408, "price_change": 7_476},
        "trades": {"recorded": 0, "inferred": 128},
        "best": {"checked": 0, "agreed": 0},
        "hashes": {"verified": 0, "mismatch": 0, "unknown": 408},
        "quality": {"crossed_book": 2, "gap": 161, "off_tick": 1, "tick_unannounced": 1},
    },
    "bos-laa": {
        "rows": 18_904,
        "messages": 9_825,
        "markets": 1,
        "kinds": {"book": 236, "price_change": 9_589},
        "trades": {"recorded": 0, "inferred": 30},
        "best": {"checked": 0, "agreed": 0},
        "hashes": {"verified": 0, "mismatch": 0, "unknown": 236},
        "quality": {"gap": 520},
    },
    "tb-kc": {
        "rows": 12_050,
        "messages": 6_590,
        "markets": 1,
        "kinds": {"book": 142, "price_change": 6_448},
        "trades": {"recorded": 0, "inferred": 20},
        "best": {"checked": 0, "agreed": 0},
        "hashes": {"verified": 0, "mismatch": 0, "unknown": 142},
        "quality": {"crossed_book": 1, "gap": 280},
    },
    "legacy": {
        "rows": 6_129,
        "messages": 3_829,
        "markets": 1,
        "kinds": {"price_change": 3_829},
        "trades": {"recorded": 0, "inferred": 0},
        "best": {"checked": 0, "agreed": 0},
        "hashes": {"verified": 0, "mismatch": 0, "unknown": 0},
        "quality": {"crossed_book": 1, "gap": 254, "no_snapshot": 1},
    },
    "tickscope": {
        "rows": 103_657,
        "messages": 103_666,
        "markets": 6,
        "kinds": {"last_trade_price": 483, "price_change": 103_183},
        "trades": {"recorded": 482, "inferred": 0},
        "best": {"checked": 103_174, "agreed": 88_793},
        "hashes": {"verified": 0, "mismatch": 0, "unknown": 0},
        "quality": {
            "crossed_book": 24,
            "duplicate": 10,
            "no_snapshot": 6,
            "off_tick": 1,
            "quote_mismatch": 14_381,
            "receive_time_backward": 1_912,
            "tick_unannounced": 1,
            "venue_time_backward": 108,
        },
    },
}


@pytest.mark.parametrize("which", PINNED)
def test_a_real_recording_gives_the_pinned_counts(real, which):
    imported, _, _ = real(which)
    assert imported.status == "imported"
    assert {key: imported.manifest[key] for key in PINNED[which]} == PINNED[which]
    assert imported.problems == ()


@pytest.mark.parametrize("which", PINNED)
def test_a_real_recording_holds_against_its_own_messages_and_sources(real, which):
    imported, catalog, source = real(which)
    verdict = check(imported.name, root=catalog.root, sources=source.parent)
    assert verdict.ok, verdict.problems
    books = PINNED[which]["kinds"].get("book", 0)
    assert verdict.books_compared == verdict.books_equal == books
    assert (verdict.quotes_compared, verdict.quotes_agreed) == tuple(PINNED[which]["best"].values())
    assert verdict.sources_checked >= 1
    assert verdict.sources_missing == ()


def _decoded(path):
    return io.BufferedReader(zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(path.open("rb")))


def test_replayed_rows_are_exactly_the_books_of_the_source_file(real):
    imported, catalog, source = real("april")
    session = catalog.load(imported.name)
    messages = catalog.table(imported.name, "messages").to_pydict()
    place = {info.yes_token: (at, True) for at, info in enumerate(session.markets)}
    place |= {info.no_token: (at, False) for at, info in enumerate(session.markets) if info.no_token}
    events = session.events
    rows = list(zip(*(events[c].tolist() for c in ("kind", "market", "side", "price", "size")), strict=True))
    replay, compared = Replay(), 0
    for number, line in enumerate(_decoded(source)):
        raw = orjson.loads(line)["raw"]
        first, count = messages["first_seq"][number], messages["n_rows"][number]
        for row in rows[first : first + count]:
            replay.apply(row)
        if number % 7 and number > 2_000:  # every book of the first 2,000, then one in seven
            continue
        market, yes = place[raw["asset_id"]]
        bids, asks = ({price_pips(x["price"]): size_micro(x["size"]) for x in raw[side]} for side in ("bids", "asks"))
        if not yes:
            bids, asks = ({ONE - p: s for p, s in side.items()} for side in (asks, bids))
        assert replay.books[market] == (bids, asks), f"line {number + 1}"
        compared += 1
    assert compared == 2_001 + len(range(2_002, 26_912, 7))


def test_a_level_csv_replays_to_the_books_of_both_tokens(real):
    imported, catalog, source = real("sd-lad")
    session = catalog.load(imported.name)
    table = list(csv.DictReader(io.TextIOWrapper(_decoded(source))))
    books: dict[int, tuple[str, dict[int, int], dict[int, int]]] = {}
    number, key = -1, None
    for row in table:
        now = row["asset_id"], row["event_type"], row["hash"], row["timestamp"]
        number, key = number + (now != key), now
        if row["event_type"] == "book":
            _, bids, asks = books.setdefault(number, (row["asset_id"], {}, {}))
            (bids if row["side"] == "bid" else asks)[price_pips(row["price"])] = size_micro(row["size"])
    replay, at = Replay(), 0
    yes = session.markets[0].yes_token
    for row in session.events.tolist():
        if at != row[7] and at in books:
            token, bids, asks = books.pop(at)
            told = (
                (bids, asks)
                if token == yes
                else ({ONE - p: s for p, s in asks.items()}, {ONE - p: s for p, s in bids.items()})
            )
            assert replay.books[0] == told
        at = row[7]
        replay.apply((row[8], row[6], row[9], row[3], row[4]))
    assert len(books) <= 1  # all but perhaps the last were compared


def test_rows_are_ordered_and_loaded_whole(real):
    imported, catalog, _ = real("april")
    events = catalog.load(imported.name).events
    assert events.dtype == EVENT
    assert events.flags.c_contiguous
    assert len(events) == 369_482
    assert np.all(np.diff(events["ts_recv"]) >= 0)
    assert np.array_equal(events["seq"], np.arange(len(events)))
    bounds = np.append(events["ref"][1:] != events["ref"][:-1], True)
    assert np.array_equal(bounds, events["flags"] & Flag.LAST != 0)


def test_inferred_trades_stand_before_the_changes_of_their_message_and_say_so(real):
    imported, catalog, _ = real("april")
    session = catalog.load(imported.name)
    events = session.events
    trades = np.flatnonzero(events["kind"] == EventKind.TRADE)
    assert np.all(events["flags"][trades] & Flag.INFERRED)
    assert not np.any(events["flags"][trades] & Flag.LAST)
    assert np.all(events["ref"][trades] == events["ref"][trades + 1])
    assert not np.any(events["ref"][trades] == events["ref"][trades - 1])
    assert any("18,627 trades are inferred" in note for note in session.notes)


def test_a_resolution_inferred_by_a_sidecar_is_flagged_and_comes_at_the_end(real):
    imported, catalog, _ = real("april")
    session = catalog.load(imported.name)
    found = session.events[session.events["kind"] == EventKind.RESOLUTION]
    assert len(found) == 5
    for row in found:
        info = session.markets[row["market"]]
        rest = session.events[
            (session.events["market"] == row["market"]) & (session.events["kind"] != EventKind.RESOLUTION)
        ]
        assert row["ts_recv"] == max(info.end_ts, int(rest["ts_recv"][-1]) + 1_000_000_000)
        assert row["flags"] & Flag.INFERRED
        assert row["price"] in (0, ONE)
    assert any("5 of 6 resolutions are inferred" in note for note in session.notes)


def test_market_rules_come_from_the_recording_where_it_tells_them(real):
    _, catalog, _ = real("session")
    (info, *_) = catalog.markets("session")
    assert info.slug == "btc-updown-15m-1777514400"
    assert info.yes_token.startswith("9114")
    assert (info.fee_rate, info.fee_exponent, info.rebate_rate) == (72_000, 1, 200_000)
    assert (info.tick, info.min_size, info.neg_risk) == (100, 5_000_000, False)
    assert info.end_ts == 1_777_515_300_000_000_000
    assert info.assumed == ("taker_delay",)  # the one rule its metadata does not name
    _, catalog, _ = real("april")
    (info, *_) = catalog.markets("april")
    assert info.end_ts == (1_776_094_500 + 300) * 1_000_000_000
    assert info.assumed == ("fee_exponent", "fee_rate", "rebate_rate", "taker_delay", "yes_token")
    assert info.fee_rate == 72_000  # the rule of 13 April 2026


def test_market_rules_are_assumed_by_name_where_nothing_tells_them(real):
    _, catalog, _ = real("sd-lad")
    (info,) = catalog.markets("sd-lad")
    assert (info.tick, info.grid) == (100, 10)
    assert info.fee_rate == 0  # June 2025: no fees yet
    assert {"fee_rate", "min_size", "neg_risk", "tick", "yes_token", "end_ts"} <= set(info.assumed)


def test_the_reported_best_quotes_of_the_capture_agree_but_for_known_cases(real):
    _, catalog, _ = real("capture")
    quality = catalog.table("capture", "quality").to_pydict()
    messages = catalog.table("capture", "messages").to_pydict()
    off = Counter(
        messages["kind"][message]
        for kind, message in zip(quality["kind"], quality["message"], strict=True)
        if kind == "quote_mismatch"
    )
    # Three changes come before the market's first full book; the rest are the transient ones of reordered shards.
    assert off == {"price_change": 5, "best_bid_ask": 4}
