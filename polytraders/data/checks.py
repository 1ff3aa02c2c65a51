"""A recording against itself: replay its rows and compare with what its own messages said.

Checked are the bytes (SHA-256 of every file), the order of the stream, every full book (size and
value of both sides and both best prices), and every reported best quote: a quote that the replayed
book does not show must stand in the quality table, and nowhere else may one be missing. With the
source files at hand their SHA-256 and that of every message are recomputed too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polytraders.data.catalog import Catalog
from polytraders.data.quality import Problem
from polytraders.data.sources import Message, file_sha256, read_messages
from polytraders.rows import EventKind, Flag, Side
from polytraders.units import ONE

SHOWN = 20
"""Problems a result quotes."""


@dataclass(frozen=True)
class CheckResult:
    """Verdict on one recording. books, quotes: compared and equal. problems: the first, in words."""

    recording: str
    ok: bool
    files: int
    rows: int
    messages: int
    books_compared: int
    books_equal: int
    quotes_compared: int
    quotes_agreed: int
    sources_checked: int
    sources_missing: tuple[str, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class Replay:
    """Books rebuilt from rows alone, with running totals of size and value a side."""

    def __init__(self) -> None:
        self.books: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
        self.totals: dict[int, list[int]] = {}

    def apply(self, row: tuple[int, ...]) -> None:
        """One row as (kind, market, side, price, size)."""
        kind, market, side, price, size = row
        if kind == EventKind.BOOK_CLEAR:
            self.books[market] = ({}, {})
            self.totals[market] = [0, 0, 0, 0]
        elif kind in (EventKind.LEVEL, EventKind.CHANGE):
            levels = self.books.setdefault(market, ({}, {}))[side]
            totals = self.totals.setdefault(market, [0, 0, 0, 0])
            more = size - levels.pop(price, 0)
            totals[side] += more
            totals[2 + side] += more * price
            if size:
                levels[price] = size

    def best(self, market: int) -> tuple[int, int]:
        """(best bid, best ask) in pips; an empty side is 0 or 10 000."""
        bids, asks = self.books.get(market, ({}, {}))
        return max(bids, default=0), min(asks, default=ONE)


def check(name: str, *, root: Path | None = None, sources: Path | None = None) -> CheckResult:
    """Check one recording of the catalog.

    sources: folder that holds the files it was imported from, None = not checked. Raises UsageError
    for an unknown name, DamageError when the catalog's own tables cannot be read.
    """
    catalog = Catalog(root)
    manifest = catalog.manifest(name)
    folder = catalog.folder(name)
    problems: list[str] = []
    for file, digest in manifest["files"].items():
        path = folder / file
        if not path.is_file():
            problems.append(f"{file} is missing")
        elif file_sha256(path) != digest:
            problems.append(f"{file} is not what was written: its SHA-256 differs")
    counts = Counter[str]()
    missing: list[str] = []
    if not problems:
        events = catalog.load(name).events
        messages = catalog.table(name, "messages").to_pydict()
        problems += _order(events)
        _replay(events, messages, _flagged(catalog, name), counts, problems)
        if sources is not None:
            missing = _sources(manifest, messages, sources, counts, problems)
    return CheckResult(
        recording=name,
        ok=not problems,
        files=len(manifest["files"]),
        rows=manifest["rows"],
        messages=manifest["messages"],
        books_compared=counts["books"],
        books_equal=counts["books_equal"],
        quotes_compared=counts["quotes"],
        quotes_agreed=counts["quotes_agreed"],
        sources_checked=counts["sources"],
        sources_missing=tuple(missing),
        problems=(*problems[:SHOWN], *([f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])),
    )


def _order(events: np.ndarray) -> list[str]:
    problems = []
    if np.any(np.diff(events["ts_recv"]) < 0):
        problems.append("ts_recv runs backward")
    if np.any(events["seq"] != np.arange(len(events))):
        problems.append("seq is not 0, 1, 2, ...")
    ends = np.append(events["ref"][1:] != events["ref"][:-1], True)
    if np.any(ends != (events["flags"] & Flag.LAST != 0)):
        problems.append("Flag.LAST is not on the last row of every message, and only there")
    return problems


def _flagged(catalog: Catalog, name: str) -> set[int]:
    quality = catalog.table(name, "quality").to_pydict()
    return {
        message
        for kind, message in zip(quality["kind"], quality["message"], strict=True)
        if kind == Problem.QUOTE_MISMATCH
    }


def _replay(
    events: np.ndarray, messages: dict[str, list[Any]], flagged: set[int], counts: Counter[str], problems: list[str]
) -> None:
    replay = Replay()
    rows = list(zip(*(events[column].tolist() for column in ("kind", "market", "side", "price", "size")), strict=True))
    told = zip(*(messages[column] for column in _TOLD), strict=True)
    for number, (kind, market, first, n_rows, bid, ask, *totals) in enumerate(told):
        for row in rows[first : first + n_rows] if n_rows else ():
            replay.apply(row)
        if bid is None:
            continue
        best = replay.best(market)
        if totals[0] is not None:
            counts["books"] += 1
            if best == (bid, ask) and replay.totals.get(market) == totals:
                counts["books_equal"] += 1
            else:
                problems.append(f"message {number}: the replayed book of market {market} is not the message's")
            continue
        counts["quotes"] += 1
        counts["quotes_agreed"] += best == (bid, ask)
        if (best != (bid, ask)) != (number in flagged):
            problems.append(
                f"message {number} ({kind}): quotes {bid}/{ask}, replayed {best[0]}/{best[1]}, "
                "and the quality table says otherwise"
            )


_TOLD = (
    "kind",
    "market",
    "first_seq",
    "n_rows",
    "best_bid",
    "best_ask",
    "bid_size",
    "ask_size",
    "bid_value",
    "ask_value",
)
assert (Side.BUY, Side.SELL) == (0, 1)  # totals are indexed by side


def _sources(
    manifest: dict[str, Any], messages: dict[str, list[Any]], folder: Path, counts: Counter[str], problems: list[str]
) -> list[str]:
    """Recompute the digests of the source files and of each of their messages; returns the files not found."""
    recorded: dict[tuple[int, int, int], bytes] = {
        (file, line, part): digest
        for file, line, part, digest in zip(*(messages[c] for c in ("file", "line", "part", "sha256")), strict=True)
    }
    missing = []
    for source in manifest["sources"]:
        path = folder / source["file"]
        if not path.is_file():
            missing.append(source["file"])
            continue
        counts["sources"] += 1
        if file_sha256(path) != source["sha256"]:
            problems.append(f"{path} is not the file that was imported: its SHA-256 differs")
            continue
        if source["role"] == "recording":
            seen = (item for item in read_messages(source["number"], path, Counter()) if isinstance(item, Message))
            wrong = sum(recorded.get((m.file, m.line, m.part), m.sha256) != m.sha256 for m in seen)
        else:
            lines = path.read_bytes().splitlines()
            wrong = sum(
                hashlib.sha256(lines[line - 1]).digest() != digest
                for (file, line, _), digest in recorded.items()
                if file == source["number"]
            )
        if wrong:
            problems.append(f"{path}: {wrong} messages do not have the SHA-256 they were imported with")
    return missing
