"""The peer as an oracle: its decisions, fills, position and cash on known rows, stored and compared.

    python -m bench.oracle          # runs the peer in its own environment, writes tests/golden/hftbacktest.json

`make test` runs our venue on the same rows and compares with that file to the last digit; nothing of the peer is
needed for it. The rows are 1 000 000 of the seeded stream, and markets of real recordings.

How a recorded market becomes the peer's feed
    prices    both tokens' messages are one book in YES space already (a NO bid at p is a YES ask at 1 - p), in
              pips; the peer's tick is the market's finest grid, its lot one micro-share
    sizes     shares as floats: 1e-6 is exact enough for every sum of a book
    venue     the peer's exch_ts is the time at which our venue applies a row: `ts_event`, never later than we
              received it, never before the row that arrived ahead of it; its local_ts is `ts_recv`
    rows      BOOK_CLEAR empties both sides, LEVEL is a snapshot's level, CHANGE a level, TRADE a trade
    left out  what the peer has no word for: status, resolution, tick changes, clock. Our side skips them too

Where both must differ: a book that crosses. We keep both quotes until the recording takes one back; the peer
believes the newer one and steps its other best price back behind it (where the venue reports its own best prices,
it is the peer that is right: docs/book_replay.md). A market whose rows cross is therefore a
case twice: whole, and up to its first crossing. Whole, such a market can still end equal: most crossings are
over before the maker looks.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import stream, twin
from polytraders import units
from polytraders.data.catalog import Catalog
from polytraders.data.importer import import_files
from polytraders.engine import book as bk
from polytraders.engine.jit import njit
from polytraders.rows import EventKind, Side

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "hftbacktest.json"
PEER = ROOT / "bench" / "peers" / "hft_oracle.py"
SYNTHETIC = 1_000_000
"""Events of the synthetic case."""
SHOWN = 5
"""Fills that the file spells out."""
WS = "data/polymarket/ws"
RECORDINGS = {
    "btc5m_books": f"{WS}/btc5m_book_stream/btc-updown-5m_book_20260413T1535-1605.jsonl.zst",
    "sports_changes": f"{WS}/tickscope_price_change/polymarket_20260607_0130.parquet",
    "btc5m_capture": f"{WS}/raw_all_event_types/btc5m_20260421T215333Z_market-ws.jsonl.zst",
}
"""Real recordings: name -> path below the shared folder."""
UNCROSSED = " until it crosses"
"""Ends the name of a case that is cut."""

_SNAPSHOT, _CLEAR = 4, 3
"""The peer's numbers of a snapshot's level and of a cleared book."""


def one_market(events: np.ndarray, market: int) -> np.ndarray:
    """Book rows and trades of one market, `ts_event` set to the venue time of our simulated venue."""
    known = (EventKind.BOOK_CLEAR, EventKind.LEVEL, EventKind.CHANGE, EventKind.TRADE)
    rows = events[(events["market"] == market) & np.isin(events["kind"], known)].copy()
    rows["market"] = 0
    rows["ts_event"] = np.maximum.accumulate(np.minimum(rows["ts_event"], rows["ts_recv"]))
    return rows


def peer_feed(rows: np.ndarray) -> np.ndarray:
    """Rows of `one_market` as the peer takes them."""
    events = stream.peer_events(rows)
    both = stream.PEER_BOTH_CLOCKS
    side = np.where(rows["side"] == Side.BUY, stream.PEER_BUY, stream.PEER_SELL)
    level, clear = rows["kind"] == EventKind.LEVEL, rows["kind"] == EventKind.BOOK_CLEAR
    events["ev"][level] = _SNAPSHOT | both | side[level]
    events["ev"][clear] = _CLEAR | both
    return events


@njit
def _crossings(rows, book, market, at):
    """Rows after which the book has become crossed; the first of them goes to at[0]."""
    n, was = 0, False
    for i in range(rows.shape[0]):
        if rows[i].kind <= EventKind.CHANGE:
            bk.apply(book, market, rows[i])
            now = 0 <= bk.ask(market) <= bk.bid(market)
            if now and not was:
                if n == 0:
                    at[0] = i
                n += 1
            was = now
    return n


def crossings(rows: np.ndarray, tick: int) -> tuple[int, int]:
    """(how often the book becomes crossed, first row that does it or the number of rows)."""
    table, cells = twin.markets(1, tick)
    at = np.array([len(rows)])
    return int(_crossings(rows, np.zeros(cells, np.int64), table[0], at)), int(at[0])


def digest(table: np.ndarray) -> str:
    """SHA-256 (hex) of an int64 table's little-endian bytes, row after row."""
    return hashlib.sha256(np.ascontiguousarray(table, "<i8").tobytes()).hexdigest()


