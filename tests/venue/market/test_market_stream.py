"""The market stream on a local venue: books are the venue's, or the market is down."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from bench.faults_market import QUICK, listed, trade_on
from polytraders.rows import EventKind, Flag

K = EventKind
DEADLINE = 200.0


def run(work):
    return asyncio.run(asyncio.wait_for(work, DEADLINE))


def kinds(rows):
    return [EventKind(kind).name for kind in rows["kind"]]


def test_a_market_is_down_until_its_first_book_and_up_with_its_last_row(watch):
    async def work():
        watcher = await watch("first-book")
        async with watcher.stream as stream:
            assert not stream.up()
            assert await stream.all_up(90)
            await asyncio.sleep(0)
        return watcher.rows()

    rows = run(work())
    assert kinds(rows)[:7] == ["FEED_DOWN", "BOOK_CLEAR", *["LEVEL"] * 4, "FEED_UP"]
    assert kinds(rows)[-1] == "FEED_DOWN"  # the stream ended
    assert rows["flags"][1] & Flag.GAP
    assert rows["flags"][6] & Flag.LAST
    assert not (rows["flags"][1:6] & Flag.LAST).any()
    assert (rows["ts_recv"][1:] >= rows["ts_recv"][:-1]).all()
    assert set(rows["market"]) == {0}


def test_a_market_is_a_place_of_the_table_whichever_speaks_first(watch, calm):
    async def work():
        watcher = await watch("table-b", "table-a", "table-c")
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await trade_on(calm, "table-c", 1, random.Random(1))
            await watcher.settled()
        return watcher

    watcher = run(work())
    assert [info.slug for info in watcher.infos] == ["table-b", "table-a", "table-c"]
    assert set(watcher.rows()["market"]) == {0, 1, 2}


def test_books_follow_changes_prints_and_ticks(watch, calm):
    async def work():
        watcher = await watch("follows")
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await trade_on(calm, "follows", 60, random.Random(2))
            calm.admin("/markets/follows/trade", side="BUY", price="0.51", size="7")
            calm.admin("/markets/follows/tick", tick="0.001")
            calm.admin("/markets/follows/level", side="BUY", price="0.499", size="3")
            await watcher.settled()
            for _ in range(100):
                if K.TRADE in watcher.rows()["kind"]:
                    break
                await asyncio.sleep(0.05)
        return watcher

    watcher = run(work())
    rows = watcher.rows()
    assert [(int(r["price"]), int(r["size"])) for r in rows[rows["kind"] == K.TRADE]] == [(5100, 7_000_000)]
    assert [(int(r["price"]), int(r["aux"])) for r in rows[rows["kind"] == K.TICK_SIZE]] == [(10, 100)]
    assert kinds(rows).count("FEED_DOWN") == 2  # at the beginning and at the end


def test_a_resolution_is_told_and_nothing_is_awaited_after_it(watch, calm):
    async def work():
        watcher = await watch("resolves")
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            calm.admin("/markets/resolves/resolve", payout="1")
            for _ in range(200):
                if K.RESOLUTION in watcher.rows()["kind"]:
                    break
                await asyncio.sleep(0.02)
            await asyncio.sleep(1.5)  # longer than anybody waits for a book or for data
        return watcher

    watcher = run(work())
    rows = watcher.rows()
    assert [int(r["price"]) for r in rows[rows["kind"] == K.RESOLUTION]] == [10_000]
    assert watcher.stream.counts["connections_lost"] == 0


def test_more_markets_than_a_connection_takes_are_followed_on_several(watch):
    async def work():
        names = [f"shard-{at}" for at in range(5)]
        watcher = await watch(*names, patience=replace(QUICK, assets=4))
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await watcher.settled()
            return stream.health()

    health = run(work())
    assert [one["markets"] for one in health.values()] == [2, 2, 1]
    assert all(one["up"] for one in health.values())


def test_a_market_that_is_followed_later_takes_the_next_place(watch, calm):
    async def work():
        watcher = await watch("early")
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            calm.market("late")
            later = await listed(calm, "late")
            stream.follow(later)
            watcher.infos = [*watcher.infos, *later]
            assert not stream.up(1)
            assert await stream.all_up(90)
            await watcher.settled()
        return watcher

    rows = run(work()).rows()
    assert set(rows["market"]) == {0, 1}


def test_a_failing_listener_stops_the_stream_and_is_heard_of(watch):
    async def work():
        watcher = await watch("fails")

        def fail(news):
            if len(news.rows) > 2:
                raise ZeroDivisionError("the listener's own")

        watcher.stream.emit = fail
        with pytest.raises((ExceptionGroup, ZeroDivisionError), match="listener's own|unhandled errors"):
            async with watcher.stream as stream:
                await stream.all_up(90)

    run(work())
