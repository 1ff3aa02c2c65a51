"""A made-up market that speaks the venue's wire format: to try things on where no recording is at hand.

Results on it say nothing about the venue. It is there so that every path has something to run on:
several binary markets and one neg-risk event of three outcomes, both tokens of each, `price_change`,
`last_trade_price`, `book` and `best_bid_ask` messages with hashes that verify, a tick change above
0.96, a silence of the recorder with a fresh dump after it, repeated messages, one resolution.

The model, per market: a latent value wanders (mean-reverting in log-odds, with jumps). Makers quote
around the value as it was `MAKER_LAG` ago: they add, shrink and pull levels one at a time. Takers come
at random; a part of them knows the value and trades when it lies beyond a touch, the rest buy or sell
by chance. So quotes earn the spread from noise and lose to jumps, as a maker should expect.

Everything is drawn from numpy's PCG64: a seed gives the same bytes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from polytraders.errors import UsageError
from polytraders.rows import Side
from polytraders.units import CENT_SHARE, MICRO, NS_PER_MS, NS_PER_S, ONE, ns_from_iso, price_text, size_text

START = ns_from_iso("2026-09-01T12:00:00Z")
"""First moment of every synthetic session, ns."""
GRID = 100
"""Step of the latent values, ms."""
MAKER_LAG = 1_200
"""How old the value is that makers quote around, ms."""
MAKER_RATE, TAKER_RATE = 4.0, 0.35
"""Messages of makers and of takers, per second and market."""
KNOWING = 0.35
"""Share of takers who know the value."""
GAP_S = 40
"""Silence of the recorder, s: longer than any sensible gap limit."""
REPEATED = 0.0005
"""Share of messages that are recorded twice."""
NEG_RISK = 3
"""Outcomes of the neg-risk event."""


@dataclass
class _Market:
    number: int
    condition: str
    yes: str
    no: str
    slug: str
    question: str
    half: int  # half spread the makers keep, ticks
    event_id: str = ""
    resolves: bool = False
    tick: int = 100
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    text: tuple[dict[int, bytes], dict[int, bytes]] = field(default_factory=lambda: ({}, {}))
    last_trade: str = "0.500"
    closed: bool = False
    recv: int = 0

    def put(self, side: Side, price: int, size: int) -> None:
        """Set a level, size 0 removes it."""
        levels = self.bids if side is Side.BUY else self.asks
        if size:
            levels[price] = size
            self.text[0][price] = _level(price, size)
            self.text[1][price] = _level(ONE - price, size)
        else:
            levels.pop(price, None)

    def best(self) -> tuple[int, int]:
        """(best bid, best ask) in pips; 0 / 10 000 when a side is empty."""
        return max(self.bids, default=0), min(self.asks, default=ONE)

    def levels(self, token: int) -> tuple[bytes, bytes]:
        """(bids, asks) of a token (0 YES, 1 NO) as JSON: worst first, as the venue sends them."""
        low, high = sorted(self.bids), sorted(self.asks, reverse=True)
        text = self.text[token]
        buys, sells = b",".join([text[p] for p in low]), b",".join([text[p] for p in high])
        return (buys, sells) if token == 0 else (sells, buys)

    def hashed(self, token: int, ms: int) -> tuple[bytes, bytes, bytes]:
        """(hash, bids, asks) of a token's book at a venue time."""
        bids, asks = self.levels(token)
        head = b'{"market":"%s","asset_id":"%s","timestamp":"%d","hash":"","bids":[%s],"asks":[%s],' % (
            self.condition.encode(),
            self.token(token),
            ms,
            bids,
            asks,
        )
        tail = b'"min_order_size":"5","tick_size":"%s","neg_risk":%s,"last_trade_price":"%s"}' % (
            price_text(self.tick).encode(),
            b"true" if self.event_id else b"false",
            self.last_trade.encode(),
        )
        return hashlib.sha1(head + tail).hexdigest().encode(), bids, asks

    def token(self, which: int) -> bytes:
        return (self.no if which else self.yes).encode()


