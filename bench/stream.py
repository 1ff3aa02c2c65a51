"""The benchmark's market data: seeded streams, as our event rows and as the peer's array.

A small market simulator with integer draws only (PCG64, no float, no libm), so that the same seed
gives the same bytes on every machine. Some events are trades at the touch, each followed by the
level it left behind; the rest are level updates, half of them at the touch. Messages come in bursts
(half of them within 2 ms) and reach us 5 to 6 ms later in the order sent.

Two mixes of that, in parts of all events: BUSY has 7.6 % trades, moves its touch with 2.9 % and has
19 ms from event to event, more of everything than any recording we have; CALM has 5 % trades, moves
its touch with 0.5 % and has 50 ms. Our recordings have 0.5 ... 5 %, 1.4 ... 1.9 % and 30 ... 47 ms.

Invariants
    S1  ts_event and ts_recv never run back; 5 ms <= ts_recv - ts_event < 6 ms
    S2  no book is ever crossed or one-sided once its opening levels are in
    S3  prices are whole ticks of 0.01 inside 0.01 ... 0.99, sizes multiples of 0.01 share
    S4  every row is a message of its own (Flag.LAST)
    S5  the peer's array holds the same events in the same order
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polytraders import units
from polytraders.engine.jit import njit
from polytraders.rows import EVENT, EventKind, Flag, Side

SEED = 20_260_501
EVENTS = 5_000_000
START = units.ns_from_iso("2026-05-01T00:00:00Z")
TICK = 100
"""pips"""
TICKS = 99
"""Prices are 1 ... 99 ticks."""
OPENING = 10
"""Levels a side that a market opens with."""
LATENCY = 5 * units.NS_PER_MS
"""Shortest way from the venue to us; the longest is 1 ms more."""


class Mix(NamedTuple):
    """What happens how often in a market."""

    trades: int  # of 1 024 draws that are free: trades
    bite: int  # a trade takes up to 2^(14 - bite) hundredths of a share
    fades: int  # of 1 024 updates at the touch: those that empty it
    pause: int  # ms, the longest pause between two bursts


BUSY, CALM = Mix(trades=84, bite=2, fades=10, pause=74), Mix(trades=54, bite=5, fades=4, pause=198)

_CHANGE, _TRADE, _LAST = int(EventKind.CHANGE), int(EventKind.TRADE), int(Flag.LAST)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_CENT = units.CENT_SHARE

PEER_EVENT = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)
"""hftbacktest's event, so that the array can be made without it."""
_PEER_DEPTH, _PEER_TRADE, PEER_BOTH_CLOCKS, PEER_BUY, PEER_SELL = 1, 2, 3 << 30, 1 << 29, 1 << 28


@njit
def _put(rows, i, ts, market, kind, side, tick, cents):
    row = rows[i]
    row.ts_event = ts
    row.seq = i
    row.price = tick * TICK
    row.size = cents * _CENT
    row.market = market
    row.ref = i
    row.kind = kind
    row.side = side
    row.flags = _LAST


@njit
def _next_level(book, tick, step):
    """The nearest tick beyond `tick` in direction `step` that has size, 0 if there is none."""
    tick += step
    while 1 <= tick <= TICKS:
        if book[tick] > 0:
            return tick
        tick += step
    return 0


@njit(_nrt=True)
def _simulate(rows, draws, gaps, markets, start, trades, bite, fades):
    """Write the events of `markets` markets into `rows`, all fields but ts_recv. Two uint64 draws an event.

    trades, bite, fades: of the Mix.
    """
    book = np.zeros((markets, 2, TICKS + 2), np.int64)  # 0.01 share
    best = np.zeros((markets, 2), np.int64)  # ticks
    ts = start
    i = 0
    for level in range(OPENING):
        for market in range(markets):
            for side in range(2):
                tick = 49 - level if side == _BUY else 51 + level
                cents = 1 + np.int64(draws[i, 0] & np.uint64(0x3FFF))
                book[market, side, tick] = cents
                best[market, side] = 49 if side == _BUY else 51
                ts += gaps[i]
                _put(rows, i, ts, market, _CHANGE, side, tick, cents)
                i += 1
    echo = -1  # side whose touch a trade has just eaten: its level update is the next message
    market = 0
    while i < len(rows):
        ts += gaps[i]
        bits, more = draws[i, 0], draws[i, 1]
        if echo < 0:
            market = np.int64(more % np.uint64(markets))
        bid, ask = best[market, _BUY], best[market, _SELL]
        kind = np.int64(bits & np.uint64(0x3FF))
        side = np.int64((bits >> np.uint64(10)) & np.uint64(1))
        roll = np.int64((bits >> np.uint64(11)) & np.uint64(0x3FF))
        cents = 1 + np.int64((bits >> np.uint64(21)) & np.uint64(0x3FFF))
        deep = np.int64((bits >> np.uint64(35)) & np.uint64(0x1FF))
        fade = np.int64((bits >> np.uint64(44)) & np.uint64(0x3FF))

        if echo >= 0:  # what the trade left, already in the book
            side, tick = echo, np.int64(rows[i - 1].price) // TICK
            echo = -1
            _put(rows, i, ts, market, _CHANGE, side, tick, book[market, side, tick])
            if book[market, side, tick] == 0:
                best[market, side] = _next_level(book[market, side], tick, -1 if side == _BUY else 1)
            i += 1
            continue
        if kind < trades:
            tick = bid if side == _BUY else ask
            step = -1 if side == _BUY else 1
            taken = min(1 + (cents >> bite), book[market, side, tick])
            if taken == book[market, side, tick] and _next_level(book[market, side], tick, step) == 0:
                taken -= 1  # S2: the last level stays
            if taken > 0:
                book[market, side, tick] -= taken
                _put(rows, i, ts, market, _TRADE, 1 - side, tick, taken)
                echo = side
                i += 1
                continue
        if ask - bid > 1 and deep & 1:  # an open spread is filled again, more often towards 0.50
            side = _BUY if roll < 512 + 100 - bid - ask else _SELL
            tick = bid + 1 if side == _BUY else ask - 1
            best[market, side] = tick
        else:
            distance = 0
            while deep & 1 and distance < 9:
                deep >>= 1
                distance += 1
            tick = max(1, bid - distance) if side == _BUY else min(TICKS, ask + distance)
            touch = tick == (bid if side == _BUY else ask)
            if fade < (fades if touch else 60):
                after = _next_level(book[market, side], tick, -1 if side == _BUY else 1) if touch else 1
                if after > 0:
                    cents = 0
                    if touch:
                        best[market, side] = after
        book[market, side, tick] = cents
        _put(rows, i, ts, market, _CHANGE, side, tick, cents)
        i += 1


