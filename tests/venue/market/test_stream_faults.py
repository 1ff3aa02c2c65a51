"""What can go wrong on the way of market data, switched on while the books move: they are the venue's at the end.

The campaign is `bench.faults_market`; the long one of it is what BENCHMARKS.md shows.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bench import faults_market as campaign
from polytraders.rows import EventKind

K = EventKind
KNOWN = {trouble.name: trouble for trouble in campaign.TROUBLES}


def run(work):
    report = asyncio.run(asyncio.wait_for(work, 300))
    assert not report.wrong, report.wrong
    return report


def suffer(calm, name, seconds=1.0):
    """A fault while the book moves; its report, after its book is the venue's again."""
    return run(campaign.under(calm, KNOWN[name], seconds, 7))


def downs(watcher):
    """Reasons for which markets went down, without the first and the last."""
    return [note["code"] for note in watcher.notes if note["event_type"] == "feed_down"][1:-1]


def test_a_socket_that_answers_pings_and_says_nothing_else_is_found_out(calm):
    watcher = suffer(calm, "market silence").watcher
    assert downs(watcher)[0] == "INTEL_FEED_SILENT"
    rows = watcher.rows()
    first_up = list(rows["kind"]).index(K.FEED_UP)
    down = first_up + list(rows["kind"][first_up:]).index(K.FEED_DOWN)
    again = down + list(rows["kind"][down:]).index(K.FEED_UP)
    assert rows["kind"][down + 1] == K.BOOK_CLEAR  # nothing between, and then a whole new book
    assert set(rows["kind"][down + 2 : again]) == {K.LEVEL}


def test_a_connection_that_is_cut_is_made_again(calm):
    watcher = suffer(calm, "market sockets", 0.5).watcher
    assert set(downs(watcher)) <= {"INTEL_FEED_DISCONNECTED", "INTEL_BOOK_DISAGREES"}
    assert watcher.stream.counts["connections_lost"] >= 1


def test_events_that_are_lost_are_missed(calm):
    watcher = suffer(calm, "market_loss", 2.0).watcher
    assert set(downs(watcher)) & {"INTEL_BOOK_DISAGREES", "INTEL_FEED_SILENT"}


def test_a_lost_event_deep_in_the_book_is_found_by_the_compare_with_rest(calm):
    watcher = run(campaign.deep_loss(calm, 7)).watcher
    assert downs(watcher) == ["INTEL_BOOK_DISAGREES"]
    assert watcher.stream.counts["books_wrong"] == 1


def test_events_told_twice_change_nothing(calm):
    watcher = suffer(calm, "market_duplicate").watcher
    assert downs(watcher) == []
    assert watcher.stream.counts["duplicate"] > 0


def test_events_in_a_wrong_order_end_in_the_right_book(calm):
    watcher = suffer(calm, "market_reorder", 3.0).watcher
    assert watcher.stream.counts["venue_time_backward"] > 0
    assert set(downs(watcher)) <= {"INTEL_BOOK_DISAGREES", "INTEL_FEED_SILENT"}


def test_a_wrong_tick_over_rest_is_corrected_by_the_stream(calm):
    watcher = run(campaign.wrong_tick(calm, 7)).watcher
    rows = watcher.rows()
    ticks = rows[rows["kind"] == K.TICK_SIZE]
    assert [(int(r["price"]), int(r["aux"])) for r in ticks] == [(100, 10)]
    assert list(rows["kind"]).index(K.TICK_SIZE) < list(rows["kind"]).index(K.FEED_UP)
    assert downs(watcher) == []


@pytest.mark.parametrize("name", ["market clock behind", "market clock ahead"])
def test_a_clock_that_goes_wrong_does_not_matter_to_the_books(calm, name):
    assert downs(suffer(calm, name).watcher) == []


def test_rest_that_fails_is_no_reason_to_stop_while_data_comes(calm):
    watcher = suffer(calm, "market REST", 1.5).watcher
    assert downs(watcher) == []
    assert watcher.stream.counts["INTEL_VENUE_UNREACHABLE"] > 0


def test_silence_that_rest_cannot_explain_takes_the_market_down(calm):
    assert downs(run(campaign.dark(calm, 7)).watcher)[0] == "INTEL_FEED_SILENT"


def test_the_campaign_finds_a_stream_that_does_not_look(calm):
    """Without limits the lost events stay lost, and the report says so."""
    blind = campaign.Patience(**{name: 3_600.0 for name in campaign.Patience.__dataclass_fields__})
    trouble = replace(KNOWN["market_loss"], down=False, patience=replace(blind, ping=0.2, snapshot=1.0, backoff=0.05))
    report = asyncio.run(campaign.under(calm, trouble, 1.0, 8, settle=3.0))
    assert report.wrong


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 4))
def test_every_fault_of_the_market_channel_for_long(calm, seed):
    for report in asyncio.run(campaign.campaign(calm, 20.0, seed)):
        assert not report.wrong, (report.name, report.wrong)


def test_a_quiet_market_stays_up_by_the_proof_of_rest(watch, calm):
    async def work():
        watcher = await watch("quiet", patience=replace(campaign.QUICK, silent=1.0))
        async with watcher.stream as stream:
            assert await stream.all_up(90)
            await asyncio.sleep(2.5)
            assert stream.up()
            return watcher, watcher.rows()

    watcher, rows = asyncio.run(asyncio.wait_for(work(), 300))
    assert downs(watcher) == []
    confirmed = rows[list(rows["kind"]).index(K.FEED_UP) + 1 :]
    assert len(confirmed) >= 3
    assert {(int(r["kind"]), int(r["price"]), int(r["size"])) for r in confirmed} == {(K.CHANGE, 4800, 100_000_000)}
