"""The venue's book hash: known answers, and what it gives away."""

from __future__ import annotations

import hashlib

import orjson
import pytest
from wire import CONDITION, NO, YES

from polytraders.data.bookhash import PATIENCE, Verdict, full_hash, verify
from polytraders.data.markets import Market

# Known answers of the official client's own tests.
KNOWN = {"market": "0xaabbcc", "asset_id": "100", "timestamp": "123456789"}
LEVELS = {
    "bids": [{"price": "0.3", "size": "100"}, {"price": "0.4", "size": "100"}],
    "asks": [{"price": "0.6", "size": "100"}, {"price": "0.7", "size": "100"}],
}


def test_the_recipe_gives_the_official_answers():
    assert full_hash(KNOWN | LEVELS, "100", 100, False, "0.5") == "0458ea5755c9f73d64a14636fa5c36ed460ec394"
    assert (
        full_hash(KNOWN | {"bids": [], "asks": []}, "100", 100, False, "") == "6948261b907ad81475285e1f929d4013aec07795"
    )


def test_the_vectors_of_the_shared_folder_agree(shared):
    vectors = orjson.loads(shared("venue/vectors.json").read_bytes())["book_hash"]
    assert len(vectors) >= 2
    for vector in vectors:
        told = vector["input"]
        tick = round(float(told["tick_size"]) * 10_000)
        assert (
            full_hash(told, told["min_order_size"], tick, told["neg_risk"], told["last_trade_price"]) == vector["sha1"]
        )


def _pushed(last_trade, tick="0.01", neg_risk=False, least="5", token=YES):
    """A book as it is pushed after a trade: hashed with four values that it does not carry."""
    body = {"market": CONDITION, "asset_id": token, "timestamp": "1776323404879", "hash": "", **LEVELS}
    rest = {"min_order_size": least, "tick_size": tick, "neg_risk": neg_risk, "last_trade_price": last_trade}
    digest = hashlib.sha1(orjson.dumps(body | rest)).hexdigest()
    return body | {"hash": digest, "event_type": "book"}


@pytest.mark.parametrize(
    ("frame", "verdict", "least", "neg_risk"),
    [
        (_pushed("0.630"), Verdict("verified", 100, 6300), 5_000_000, False),
        (_pushed("0.630", neg_risk=True), Verdict("verified", 100, 6300), 5_000_000, True),
        (_pushed("0.971", tick="0.001"), Verdict("verified", 10, 9710), 5_000_000, False),
        (_pushed("0.10", least="1"), Verdict("unknown"), None, None),  # two decimals: not how the venue spells it
        (_pushed("0.100", least="1"), Verdict("verified", 100, 1000), 1_000_000, False),
        (_pushed(""), Verdict("verified", 100, -1), 5_000_000, False),
    ],
)
def test_a_pushed_book_tells_what_it_does_not_carry(frame, verdict, least, neg_risk):
    market = Market(CONDITION)
    assert verify(frame, market) == verdict
    assert (market.min_size, market.neg_risk) == (least, neg_risk)


def test_once_a_market_reproduces_a_book_that_does_not_is_a_mismatch():
    market = Market(CONDITION)
    assert verify(_pushed("0.630"), market).state == "verified"
    damaged = _pushed("0.630") | {"bids": LEVELS["bids"][:1]}
    assert verify(damaged, market) == Verdict("mismatch")
    assert verify(_pushed("0.640"), market) == Verdict("verified", 100, 6400)
    assert market.last_trade == "0.640"


def test_a_market_that_never_reproduces_is_given_up():
    market = Market(CONDITION)
    for _ in range(PATIENCE + 3):
        assert verify(_pushed("0.630") | {"hash": "0" * 40}, market) == Verdict("unknown")
    assert verify(_pushed("0.630"), market) == Verdict("unknown")


def test_a_hash_that_does_not_fit_is_a_finding(bench, wire):
    good = wire.book({"0.3": "100"}, {"0.7": "100"}, tick_size="0.01", last_trade_price="0.500", hash="")
    good["hash"] = full_hash(good, "5", 100, False, "0.500")
    bad = wire.book({"0.3": "90"}, {"0.7": "100"}, hash=good["hash"])
    session = bench.session([good, bad])
    assert session.quality == {"hash_mismatch": 1}
    assert bench.catalog.manifest("x")["hashes"] == {"verified": 1, "mismatch": 1, "unknown": 0}


def test_a_tick_change_that_only_the_hash_tells_gives_an_inferred_row(bench, wire):
    frames = []
    for tick, last in ((100, "0.970"), (10, "0.970")):
        book = wire.book({"0.96": "100"}, {"0.97": "100"}, NO, hash="")
        frames.append(book | {"hash": full_hash(book, "5", tick, False, last)})
    session = bench.session(frames)
    ticks = session.events[session.events["kind"] == 5]
    assert [(int(r["price"]), int(r["aux"]), int(r["flags"])) for r in ticks] == [(10, 100, 4)]
    assert session.quality == {"tick_unannounced": 1}
    assert (session.markets[0].tick, session.markets[0].grid) == (100, 10)
