"""A few minutes of one recorded market, for a bot's notebook to show its bot on; a made-up one where it is not at hand.

Not for a backtest: no trades, no quality, every n-th book of one file.
"""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import orjson

import polytraders

FILE = Path("data/polymarket/ws/btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst")
"""Inside the folder of shared recordings: POLYTRADERS_SHARED, or `shared` beside the repository."""

Level = tuple[str, str]
"""Price in pUSD and size in shares, as the venue writes them."""
Book = tuple[float, list[Level], list[Level]]
"""Seconds since the first book, bids and asks; the best level last."""


def recorded_books(slot: int = 2, every: int = 10) -> list[Book]:
    """Every n-th book of the slot-th market of the recording; empty when it is not at hand."""
    folders = [folder / "shared" for folder in Path(polytraders.__file__).parents]
    folders.insert(0, Path(os.environ.get("POLYTRADERS_SHARED", folders[0])))
    path = next((folder / FILE for folder in folders if (folder / FILE).exists()), None)
    if path is None:
        return []
    import zstandard

    books: list[Book] = []
    slugs: list[str] = []
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(file)):
            row = orjson.loads(line)
            slugs += [] if row["slug"] in slugs else [row["slug"]]
            if len(slugs) > slot and row["slug"] == slugs[slot]:
                raw = row["raw"] if isinstance(row["raw"], dict) else orjson.loads(row["raw"])
                bids, asks = ([(level["price"], level["size"]) for level in raw[side]] for side in ("bids", "asks"))
                books.append((row["recv_ts"], bids, asks))
            elif len(slugs) > slot + 1:
                break
    return [(time - books[0][0], bids, asks) for time, bids, asks in books[::every]]


def books(slot: int = 2, every: int = 10, n: int = 400, seed: int = 7) -> tuple[list[Book], str]:
    """(books, whose they are): recorded, or `n` from a seed with the same habits: a cent wide, around a price that
    wanders, some hundred shares a level."""
    if found := recorded_books(slot, every):
        return found, "recorded"
    r, mid = random.Random(seed), 50
    for i in range(n):
        mid = min(max(mid + r.choice((-1, 0, 0, 0, 1)), 10), 90)
        bids = [(f"0.{mid - k:02d}", str(r.randint(20, 400) * k)) for k in range(8, 0, -1)]
        asks = [(f"0.{mid + k:02d}", str(r.randint(20, 400) * (k + 1))) for k in range(8, -1, -1)]
        found.append((i * 0.7, bids, asks))
    return found, "invented: no recording at hand"


def touches(slot: int = 2, every: int = 4, n: int = 600, seed: int = 7) -> tuple[list[tuple[float, int, int]], str]:
    """(seconds, best bid, best ask in pips of two-sided books, whose they are): every n-th, as `books`."""
    found = []
    for time, bids, asks in recorded_books(slot, 1):
        if bids and asks:
            bid, ask = max(float(price) for price, _ in bids), min(float(price) for price, _ in asks)
            found.append((time, round(bid * 1e4), round(ask * 1e4)))
    if found:
        return [(time - found[0][0], bid, ask) for time, bid, ask in found[::every]], "recorded"
    r, mid = random.Random(seed), 5_000
    for i in range(n):
        mid = min(max(mid + r.choice((-100, 0, 0, 0, 0, 0, 100)), 1_000), 9_000)
        found.append((i * 0.5, mid, mid + 100))
    return found, "invented: no recording at hand"
