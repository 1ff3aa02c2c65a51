"""The made-up market: the same bytes for a seed, wire format that imports without a word, everything in it once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson
import pytest
import zstandard

from polytraders.data.catalog import Catalog
from polytraders.data.checks import check
from polytraders.data.importer import import_files
from polytraders.data.plot import top_of_book
from polytraders.data.synth import GAP_S, synthesise
from polytraders.errors import UsageError
from polytraders.rows import EventKind, Flag


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A session of 30 minutes and 5 markets, imported."""
    folder = tmp_path_factory.mktemp("synth")
    paths = synthesise(folder / "data", seed=7, minutes=30, markets=5)
    (result,) = import_files(paths[:1], root=folder / "catalog", gap_s=30).recordings
    return paths, result, Catalog(folder / "catalog")


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    one, two, three = (synthesise(tmp_path / name, seed, 3, 4) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert one[0].read_bytes() != three[0].read_bytes()


def test_every_message_type_occurs_and_every_hash_verifies(made):
    _, result, _ = made
    kinds = result.manifest["kinds"]
    assert set(kinds) == {
        "book",
        "price_change",
        "last_trade_price",
        "best_bid_ask",
        "tick_size_change",
        "market_resolved",
    }
    assert kinds["tick_size_change"] == 2
    assert kinds["market_resolved"] == 1
    hashes = result.manifest["hashes"]
    assert hashes["verified"] > 4_000
    assert hashes["mismatch"] == hashes["unknown"] == 0


def test_its_quality_rows_are_the_faults_put_in(made):
    _, result, catalog = made
    assert set(result.manifest["quality"]) <= {"gap", "duplicate", "quote_mismatch"}
    assert result.manifest["quality"]["gap"] == 1
    assert result.manifest["quality"]["duplicate"] > 5
    assert result.manifest["quality"].get("quote_mismatch", 0) < 10  # just after the silence, before the fresh books
    (gap,) = [row for row in catalog.table(result.name, "quality").to_pylist() if row["kind"] == "gap"]
    assert GAP_S * 0.95e9 < gap["value"] < GAP_S * 1.2e9
    assert result.problems == ()


def test_its_rows_hold_against_its_messages(made):
    paths, result, catalog = made
    verdict = check(result.name, root=catalog.root, sources=paths[0].parent)
    assert verdict.ok, verdict.problems
    assert verdict.quotes_agreed > 0.999 * verdict.quotes_compared
    assert verdict.sources_checked == 2


def test_markets_come_with_their_rules_and_one_neg_risk_event(made):
    _, result, catalog = made
    markets = catalog.markets(result.name)
    assert len(markets) == 5
    assert all(info.assumed == ("taker_delay",) for info in markets)  # no market message states it
    event = [info for info in markets if info.neg_risk]
    assert len(event) == 3
    assert len({info.event_id for info in event}) == 1
    assert len({info.event_id for info in markets}) == 3


def test_the_outcomes_of_the_event_cost_about_one_together(made):
    _, result, catalog = made
    session = catalog.load(result.name)
    total = 0.0
    for at in (at for at, info in enumerate(session.markets) if info.neg_risk):
        ts, bid, ask = top_of_book(session.events, at)
        total += float(np.average((bid + ask) / 2, weights=np.append(np.diff(ts), 0)))
    assert 9_700 < total < 10_300


def test_a_maker_has_something_to_do(made):
    _, result, catalog = made
    session = catalog.load(result.name)
    for at in range(5):
        ts, bid, ask = top_of_book(session.events, at)
        spread = (ask - bid)[:-1]
        assert spread.min() > 0
        mean = np.average(spread, weights=np.diff(ts))
        assert 100 < mean < 400  # one to four cents
        trades = session.events[(session.events["kind"] == EventKind.TRADE) & (session.events["market"] == at)]
        assert len(trades) > 300
        assert 0.3 < trades["side"].mean() < 0.7
    assert session.events["flags"][session.events["kind"] == EventKind.TRADE].max() & Flag.INFERRED == 0


def test_one_market_resolves_after_its_tick_became_finer(made):
    _, result, catalog = made
    events = catalog.load(result.name).events
    (tick,) = events[events["kind"] == EventKind.TICK_SIZE]
    (resolution,) = events[events["kind"] == EventKind.RESOLUTION]
    assert (tick["price"], tick["aux"]) == (10, 100)
    assert resolution["price"] == 10_000
    assert tick["market"] == resolution["market"]
    assert tick["ts_recv"] < resolution["ts_recv"]
    after = events[(events["market"] == tick["market"]) & (events["seq"] > resolution["seq"])]
    assert len(after) == 0


def test_it_says_that_it_is_made_up(made):
    paths, _, _ = made
    assert "synthetic" in paths[0].name
    assert all(
        market["synthetic"] and market["slug"].startswith("synthetic-")
        for market in orjson.loads(paths[1].read_bytes())
    )


def test_frames_have_the_fields_of_the_venue(made):
    paths, _, _ = made
    data = zstandard.ZstdDecompressor().stream_reader(paths[0].open("rb")).read()
    shapes: dict[str, set[tuple[str, ...]]] = {}
    legs = Counter()
    for line in data.splitlines():
        frame = orjson.loads(line)["frame"]
        for message in frame if isinstance(frame, list) else [frame]:
            shapes.setdefault(message["event_type"], set()).add(tuple(sorted(message)))
            if message["event_type"] == "price_change":
                legs[len(message["price_changes"]), *sorted(message["price_changes"][0])] += 1
    book = ("asks", "asset_id", "bids", "event_type", "hash", "market", "timestamp")
    assert shapes["book"] == {book, tuple(sorted((*book, "tick_size", "last_trade_price")))}
    assert set(legs) == {(2, "asset_id", "best_ask", "best_bid", "hash", "price", "side", "size")}
    assert len(shapes["last_trade_price"]) == len(shapes["best_bid_ask"]) == 1


@pytest.mark.parametrize(("minutes", "markets"), [(1, 5), (30, 3)])
def test_too_small_a_session_is_refused(tmp_path, minutes, markets):
    with pytest.raises(UsageError, match="at least 4 markets and 2 minutes"):
        synthesise(tmp_path, 1, minutes, markets)
