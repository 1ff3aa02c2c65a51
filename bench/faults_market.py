"""Every fault of the market channel while books move: how long until it is noticed, and until the book is right again.

    python -m bench.faults_market [SECONDS [SEED]]      one JSON line

A market's levels change all the time while one fault is on. Noticed: the market is down, so that nobody trades on its
book. After the fault's end the clock runs until the market is up, and until its book is level for level the venue's.
The limits are shorter than a live run's (`QUICK`; the defaults are 5, 15 and 0.5 s): times to the loss grow with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from polytraders.data.markets import MarketInfo
from polytraders.rows import EVENT, EventKind
from polytraders.units import price_pips, size_micro
from polytraders.venue.polymarket import discovery, hosts, rules
from polytraders.venue.polymarket.market_stream import MarketStream, Patience
from polytraders.venue.polymarket.reader import Reader

BOOK = {"bids": [["0.48", "100"], ["0.47", "100"]], "asks": [["0.52", "100"], ["0.53", "100"]]}


class Served(Protocol):
    """A local venue: its URLs, and its switches."""

    urls: dict[str, str]

    def admin(self, path: str, method: str = "POST", **body: Any) -> dict[str, Any]:
        """Turn one."""


QUICK = Patience(ping=0.2, quiet=0.4, silent=3.0, snapshot=1.0, disagree=0.2, compare=0.5, doubt=0.1, backoff=0.05)


class Watcher:
    """A stream and all its rows."""

    def __init__(self, served: Served, infos: list[MarketInfo], **options: Any):
        self.served, self.env, self.infos = served, hosts.local(served.urls), infos
        self.parts: list[np.ndarray] = []
        self.notes: list[dict[str, Any]] = []
        self.stream = MarketStream(self.env, infos, self._hear, **{"patience": QUICK, **options})

    def _hear(self, news: Any) -> None:
        self.parts.append(news.rows)
        self.notes += news.note.get("feed", [])

    def rows(self) -> np.ndarray:
        return np.concatenate([np.empty(0, EVENT), *self.parts])

    async def books(self) -> list[tuple[dict[int, int], dict[int, int]]]:
        """The venue's own books, in YES space, read over REST."""
        async with Reader() as read:
            told = await read.json(f"{self.env.rest}/books", [{"token_id": info.yes_token} for info in self.infos])
        by_token = {book["asset_id"]: book for book in told}
        return [
            tuple(
                {price_pips(level["price"]): size_micro(level["size"]) for level in by_token[info.yes_token][side]}
                for side in ("bids", "asks")
            )
            for info in self.infos
        ]

    async def settled(self, timeout: float = 90.0) -> float:
        """Wait until every market is up and every book the venue's; returns the seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < timeout:
            if self.stream.up() and [self.stream.book(at) for at in range(len(self.infos))] == await self.books():
                return time.monotonic() - began
            await asyncio.sleep(0.02)
        raise AssertionError(f"books differ after {timeout} s: {self.stream.health()}, {self.stream.counts}")


async def listed(served: Served, *slugs: str) -> list[MarketInfo]:
    """Markets of a venue by slug, all of them without one."""
    env = hosts.local(served.urls)
    async with Reader() as read:
        found = await discovery.find(env, discovery.Wanted(slugs=slugs), read)
        return [ruled.info for ruled in await rules.load(env, found, read, now=time.time_ns())]


async def trade_on(calm: Served, slug: str, times: int, dice: random.Random, pause: float = 0.0) -> None:
    """Change levels of a market, never crossing: bids up to 0.49, asks from 0.51 on."""
    for _ in range(times):
        side = dice.choice(["BUY", "SELL"])
        cents = dice.randint(30, 49) if side == "BUY" else dice.randint(51, 70)
        size = dice.choice([0, 5, 10, 25.5, 100])
        body = {"side": side, "price": f"0.{cents}", "size": str(size)}
        await asyncio.to_thread(calm.admin, f"/markets/{slug}/level", **body)
        if pause:
            await asyncio.sleep(pause)


@dataclass
class Report:
    """What one fault did. Times in s; None where nothing had to be noticed."""

    name: str
    what: str
    noticed_s: float | None = None
    up_again_s: float = 0.0
    recovery_s: float = 0.0
    why: dict[str, int] = field(default_factory=dict)  # reason code -> how often
    rows: int = 0
    watcher: Watcher | None = field(default=None, repr=False)
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "watcher"}


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong. down: must the market go down? switch: body of the admin call."""

    name: str
    what: str
    fault: str
    down: bool = True
    switch: tuple[tuple[str, int], ...] = ()
    patience: Patience = QUICK


