"""Wire-format messages by the handful, and recordings made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from polytraders.data.catalog import Catalog, Session
from polytraders.data.importer import Imported, import_files

CONDITION = "0x" + "ab" * 32
YES, NO = "111111111111111111", "222222222222222222"
T0 = 1_776_323_404_000
"""Venue time of the first message, ms."""
NS = 1_000_000


class Wire:
    """Messages of one market, a ms apart, as the venue's market channel sends them."""

    condition, yes, no = CONDITION, YES, NO

    def __init__(self) -> None:
        self.ms = T0

    def _next(self, kind: str, **fields: Any) -> dict[str, Any]:
        self.ms += 1
        return {"market": CONDITION, **fields, "timestamp": str(self.ms), "event_type": kind}

    def book(self, bids: dict[str, str], asks: dict[str, str], token: str = YES, **extra: Any) -> dict[str, Any]:
        """Full book; {price: size} a side, in any order."""
        sides = {
            "bids": [{"price": p, "size": s} for p, s in sorted(bids.items(), key=lambda level: float(level[0]))],
            "asks": [{"price": p, "size": s} for p, s in sorted(asks.items(), key=lambda level: -float(level[0]))],
        }
        return self._next("book", asset_id=token, **sides, **extra)

    def change(self, *entries: dict[str, str]) -> dict[str, Any]:
        return self._next("price_change", price_changes=list(entries))

    @staticmethod
    def leg(price: str, size: str, side: str, token: str = YES, **quotes: str) -> dict[str, str]:
        return {"asset_id": token, "price": price, "size": size, "side": side, **quotes}

    def trade(self, price: str, size: str, side: str, token: str = YES, **extra: str) -> dict[str, Any]:
        return self._next(
            "last_trade_price", asset_id=token, price=price, size=size, side=side, fee_rate_bps="0", **extra
        )

    def tick(self, old: str, new: str, token: str = YES) -> dict[str, Any]:
        return self._next("tick_size_change", asset_id=token, old_tick_size=old, new_tick_size=new)

    def best(self, bid: str, ask: str, token: str = YES) -> dict[str, Any]:
        return self._next("best_bid_ask", asset_id=token, best_bid=bid, best_ask=ask, spread="0")

    def resolved(self, winner: str) -> dict[str, Any]:
        return self._next(
            "market_resolved", id="1", assets_ids=[YES, NO], winning_asset_id=winner, winning_outcome="Yes"
        )


def lines_of(frames: list[Any], every_ms: int = 10) -> bytes:
    """Frames as a recording in our own form, received 30 ms after T0 and then `every_ms` apart."""
    return b"".join(
        orjson.dumps({"recv_ns": (T0 + 30 + every_ms * at) * NS, "frame": frame}) + b"\n"
        for at, frame in enumerate(frames)
    )


class Bench:
    """Imports into a catalog of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "catalog"
        self.catalog = Catalog(self.root)

    def write(self, data: bytes, name: str = "x.jsonl") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def bring(self, data: bytes, file: str = "x.jsonl", **options: Any) -> Imported:
        """Write a file and import it."""
        (result,) = import_files([self.write(data, file)], root=self.root, **{"gap_s": 5, **options}).recordings
        return result

    def session(self, frames: list[Any], **options: Any) -> Session:
        """The event rows that a list of frames gives."""
        return self.catalog.load(self.bring(lines_of(frames), **options).name)

    def quality(self, name: str = "x") -> list[dict[str, Any]]:
        return self.catalog.table(name, "quality").to_pylist()
