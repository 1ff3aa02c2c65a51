"""Who watches a local venue's markets, and what the venue itself says of them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import numpy as np
from served import Served

from polytraders.data.markets import MarketInfo
from polytraders.rows import EVENT
from polytraders.units import price_pips, size_micro
from polytraders.venue.polymarket import discovery, hosts, rules
from polytraders.venue.polymarket.market_stream import MarketStream, Patience
from polytraders.venue.polymarket.reader import Reader

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


async def trade_on(venue: Served, slug: str, times: int, dice: random.Random, pause: float = 0.0) -> None:
    """Change levels of a market, never crossing: bids up to 0.49, asks from 0.51 on."""
    for _ in range(times):
        side = dice.choice(["BUY", "SELL"])
        cents = dice.randint(30, 49) if side == "BUY" else dice.randint(51, 70)
        size = dice.choice([0, 5, 10, 25.5, 100])
        body = {"side": side, "price": f"0.{cents}", "size": str(size)}
        await asyncio.to_thread(venue.admin, f"/markets/{slug}/level", **body)
        if pause:
            await asyncio.sleep(pause)
