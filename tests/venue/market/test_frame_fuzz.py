"""Changed frames of the market channel and changed words about our orders: no crash, nothing wrong booked.

The campaigns are `bench.fuzz`; the long ones of it are what BENCHMARKS.md shows.
"""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace

import orjson
import pytest

from bench.fuzz import account
from bench.fuzz.__main__ import everything
from bench.fuzz.frames import ENV, START, Truth, campaign, info
from polytraders.venue.polymarket.market_stream import MarketStream
from polytraders.venue.polymarket.tracking import Tracker


def offline(number=2):
    """A stream without a network whose markets are up: (stream, shard, truth, what it said)."""
    infos, said = [info(k) for k in range(1, number + 1)], []
    stream = MarketStream(ENV, infos, said.append, clock=lambda: START * 10**6)
    stream._note({"event_type": "recorder"})
    stream.follow(infos)
    (shard,) = stream._shards
    shard.socket = SimpleNamespace(transport=SimpleNamespace(abort=lambda: None))
    truth = Truth(infos, random.Random(1))
    stream._frame(shard, orjson.dumps([truth.book(at) for at in range(number)]))
    assert stream.up()
    return stream, shard, truth


def test_a_book_that_does_not_fit_its_hash_takes_its_market_down_but_not_for_ever():
    async def work():
        stream, shard, truth = offline()
        good = truth.book(0)
        for name, value in (
            ("min_order_size", "5"),
            ("tick_size", "0.01"),
            ("neg_risk", False),
            ("last_trade_price", ""),
        ):
            good[name] = value
        from polytraders.data.bookhash import full_hash

        good["hash"] = full_hash(good, "5", 100, False, "")
        stream._frame(shard, orjson.dumps(good))
        assert stream.up()
        seen = []
        for number in range(5):
            bad = {**good, "timestamp": str(truth.ms + number), "hash": "0" * 40}
            stream._frame(shard, orjson.dumps(bad))
            seen.append((stream.up(0), stream.up(1)))
        await stream._read.close()
        return seen, stream.counts

    seen, counts = asyncio.run(work())
    assert seen == [(False, True)] * 3 + [(True, True)] * 2
    assert counts["hash_mismatch"] == 5


@pytest.mark.parametrize(("told", "kicked"), [([{"asset_id": "1"}], True), ([], False)])
def test_a_connection_that_withholds_a_book_the_venue_has_is_dropped(told, kicked):
    async def work():
        stream, shard, _ = offline()

        async def answer(url, body=None):
            return told

        await stream._read.close()
        stream._read = SimpleNamespace(json=answer)
        one = shard.followed[0]
        stream._down([one], "INTEL_BOOK_DISAGREES", "a test")
        await stream._missing(shard, one)
        return shard.kicked is not None, stream.up(1)

    assert asyncio.run(work()) == (kicked, not kicked)


def test_changed_frames_never_give_a_wrong_book():
    counts, changed, down, looks = asyncio.run(campaign(4_000, 1))
    assert changed > 1_600 and looks > 2_000
    assert 0.02 < down < 0.7, "a stream that is always down proves nothing, nor one that never is"
    assert {"malformed", "not_json", "INTEL_FRAME_UNREADABLE"} <= counts.keys()


def test_changed_words_about_orders_book_nothing_that_cannot_be():
    counts = asyncio.run(account.campaign(1_500, 1))
    assert counts["rows booked"] > 500 and counts["no JSON"] > 100
    assert {f"trade refused: {why}" for why in ("beyond its size", "no price", "beyond its price")} <= counts.keys()


def test_changed_answers_prove_nothing_that_they_do_not_say():
    counts = asyncio.run(account.answers(2_000, 1))
    assert min(counts[f"order {state}"] for state in ("open", "over", "unknown")) > 50
    assert counts["balances: EXEC_VENUE_UNREACHABLE"] and counts["open orders: EXEC_VENUE_UNREACHABLE"]


def test_the_campaign_finds_a_tracker_that_books_what_cannot_be(monkeypatch):
    monkeypatch.setattr(Tracker, "_cannot_be", staticmethod(lambda order, leg, fresh: ""))
    with pytest.raises(AssertionError):
        asyncio.run(account.campaign(1_500, 1))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_every_campaign_at_length(seed):
    made = everything(100_000, 100_000, seed)
    print(made["table"])