def _level(price: int, size: int) -> bytes:
    return b'{"price":"%s","size":"%s"}' % (price_text(price).encode(), size_text(size).encode())


# -- frames --------------------------------------------------------------------------------------


def _book_frame(market: _Market, token: int, ms: int, dump: bool = False) -> bytes:
    digest, bids, asks = market.hashed(token, ms)
    extra = b""
    if dump:
        extra = b',"tick_size":"%s","last_trade_price":"%s"' % (
            price_text(market.tick).encode(),
            market.last_trade.encode(),
        )
    return (
        b'{"market":"%s","asset_id":"%s","timestamp":"%d","hash":"%s","bids":[%s],"asks":[%s]%s,"event_type":"book"}'
        % (
            market.condition.encode(),
            market.token(token),
            ms,
            digest,
            bids,
            asks,
            extra,
        )
    )


def _change_frame(market: _Market, side: Side, price: int, size: int, ms: int) -> bytes:
    bid, ask = market.best()
    legs = []
    for token in (0, 1):
        at, best = (price, (bid, ask)) if token == 0 else (ONE - price, (ONE - ask, ONE - bid))
        legs.append(
            b'{"asset_id":"%s","price":"%s","size":"%s","side":"%s","hash":"%s","best_bid":"%s","best_ask":"%s"}'
            % (
                market.token(token),
                price_text(at).encode(),
                size_text(size).encode(),
                b"BUY" if (side is Side.BUY) == (token == 0) else b"SELL",
                market.hashed(token, ms)[0],
                price_text(best[0]).encode(),
                price_text(best[1]).encode(),
            )
        )
    return b'{"market":"%s","price_changes":[%s],"timestamp":"%d","event_type":"price_change"}' % (
        market.condition.encode(),
        b",".join(legs),
        ms,
    )


def _best_frame(market: _Market, token: int, ms: int) -> bytes:
    bid, ask = market.best()
    if token:
        bid, ask = ONE - ask, ONE - bid
    return orjson.dumps(
        {
            "market": market.condition,
            "asset_id": market.token(token).decode(),
            "best_bid": price_text(bid),
            "best_ask": price_text(ask),
            "spread": price_text(ask - bid),
            "timestamp": str(ms),
            "event_type": "best_bid_ask",
        }
    )


def _trade_frame(market: _Market, token: int, side: Side, price: int, size: int, ms: int, tx: str) -> bytes:
    if token:
        price, side = ONE - price, Side(1 - side)
    return orjson.dumps(
        {
            "market": market.condition,
            "asset_id": market.token(token).decode(),
            "price": price_text(price),
            "size": size_text(size),
            "fee_rate_bps": "0",
            "side": side.name,
            "timestamp": str(ms),
            "event_type": "last_trade_price",
            "transaction_hash": tx,
        }
    )


def _tick_frame(market: _Market, token: int, old: int, ms: int) -> bytes:
    return orjson.dumps(
        {
            "market": market.condition,
            "asset_id": market.token(token).decode(),
            "old_tick_size": price_text(old),
            "new_tick_size": price_text(market.tick),
            "timestamp": str(ms),
            "event_type": "tick_size_change",
        }
    )


def _resolved_frame(market: _Market, ms: int) -> bytes:
    return orjson.dumps(
        {
            "id": str(market.number),
            "market": market.condition,
            "assets_ids": [market.yes, market.no],
            "winning_asset_id": market.yes,
            "winning_outcome": "Yes",
            "timestamp": str(ms),
            "event_type": "market_resolved",
        }
    )


# -- the world -----------------------------------------------------------------------------------


