"""Every fault of the local venue while the adapter trades: no order twice, no fill lost, our books are the venue's.

The campaign is `bench.faults`; the long one of it is what BENCHMARKS.md shows.
"""

from __future__ import annotations

import asyncio

import pytest

from bench import faults

KNOWN = {trouble.name: trouble for trouble in faults.TROUBLES}
QUICK = ("drop_reply", "error_before", "error_after", "silence", "ghost_fill", "sockets", "clock_skew", "rate_limit")


@pytest.fixture(scope="module")
def ground():
    with faults.served() as venue:
        yield venue


def assert_whole(report: faults.Report) -> None:
    assert report.good, f"{report.name}: {report.wrong}"
    assert report.orders > 0


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_double_lost_or_unequal_under(ground, name):
    (report,) = asyncio.run(faults.campaign(ground, (KNOWN[name],), 0.8, 5))
    assert_whole(report)


def test_many_faults_at_once(ground):
    report = asyncio.run(faults.storm(ground, 3.0, 6))
    assert_whole(report)


def test_the_campaign_finds_a_port_that_loses_fills(ground):
    """What it holds against the venue is not made of the port's own words alone."""

    async def run():
        async with faults.Campaign(ground, "deaf", 7) as one:
            hear = one.books.hear
            one.port._emit = lambda news: hear(type(news)(news.rows[news.rows["kind"] != 12], _keys(news), news.note))
            return await one.under(KNOWN["none"], 1.0, within=1.0), await one.last_word()

    def _keys(news):
        return tuple(key for key, row in zip(news.keys, news.rows, strict=True) if row["kind"] != 12)

    report, last = asyncio.run(run())
    assert report.wrong or last


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_every_fault_for_long(ground, seed):
    for report in asyncio.run(faults.campaign(ground, faults.TROUBLES, 10.0, seed)):
        assert_whole(report)
    assert_whole(asyncio.run(faults.storm(ground, 60.0, seed)))