TROUBLES = (
    Trouble("market silence", "the socket answers PING and says nothing else", "silence"),
    Trouble("market sockets", "a fifth of the events cut the connection", "drop_socket", True, (("rate", 200_000),)),
    Trouble("market_loss", "three of ten events are lost", "market_loss", switch=(("rate", 300_000),)),
    Trouble("market_duplicate", "half of the events come twice", "market_duplicate", False, (("rate", 500_000),)),
    Trouble("market_reorder", "three of ten events come 30 ms late, behind others", "market_reorder", False,
            (("rate", 300_000), ("value", 30))),
    Trouble("market clock ahead", "the venue's clock is 90 s ahead", "clock_skew", False, (("value", 90_000),)),
    Trouble("market clock behind", "the venue's clock is an hour behind", "clock_skew", False,
            (("value", -3_600_000),)),
    Trouble("market REST", "REST answers 503, the stream goes on", "error_before", False, (("value", 503),)),
)  # fmt: skip
"""Faults that are on for some time; the other scenarios are functions of their own."""


@contextlib.asynccontextmanager
async def moving(served: Served, slug: str, seed: int) -> AsyncIterator[None]:
    """Somebody changes the book all the time."""
    task = asyncio.create_task(trade_on(served, slug, 10**9, random.Random(seed), 0.004))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], Any], timeout: float = 60.0) -> float:
    """Wait for something; the seconds it took. Raises AssertionError."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout, "it did not come to that"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def watching(served: Served, slug: str, **options: Any) -> Watcher:
    """A watcher of one market, which is made when it is not there."""
    if slug not in {market["slug"] for market in served.admin("/state", "GET")["markets"]}:
        served.admin("/markets", slug=slug, **BOOK)
    return Watcher(served, await listed(served, slug), **options)


async def switch(served: Served, path: str, method: str = "POST", **body: Any) -> None:
    await asyncio.to_thread(served.admin, path, method, **body)


async def under(served: Served, trouble: Trouble, seconds: float, seed: int, settle: float = 90.0) -> Report:
    """A fault while the book moves; its report after the book is the venue's again."""
    slug, report = f"{trouble.name.replace(' ', '-')}-{seed}", Report(trouble.name, trouble.what)
    report.watcher = watcher = await watching(served, slug, patience=trouble.patience)
    async with watcher.stream as stream:
        assert await stream.all_up(90)
        before = dict(stream.counts)
        async with moving(served, slug, seed):
            await asyncio.sleep(0.2)
            await switch(served, f"/faults/{trouble.fault}", **dict(trouble.switch))
            if trouble.down:
                report.noticed_s = round(await until(lambda: not stream.up()), 3)
            await asyncio.sleep(seconds)
            await switch(served, "/faults", "DELETE")
            cleared = time.monotonic()
            report.up_again_s = round(await until(stream.up), 3)
        await _end(report, watcher, before, cleared, settle)
    return report


async def _end(report: Report, watcher: Watcher, before: dict[str, int], cleared: float, settle: float = 90.0) -> None:
    try:
        await watcher.settled(settle)
    except AssertionError as error:
        report.wrong.append(str(error))
    report.recovery_s = round(time.monotonic() - cleared, 3)
    now = watcher.stream.counts
    report.why = {k: n - before.get(k, 0) for k, n in now.items() if k.startswith("INTEL_") and n > before.get(k, 0)}
    report.rows = len(watcher.rows())