def _values(rng: np.random.Generator, steps: int, markets: list[_Market]) -> np.ndarray:
    """Latent YES value per grid step and market, in pips (float: a model's state, not a price)."""
    odds = np.empty((steps, len(markets)))
    start = rng.uniform(-0.9, 0.9, len(markets))
    noise = rng.normal(0.0, 0.0022, (steps, len(markets)))
    jumps = rng.normal(0.0, 0.16, (steps, len(markets))) * (rng.random((steps, len(markets))) < GRID / 240_000)
    state = start.copy()
    for step in range(steps):
        state += noise[step] + jumps[step] + (start - state) * 0.0001
        odds[step] = state
    weights = np.exp(odds[:, :NEG_RISK])
    values = np.empty_like(odds)
    values[:, :NEG_RISK] = weights / weights.sum(axis=1, keepdims=True)
    values[:, NEG_RISK:] = 1 / (1 + np.exp(-odds[:, NEG_RISK:]))
    resolving = next(at for at, market in enumerate(markets) if market.resolves)
    done = np.arange(steps) / steps
    pull = np.clip((done - 0.15) / 0.5, 0, 1)  # the one that resolves is pulled to 0.985 in the course of the session
    values[:, resolving] = values[:, resolving] * (1 - pull) + 0.985 * pull
    return np.clip(values, 0.015, 0.99) * ONE


def _make_markets(rng: np.random.Generator, count: int) -> list[_Market]:
    markets = []
    for number in range(count):
        condition = "0x" + rng.bytes(32).hex()
        yes, no = (str(int.from_bytes(rng.bytes(32), "big")) for _ in range(2))
        half = 1 + int(rng.random() < 0.25)
        if number < NEG_RISK:
            letter = "abc"[number]
            market = _Market(
                number,
                condition,
                yes,
                no,
                f"synthetic-race-{letter}",
                f"Will {letter.upper()} win the made-up race?",
                half,
                "900001",
            )
        else:
            market = _Market(
                number, condition, yes, no, f"synthetic-market-{number}", f"Will made-up thing {number} happen?", half
            )
        market.resolves = number == NEG_RISK
        markets.append(market)
    return markets