def story(figures: dict[str, Any], decisions: np.ndarray, fills: np.ndarray) -> dict[str, Any]:
    """A run in the form of the golden file. Tables as `twin.record` gives them."""
    return {
        "decisions": figures["decisions"],
        "fills": figures["fills"],
        "position": figures["position"],
        "balance": figures["balance"],
        "orders": int((decisions[:, 5] & 1).sum() + (decisions[:, 5] >> 1).sum()),
        "decisions_sha256": digest(decisions),
        "fills_sha256": digest(fills),
        "first_fills": fills[:SHOWN].tolist(),
    }


def ours(rows: np.ndarray, tick: int) -> dict[str, Any]:
    """Our venue's story."""
    return story(*twin.record(rows, tick))


def peers(rows: np.ndarray, tick: int, python: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The peer's (figures, decisions, fills) on the same rows, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        feed, out = Path(folder) / "feed.npz", Path(folder) / "out.npz"
        np.savez(feed, data=peer_feed(rows), tick=tick / units.ONE, lot=1 / units.MICRO)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        subprocess.run([str(python), str(PEER), str(feed), str(out)], check=True, env=clean)
        with np.load(out) as found:
            fills = found["fills"]
            figures = {
                "decisions": len(found["decisions"]),
                "fills": int(found["num_trades"]),
                "position": float(found["position"]),
                "balance": round(float(found["balance"]), 6) + 0.0,
            }
            return figures, found["decisions"], fills[np.lexsort(fills.T[2::-1])]


def synthetic() -> np.ndarray:
    """The seeded stream's rows."""
    return stream.one_market(SYNTHETIC)


def recorded(path: Path, root: Path) -> list[tuple[str, np.ndarray, int]]:
    """(condition id, rows, grid in pips) of each market with trades; one that crosses also up to its first crossing."""
    (imported,) = import_files([path], root=root).recordings
    session = Catalog(root).load(imported.name)
    found = []
    for at, info in enumerate(session.markets):
        rows = one_market(session.events, at)
        if (rows["kind"] == EventKind.TRADE).any():
            found.append((info.condition_id, rows, info.grid))
            times, first = crossings(rows, info.grid)
            if times:
                found.append((info.condition_id + UNCROSSED, rows[:first], info.grid))
    return found


def main() -> None:
    """Write the golden file; says where ours differs."""
    from bench.run import peer_python

    shared = Path(os.environ.get("POLYTRADERS_SHARED") or ROOT.parent / "shared")
    cases = [("synthetic", "seed " + str(stream.SEED), synthetic(), stream.TICK)]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in RECORDINGS.items():
            cases += [(name, *case) for case in recorded(shared / path, Path(folder) / name)]
        golden: dict[str, Any] = {}
        for name, market, rows, tick in cases:
            said = peers(rows, tick, Path(os.environ.get("POLYTRADERS_PEER") or peer_python()))
            told = {
                "events": len(rows),
                "rows_sha256": stream.sha256(rows),
                "tick": tick,
                "crossings": crossings(rows, tick)[0],
            }
            told |= story(*said)
            golden.setdefault(name, {})[market] = told
            differs = [key for key, value in ours(rows, tick).items() if value != told[key]]
            print(f"{name} {market[:12]}: {len(rows):,} rows, {told['fills']:,} fills; differs: {differs or 'nothing'}")
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
