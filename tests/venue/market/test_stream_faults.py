"""What can go wrong on the way of market data, switched on while the books move: they are the venue's at the end.

With POLYTRADERS_FAULTS=file the times are written there: from the fault to the market's being down, from the fault's
end to the venue's own book again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watching import QUICK, trade_on

from polytraders.rows import EventKind

K = EventKind
RESULTS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module", autouse=True)
def _written() -> Iterator[None]:
    yield
    if (path := os.environ.get("POLYTRADERS_FAULTS")) and RESULTS:
        Path(path).write_text(json.dumps(RESULTS, indent=1) + "\n")


@contextlib.asynccontextmanager
async def trading(venue, slug, seed):
    """Somebody changes the book all the time."""
    task = asyncio.create_task(trade_on(venue, slug, 10**6, random.Random(seed), 0.004))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true, timeout=60.0):
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout, "it did not come to that"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def suffer(watch, venue, fault, *, seconds=1.0, down=True, options=None, **switch):
    """A fault while the book moves; returns the watcher after its book is the venue's again."""
    slug = f"fault-{fault}"
    watcher = await watch(slug, **(options or {}))
    async with watcher.stream as stream:
        assert await stream.all_up(90)
        async with trading(venue, slug, len(fault)):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(venue.admin, f"/faults/{fault}", **switch)
            detected = await until(lambda: not stream.up()) if down else None
            await asyncio.sleep(seconds)
            await asyncio.to_thread(venue.admin, "/faults", "DELETE")
            cleared = time.monotonic()
            back = await until(stream.up)
        await watcher.settled()
        whole = time.monotonic() - cleared
    RESULTS[fault] = {
        "detected_s": None if detected is None else round(detected, 3),
        "up_again_s": round(back, 3),
        "book_equal_s": round(whole, 3),
        "why": {code: n for code, n in stream.counts.items() if code.startswith("INTEL_")},
        "patience": {"quiet": QUICK.quiet, "compare": QUICK.compare, "disagree": QUICK.disagree},
    }
    return watcher


def run(work):
    return asyncio.run(asyncio.wait_for(work, 300))


def downs(watcher):
    """Reasons for which markets went down, without the first and the last."""
    return [note["code"] for note in watcher.notes if note["event_type"] == "feed_down"][1:-1]


def test_a_socket_that_answers_pings_and_says_nothing_else_is_found_out(watch, venue):
    watcher = run(suffer(watch, venue, "silence"))
    assert downs(watcher)[0] == "INTEL_FEED_SILENT"
    rows = watcher.rows()
    first_up = list(rows["kind"]).index(K.FEED_UP)
    down = first_up + list(rows["kind"][first_up:]).index(K.FEED_DOWN)
    again = down + list(rows["kind"][down:]).index(K.FEED_UP)
    assert rows["kind"][down + 1] == K.BOOK_CLEAR  # nothing between, and then a whole new book
    assert set(rows["kind"][down + 2 : again]) == {K.LEVEL}


def test_a_connection_that_is_cut_is_made_again(watch, venue):
    watcher = run(suffer(watch, venue, "drop_socket", seconds=0.5, rate=200_000))
    assert set(downs(watcher)) <= {"INTEL_FEED_DISCONNECTED", "INTEL_BOOK_DISAGREES"}
    assert watcher.stream.counts["connections_lost"] >= 1


def test_events_that_are_lost_are_missed(watch, venue):
    watcher = run(suffer(watch, venue, "market_loss", rate=300_000, seconds=2.0))
    assert set(downs(watcher)) & {"INTEL_BOOK_DISAGREES", "INTEL_FEED_SILENT"}