def _sidecar(markets: list[_Market], end: int) -> bytes:
    fee = {"rate": "0.05", "exponent": "1", "taker_only": True, "rebate_rate": "0.25"}
    listed = [
        {
            "condition_id": market.condition,
            "slug": market.slug,
            "question": market.question,
            "outcomes": ["Yes", "No"],
            "clob_token_ids": [market.yes, market.no],
            "tick_size": "0.01",
            "min_order_size": "5",
            "neg_risk": bool(market.event_id),
            "event_id": market.event_id or f"90{market.number:04d}",
            "end_ts": end // NS_PER_S,
            "fee_schedule": fee,
            "synthetic": True,
        }
        for market in markets
    ]
    return orjson.dumps(listed, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class _Dice:
    """Uniform and normal draws, taken from the generator in blocks."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.flat: list[float] = []
        self.bell: list[float] = []

    def u(self) -> float:
        if not self.flat:
            self.flat = self.rng.random(8_192).tolist()
        return self.flat.pop()

    def z(self) -> float:
        if not self.bell:
            self.bell = self.rng.normal(size=8_192).tolist()
        return self.bell.pop()

    def size(self, median: float, spread: float) -> int:
        """Lognormal size in micro-shares, on the venue's 0.01-share grid, at least one share."""
        shares = median * float(np.exp(spread * self.z()))
        return max(100, round(shares * 100)) * CENT_SHARE


class _Recorder:
    """Writes frames in the order in which they arrive; keeps silent during the gap."""

    def __init__(self, write: Callable[[bytes], object], dice: _Dice, gap: tuple[int, int]):
        self.write, self.dice, self.gap = write, dice, gap
        self.waiting: list[tuple[int, int, bytes]] = []
        self.count = 0

    def hear(self, market: _Market | None, ms: int, *frames: bytes) -> None:
        """Frames that one market's shard sends at venue time `ms`; a shard never overtakes itself."""
        delay = 35 * NS_PER_MS + int(12 * NS_PER_MS * -np.log(1 - self.dice.u()))
        recv = ms * NS_PER_MS + delay
        if market is not None:
            recv = max(recv, market.recv + 1_000)
        for frame in frames:
            times = 1 + (self.dice.u() < REPEATED)
            for _ in range(times):
                if not self.gap[0] <= recv < self.gap[1]:
                    heapq.heappush(self.waiting, (recv, self.count, frame))
                self.count += 1
                recv += 20_000
        if market is not None:
            market.recv = recv

    def flush(self, before: int) -> None:
        """Write what has arrived before a time (ns)."""
        while self.waiting and self.waiting[0][0] < before:
            recv, _, frame = heapq.heappop(self.waiting)
            self.write(b'{"recv_ns":%d,"frame":%s}\n' % (recv, frame))


# -- people --------------------------------------------------------------------------------------


def _fill_book(market: _Market, value: float, dice: _Dice) -> None:
    centre = round(value / market.tick) * market.tick
    for depth in range(market.half, 26):
        for side, price in ((Side.BUY, centre - depth * market.tick), (Side.SELL, centre + depth * market.tick)):
            if 0 < price < ONE and dice.u() < 0.9:
                market.put(side, price, dice.size(60 + 14 * depth, 0.7))


def _make(market: _Market, fair: float, dice: _Dice) -> tuple[Side, int, int] | None:
    """One maker's action: pull a stale level, or place, resize or cancel one. Returns (side, price, new size)."""
    tick, (bid, ask) = market.tick, market.best()
    room = market.half * tick - tick / 2
    if bid > fair - room and len(market.bids) > 1:
        return Side.BUY, bid, 0
    if ask < fair + room and len(market.asks) > 1:
        return Side.SELL, ask, 0
    side = Side.BUY if dice.u() < 0.5 else Side.SELL
    depth = market.half + int(-1.6 * np.log(1 - dice.u()))
    centre = round(fair / tick) * tick
    price = centre - depth * tick if side is Side.BUY else centre + depth * tick
    levels = market.bids if side is Side.BUY else market.asks
    if not 0 < price < ONE or (price >= ask if side is Side.BUY else price <= bid):
        return None
    old = levels.get(price, 0)
    if old and dice.u() < 0.35:
        new = 0 if dice.u() < 0.4 and len(levels) > 1 else max(CENT_SHARE, old // 2 // CENT_SHARE * CENT_SHARE)
    else:
        new = old + dice.size(35 + 8 * depth, 0.8)
        if new > 5_000 * MICRO:
            new = dice.size(60 + 14 * depth, 0.7)
    return side, price, new


def _take(market: _Market, value: float, dice: _Dice) -> tuple[Side, int]:
    """One taker: (side, size in micro-shares)."""
    bid, ask = market.best()
    if dice.u() < KNOWING:
        if value > ask + market.tick / 2:
            return Side.BUY, dice.size(60, 0.8)
        if value < bid - market.tick / 2:
            return Side.SELL, dice.size(60, 0.8)
    return (Side.BUY if dice.u() < 0.5 else Side.SELL), dice.size(18, 1.0)


# -- the session ---------------------------------------------------------------------------------


class _Session:
    def __init__(self, seed: int, minutes: int, count: int, write: Callable[[bytes], object]):
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.markets = _make_markets(self.rng, count)
        self.length = minutes * 60_000
        self.values = _values(self.rng, self.length // GRID + 1, self.markets)
        self.dice = _Dice(self.rng)
        middle = START + self.length * NS_PER_MS // 2
        self.gap = middle, middle + GAP_S * NS_PER_S
        self.recorder = _Recorder(write, self.dice, self.gap)

    def run(self, progress: Callable[[int], None]) -> None:
        times, who, takes = self._schedule()
        zero = START // NS_PER_MS
        for market in self.markets:
            _fill_book(market, self.values[0, market.number], self.dice)
        self._dump(zero)
        dumped = False
        for done, (at, number, take) in enumerate(zip(times, who, takes, strict=True)):
            ms = zero + at
            market = self.markets[number]
            if not dumped and ms * NS_PER_MS >= self.gap[1]:
                self._dump(ms)
                dumped = True
            if market.resolves and not market.closed and at > 0.9 * self.length:
                market.closed = True
                self.recorder.hear(market, ms, _resolved_frame(market, ms))
            if market.closed:
                continue
            before = market.best()
            self._change_tick(market, ms)
            if take:
                self._trade(market, ms, at)
            else:
                self._quote(market, ms, at)
            if market.best() != before:
                self.recorder.hear(market, ms, _best_frame(market, 0, ms), _best_frame(market, 1, ms))
            if done % 512 == 0:
                self.recorder.flush((ms - 2_000) * NS_PER_MS)
                progress(at)
        self.recorder.flush(2**63 - 1)

    def _schedule(self) -> tuple[list[int], list[int], list[bool]]:
        """Venue times (ms from the start), market and kind (a taker's?) of everything that happens, in order."""
        parts = []
        for market in self.markets:
            for rate, take in ((MAKER_RATE, False), (TAKER_RATE, True)):
                count = self.rng.poisson(rate * self.length / 1_000)
                times = self.rng.integers(200, self.length, count)
                parts.append(np.stack([times, np.full(count, market.number), np.full(count, take)]))
        table = np.concatenate(parts, axis=1)
        table = table[:, np.argsort(table[0], kind="stable")]
        return table[0].tolist(), table[1].tolist(), table[2].astype(bool).tolist()

    def _dump(self, ms: int) -> None:
        """Full books of both tokens of every live market, as the venue sends them on subscribing."""
        books = [_book_frame(m, token, ms, dump=True) for m in self.markets if not m.closed for token in (0, 1)]
        latest = max(market.recv for market in self.markets)
        for market in self.markets:
            market.recv = latest
        self.recorder.hear(self.markets[0], ms, b"[%s]" % b",".join(books))
        for market in self.markets:
            market.recv = self.markets[0].recv

    def _change_tick(self, market: _Market, ms: int) -> None:
        bid, ask = market.best()
        if market.tick == 100 and (bid >= 9_600 or ask <= 400):
            old, market.tick = market.tick, 10
            self.recorder.hear(market, ms, *(_tick_frame(market, token, old, ms) for token in (0, 1)))

    def _quote(self, market: _Market, ms: int, at: int) -> None:
        fair = float(self.values[max(0, at - MAKER_LAG) // GRID, market.number])
        action = _make(market, fair, self.dice)
        if action is not None:
            market.put(*action)
            self.recorder.hear(market, ms, _change_frame(market, *action, ms))

    def _trade(self, market: _Market, ms: int, at: int) -> None:
        side, left = _take(market, float(self.values[at // GRID, market.number]), self.dice)
        levels, best = (market.asks, min) if side is Side.BUY else (market.bids, max)
        rest = Side.SELL if side is Side.BUY else Side.BUY
        for _ in range(3):
            price = best(levels)
            size = min(left, levels[price])
            if size == levels[price] and len(levels) == 1:
                return  # the last level of a side stays: an empty side is the recording's business, not a model's
            token = int(self.dice.u() < 0.5)
            tx = "0x" + self.rng.bytes(32).hex()
            market.put(rest, price, levels[price] - size)
            market.last_trade = f"{(ONE - price if token else price) / ONE:.3f}"
            self.recorder.hear(
                market,
                ms,
                _trade_frame(market, token, side, price, size, ms, tx),
                _book_frame(market, 0, ms),
                _book_frame(market, 1, ms),
            )
            left -= size
            if not left:
                return


def synthesise(
    folder: Path | str,
    seed: int = 7,
    minutes: int = 30,
    markets: int = 5,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Write a synthetic session: [recording, markets sidecar]. The same arguments give the same bytes.

    markets: at least four: three of one neg-risk event and one that resolves. minutes: at least two.
    """
    import zstandard

    if markets < NEG_RISK + 1 or minutes < 2:
        raise UsageError(
            "too small a session", rule="at least 4 markets and 2 minutes", mend=f"asked for {markets} and {minutes}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"synthetic_seed{seed}_{minutes}min_{markets}markets"
    recording, sidecar = folder / f"{stem}.jsonl.zst", folder / f"{stem}_markets.json"
    draft = recording.with_suffix(".draft")
    with draft.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as writer:
        session = _Session(seed, minutes, markets, writer.write)
        session.run(lambda at: progress(recording.name, at, session.length) if progress else None)
    sidecar.write_bytes(_sidecar(session.markets, START + session.length * NS_PER_MS))
    draft.replace(recording)
    return [recording, sidecar]