def many_markets(markets: int = 1, events: int = EVENTS, seed: int = SEED, mix: Mix = BUSY) -> np.ndarray:
    """`events` rows (EVENT) spread evenly over `markets` markets, each as busy as one market alone would be.

    The draws are the same for any number of markets; the clock runs `markets` times as fast, so a stream of
    1 000 markets is 95 s of a venue at work instead of a day of one market. Raises ValueError when the
    opening levels alone would not fit.
    """
    if events <= 2 * OPENING * markets:
        raise ValueError(f"{events} events cannot open {markets} markets: {2 * OPENING} levels each")
    random = np.random.Generator(np.random.PCG64(seed))
    draws = random.integers(0, 1 << 64, size=(events, 2), dtype=np.uint64)
    burst = random.integers(10_000, 2 * units.NS_PER_MS, size=events, dtype=np.int64)
    pause = random.integers(0, mix.pause * units.NS_PER_MS, size=events, dtype=np.int64)
    gaps = np.where(random.integers(0, 2, size=events, dtype=np.int8) == 0, burst, pause)
    latency = LATENCY + random.integers(0, units.NS_PER_MS, size=events, dtype=np.int64)
    rows = np.zeros(events, EVENT)
    _simulate(rows, draws, gaps // markets, markets, START, mix.trades, mix.bite, mix.fades)
    rows["ts_recv"] = np.maximum.accumulate(rows["ts_event"] + latency)
    return rows


def one_market(events: int = EVENTS, seed: int = SEED, mix: Mix = BUSY) -> np.ndarray:
    """The stream of one market as EVENT rows."""
    return many_markets(1, events, seed, mix)


def peer_events(rows: np.ndarray) -> np.ndarray:
    """The same events as hftbacktest takes them (prices in pUSD, sizes in shares, both float)."""
    events = np.zeros(len(rows), PEER_EVENT)
    what = np.where(rows["kind"] == _TRADE, _PEER_TRADE, _PEER_DEPTH)
    events["ev"] = what | np.where(rows["side"] == _BUY, PEER_BUY, PEER_SELL) | PEER_BOTH_CLOCKS
    events["exch_ts"] = rows["ts_event"]
    events["local_ts"] = rows["ts_recv"]
    events["px"] = rows["price"] / units.ONE
    events["qty"] = rows["size"] / units.MICRO
    return events


def sha256(rows: np.ndarray) -> str:
    """SHA-256 (hex) of the rows' bytes."""
    return hashlib.sha256(rows.data).hexdigest()


def work_folder() -> Path:
    """Where the bench keeps what it makes: POLYTRADERS_BENCH or .bench, ignored by git."""
    folder = Path(os.environ.get("POLYTRADERS_BENCH") or Path(__file__).resolve().parent.parent / ".bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder


def _recipe() -> str:
    """Short hash of this file: a changed generator never meets an old cache."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def _write(path: Path, save) -> Path:
    if not path.exists():
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            save(file)
        part.rename(path)
    return path


def cached(markets: int = 1, events: int = EVENTS, mix: Mix = BUSY) -> Path:
    """The .npy file of EVENT rows, made when it is not there."""
    path = work_folder() / f"stream-{_recipe()}-{_name(mix)}-{events}x{markets}.npy"
    return _write(path, lambda file: np.save(file, many_markets(markets, events, mix=mix)))


def cached_peer(events: int = EVENTS, mix: Mix = BUSY) -> Path:
    """The .npz file (key `data`) of the one-market stream for hftbacktest, made when it is not there."""
    path = work_folder() / f"peer-{_recipe()}-{_name(mix)}-{events}.npz"
    return _write(path, lambda file: np.savez(file, data=peer_events(np.load(cached(1, events, mix)))))


def _name(mix: Mix) -> str:
    return "-".join(str(part) for part in mix)


def describe(rows: np.ndarray) -> dict:
    """What a stream is, in numbers: for the results file and the curious."""
    return {
        "sha256": sha256(rows),
        "events": len(rows),
        "trades": int((rows["kind"] == _TRADE).sum()),
        "markets": int(rows["market"].max()) + 1,
        "seconds": round(float(rows["ts_event"][-1] - rows["ts_event"][0]) / units.NS_PER_S, 1),
        "price_min": units.price_text(int(rows["price"].min())),
        "price_max": units.price_text(int(rows["price"].max())),
        "row_bytes": rows.nbytes,
    }


if __name__ == "__main__":
    for count, mix in ((1, BUSY), (1000, BUSY), (1, CALM)):
        print(mix, describe(np.load(cached(count, mix=mix))))
    print(cached_peer(), cached_peer(mix=CALM))