async def deep_loss(served: Served, seed: int) -> Report:
    """One event is lost, far from the touch: only the compare with REST can see it."""
    report = Report("market_loss, one", "one event is lost, deep in the book")
    slug = f"deep-loss-{seed}"
    report.watcher = watcher = await watching(served, slug, patience=replace(QUICK, quiet=60.0, silent=120.0))
    async with watcher.stream as stream:
        assert await stream.all_up(90)
        before = dict(stream.counts)
        await switch(served, "/faults/market_loss")
        await switch(served, f"/markets/{slug}/level", side="BUY", price="0.10", size="77")
        await switch(served, "/faults", "DELETE")
        cleared = time.monotonic()
        report.noticed_s = round(await until(lambda: not stream.up()), 3)
        report.up_again_s = round(await until(stream.up), 3)
        await _end(report, watcher, before, cleared)
    return report


async def wrong_tick(served: Served, seed: int) -> Report:
    """REST tells a tick that is not in force: the stream's own book corrects it."""
    report = Report("market tick", "REST tells a wrong tick")
    slug = f"wrong-tick-{seed}"
    served.admin("/markets", slug=slug, **BOOK)
    await switch(served, "/faults/wrong_tick", value=10)
    report.watcher = watcher = await watching(served, slug)
    told = watcher.infos[0].tick
    async with watcher.stream as stream:
        began = time.monotonic()
        assert await stream.all_up(90)
        before = dict(stream.counts)
        report.noticed_s = round(await until(lambda: EventKind.TICK_SIZE in watcher.rows()["kind"]), 3)
        await asyncio.sleep(1.2)  # compares with REST go on
        if told != 10 or not stream.up():
            report.wrong.append(f"tick {told} by REST, up: {stream.up()}")
        await switch(served, "/faults", "DELETE")
        await _end(report, watcher, before, began + 1.2)
    return report


async def dark(served: Served, seed: int) -> Report:
    """Silence that REST cannot explain."""
    report = Report("market silence, REST", "the socket says nothing, and REST answers 503")
    report.watcher = watcher = await watching(served, f"dark-{seed}", patience=replace(QUICK, silent=1.0))
    async with watcher.stream as stream:
        assert await stream.all_up(90)
        before = dict(stream.counts)
        await switch(served, "/faults/error_before", value=503)
        await switch(served, "/faults/silence")
        report.noticed_s = round(await until(lambda: not stream.up()), 3)
        await switch(served, "/faults", "DELETE")
        cleared = time.monotonic()
        report.up_again_s = round(await until(stream.up), 3)
        await _end(report, watcher, before, cleared)
    return report


async def campaign(served: Served, seconds: float, seed: int) -> list[Report]:
    """Every fault in turn, each in a market of its own."""
    work: list[Callable[[], Awaitable[Report]]] = [
        *(lambda trouble=trouble: under(served, trouble, seconds, seed) for trouble in TROUBLES),
        *(lambda scenario=scenario: scenario(served, seed) for scenario in (deep_loss, wrong_tick, dark)),
    ]  # fmt: skip
    return [await one() for one in work]


def table(reports: list[Report]) -> str:
    """The reports as Markdown."""
    lines = [
        "| fault of the market channel | what goes wrong | noticed after | why | recovery | book |",
        "|---|---|---:|---|---:|---|",
    ]
    for r in reports:
        noticed = "need not be" if r.noticed_s is None else f"{r.noticed_s:.2f} s"
        book = "equal" if not r.wrong else "**" + "; ".join(r.wrong[:2]) + "**"
        why = ", ".join(f"{code} {n:,}" for code, n in r.why.items() if code != "INTEL_FEED_DISCONNECTED" or n > 1)
        lines.append(f"| {r.name} | {r.what} | {noticed} | {why} | {r.recovery_s:.2f} s | {book} |")
    return "\n".join(lines)


def main(seconds: float = 5.0, seed: int = 1) -> dict[str, Any]:
    """The whole campaign at a venue of its own."""
    from bench.faults import served

    with served(seed=seed) as venue:
        reports = asyncio.run(campaign(venue, seconds, seed))
    return {
        "name": "faults_market", "unit": "s", "value": max(report.recovery_s for report in reports),
        "good": not any(report.wrong for report in reports), "table": table(reports),
        "reports": [report.as_dict() for report in reports],
    }  # fmt: skip


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(main(float(given[0]) if given else 5.0, int(given[1]) if len(given) > 1 else 1)))