def test_a_lost_event_deep_in_the_book_is_found_by_the_compare_with_rest(watch, venue):
    async def work():
        watcher = await watch("deep-loss", patience=replace(QUICK, quiet=60.0, silent=120.0))
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            venue.admin("/faults/market_loss")
            venue.admin("/markets/deep-loss/level", side="BUY", price="0.10", size="77")
            venue.admin("/faults", "DELETE")
            took = await until(lambda: stream.book(0)[0].get(1000) == 77_000_000)
            await watcher.settled()
        RESULTS["one event lost, deep in the book"] = {"book_equal_s": round(took, 3)}
        return watcher

    watcher = run(work())
    assert downs(watcher) == ["INTEL_BOOK_DISAGREES"]
    assert watcher.stream.counts["books_wrong"] == 1


def test_events_told_twice_change_nothing(watch, venue):
    watcher = run(suffer(watch, venue, "market_duplicate", down=False, rate=500_000))
    assert downs(watcher) == []
    assert watcher.stream.counts["duplicate"] > 0


def test_events_in_a_wrong_order_end_in_the_right_book(watch, venue):
    watcher = run(suffer(watch, venue, "market_reorder", down=False, seconds=3.0, rate=300_000, value=30))
    assert watcher.stream.counts["venue_time_backward"] > 0
    assert set(downs(watcher)) <= {"INTEL_BOOK_DISAGREES", "INTEL_FEED_SILENT"}


def test_a_wrong_tick_over_rest_is_corrected_by_the_stream(watch, venue):
    async def work():
        venue.market("wrong-tick")
        venue.admin("/faults/wrong_tick", value=10)
        watcher = await watch("wrong-tick")
        assert watcher.infos[0].tick == 10  # what REST told
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await watcher.settled()
            await until(lambda: K.TICK_SIZE in watcher.rows()["kind"])
            await asyncio.sleep(1.2)  # compares with REST go on
            assert stream.up()
        return watcher

    watcher = run(work())
    rows = watcher.rows()
    ticks = rows[rows["kind"] == K.TICK_SIZE]
    assert [(int(r["price"]), int(r["aux"])) for r in ticks] == [(100, 10)]
    assert list(rows["kind"]).index(K.TICK_SIZE) < list(rows["kind"]).index(K.FEED_UP)
    assert downs(watcher) == []
    RESULTS["wrong_tick"] = {"detected_s": 0.0, "what": "TICK_SIZE row before the first FEED_UP"}


@pytest.mark.parametrize("skew", [-3_600_000, 90_000])
def test_a_clock_that_goes_wrong_does_not_matter_to_the_books(watch, venue, skew):
    watcher = run(suffer(watch, venue, "clock_skew", down=False, value=skew))
    assert downs(watcher) == []


def test_rest_that_fails_is_no_reason_to_stop_while_data_comes(watch, venue):
    watcher = run(suffer(watch, venue, "error_before", down=False, value=503, seconds=1.5))
    assert downs(watcher) == []
    assert watcher.stream.counts["INTEL_VENUE_UNREACHABLE"] > 0


def test_silence_that_rest_cannot_explain_takes_the_market_down(watch, venue):
    async def work():
        watcher = await watch("dark", patience=replace(QUICK, silent=1.0))
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            venue.admin("/faults/error_before", value=503)
            venue.admin("/faults/silence")
            detected = await until(lambda: not stream.up())
            venue.admin("/faults", "DELETE")
            await watcher.settled()
        RESULTS["silence, and REST fails"] = {"detected_s": round(detected, 3), "patience": {"silent": 1.0}}
        return watcher

    assert downs(run(work()))[0] == "INTEL_FEED_SILENT"


def test_a_quiet_market_stays_up_by_the_proof_of_rest(watch, venue):
    async def work():
        watcher = await watch("quiet", patience=replace(QUICK, silent=1.0))
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await asyncio.sleep(2.5)
            assert stream.up()
            return watcher, watcher.rows()

    watcher, rows = run(work())
    assert downs(watcher) == []
    confirmed = rows[list(rows["kind"]).index(K.FEED_UP) + 1 :]
    assert len(confirmed) >= 3
    assert {(int(r["kind"]), int(r["price"]), int(r["size"])) for r in confirmed} == {(K.CHANGE, 4800, 100_000_000)}
