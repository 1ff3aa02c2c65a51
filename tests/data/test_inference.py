"""Inferred trades: the rule by hand-made books, and its quality against trades that were recorded."""

from __future__ import annotations

import orjson
import pytest
import zstandard

from polytraders.data import bookhash
from polytraders.data.inference import PROVEN, UNPROVEN, InferredTrade, infer_trade
from polytraders.rows import EventKind, Side

BUY, SELL = Side.BUY, Side.SELL
S = 1_000_000


@pytest.mark.parametrize(
    ("before", "after", "last_trade", "expected"),
    [
        # Without a proven price: what the top of one side lost.
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 10 * S}, {5000: 22 * S}), None, (5000, 8 * S, BUY)),
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 4 * S}, {5000: 30 * S}), None, (4800, 6 * S, SELL)),
        # Two levels eaten: the worse price, the sum.
        (({4800: 10 * S}, {5000: 3 * S, 5100: 9 * S}), ({4800: 10 * S}, {5100: 4 * S}), None, (5100, 8 * S, BUY)),
        # A loss behind the new best is a cancel.
        (({4800: 5 * S, 4700: 9 * S}, {5000: S}), ({4800: 5 * S, 4700: S}, {5000: S}), None, None),
        # Both sides lost: the larger loss.
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 8 * S}, {5000: 20 * S}), None, (5000, 10 * S, BUY)),
        # Nothing removed: no trade.
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 12 * S}, {5000: 31 * S}), None, None),
        # A side swept clean.
        (({4800: 10 * S}, {}), ({}, {}), None, (4800, 10 * S, SELL)),
        # A proven price decides, whichever token it is told in.
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 1 * S}, {5000: 29 * S}), 5000, (5000, 1 * S, BUY)),
        (({8600: 10 * S}, {8700: 30 * S}), ({8600: 1 * S}, {8700: 29 * S}), 1300, (8700, 1 * S, BUY)),
        (({8600: 10 * S}, {8700: 30 * S}), ({8600: 1 * S}, {8700: 29 * S}), 1400, (8600, 9 * S, SELL)),
        # p and 1 - p are both touches: the one that lost more.
        (({4900: 10 * S}, {5100: 30 * S}), ({4900: 4 * S}, {5100: 29 * S}), 4900, (4900, 6 * S, SELL)),
        # Proven, but its size left no trace: said so by size 0.
        (({4800: 10 * S}, {5000: 30 * S}), ({4800: 10 * S}, {5000: 33 * S}), 5000, (5000, 0, BUY)),
        (({}, {}), ({}, {}), 5000, None),
    ],
)
def test_the_trade_between_two_books(before, after, last_trade, expected):
    found = infer_trade(*before, *after, last_trade)
    assert found == (None if expected is None else InferredTrade(*expected))


# -- against recorded trades ---------------------------------------------------------------------

UP = "45936375922793925919605092352922707796689801895417366600539442410775071099958"


@pytest.fixture(scope="module")
def real_trades(real):
    _, catalog, _ = real("capture")
    session = catalog.load("capture", markets=["btc-updown-5m-1776808200"])
    return session.events[session.events["kind"] == EventKind.TRADE]


@pytest.fixture
def hidden(real, bench):
    """The capture with everything hidden but the books of one token: what a book stream is."""
    _, _, source = real("capture")
    lines = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(source.open("rb")).read().splitlines()
    kept = [
        line
        for line in lines
        if (p := orjson.loads(line)["payload"])["event_type"] == "book" and p["asset_id"] == UP
    ]  # fmt: skip
    assert len(kept) == 71

    def bring():
        events = bench.catalog.load(bench.bring(b"\n".join(kept)).name).events
        return events[events["kind"] == EventKind.TRADE]

    return bring


def _score(found, real):
    """(found, in time, price and side right, size exact to 0.01, size found, size real), each real trade used once."""
    free = list(range(len(real)))
    in_time = right = exact = 0
    for trade in found:
        near = [at for at in free if 0 <= real[at]["ts_event"] - trade["ts_event"] <= 60_000_000]
        if not near:
            continue
        in_time += 1
        same = [at for at in near if (real[at]["price"], real[at]["side"]) == (trade["price"], trade["side"])]
        at = (same or near)[0]
        free.remove(at)
        right += bool(same)
        exact += bool(same) and abs(int(real[at]["size"]) - int(trade["size"])) <= 10_000
    return len(found), in_time, right, exact, int(found["size"].sum()), int(real["size"].sum())


def test_with_hashes_inferred_trades_have_the_stated_quality(hidden, real_trades):
    found, in_time, right, exact, size, real_size = _score(hidden(), real_trades)
    assert (found, in_time, right, exact, len(real_trades)) == (49, 49, 49, 19, 71)
    assert (size, real_size) == (2_685_430_000, 867_662_281)
    precision, recall = right / found, right / len(real_trades)
    assert (precision, round(recall, 2), round(size / real_size, 1)) == (1.0, 0.69, 3.1)
    for figure in ("71 recorded", "49 found", "right in all of them", "exact in 19", "3.1 times"):
        assert figure in PROVEN


def test_without_hashes_inferred_trades_have_the_stated_quality(hidden, real_trades, monkeypatch):
    monkeypatch.setattr(bookhash, "verify", lambda frame, market: bookhash.Verdict("unknown"))
    found, in_time, right, exact, size, real_size = _score(hidden(), real_trades)
    assert (found, in_time, right, exact) == (51, 51, 37, 10)
    precision, recall = right / found, right / len(real_trades)
    assert (round(precision, 2), round(recall, 2), round(size / real_size, 1)) == (0.73, 0.52, 4.1)
    for figure in ("51 found", "right in 37", "4.1 times"):
        assert figure in UNPROVEN


def test_the_unsized_are_told(hidden, bench):
    assert len(hidden()) == 49
    assert bench.catalog.manifest("x")["quality"] == {"trade_unsized": 21}
    assert any("21 more trades are proven" in note for note in bench.catalog.manifest("x")["notes"])
