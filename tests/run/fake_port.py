"""A venue of a few lines behind the port: it takes every order, and does what the test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from polytraders.rows import ActionKind, EventKind, Flag, Side
from polytraders.run.live import rows_of
from polytraders.venue.port import Balances, Known, News, OpenOrder, Request, Trade


class FakePort:
    """One account. `book`: key -> [action, filled]; `wire`: everything that was sent, in order."""

    name = "fake"

    def __init__(self, *, refuse_cancels: int = 0, delay: float = 0.0, cash: int = 1_000_000_000):
        self.cash, self.shares = cash, {}  # micro-pUSD; (market, outcome) -> micro-shares
        self.book: dict[str, list[Any]] = {}
        self.wire: list[tuple[str, str]] = []
        self.fills: list[Trade] = []
        self.refuse_cancels, self.delay = refuse_cancels, delay
        self.known: Sequence[Known] = ()
        self.prepared: list[Request] = []
        self.started = False
        self.stopped: Any = lambda market: None
        self.under_way: set[str] = set()

    async def start(self, emit: Any, known: Sequence[Known] = ()) -> None:
        self.emit, self.known, self.started = emit, known, True

    def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
        requests = []
        for action in actions:
            number = int(action["order_id"])
            key = hashlib.sha256(b"order %d" % number).hexdigest()
            requests.append(Request(action.copy(), key))
        self.prepared += requests
        return requests

    def observe(self, events: np.ndarray) -> None:
        pass

    def tell(self, kind: EventKind, action: Any, key: str, **more: int) -> None:
        row = {"kind": kind, "market": int(action["market"]), "aux": int(action["order_id"]), **more}
        self.emit(News(rows_of(row), (key,)))

    async def send(self, requests: Sequence[Request]) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        for request in requests:
            kind = ActionKind(int(request.action["kind"]))
            self.wire.append((kind.name, request.key))
            if kind is ActionKind.SUBMIT:
                assert request.key not in self.book, "an order was sent twice"
                self.book[request.key] = [request.action, 0]
                self.tell(EventKind.ORDER_ACK, request.action, request.key)
            elif kind is ActionKind.CANCEL:
                self.cancel(request.key)

    def cancel(self, key: str) -> None:
        if self.refuse_cancels:
            self.refuse_cancels -= 1
        elif key in self.book:
            action, _ = self.book.pop(key)
            self.tell(EventKind.CANCEL, action, key)

    def fill(self, key: str, size: int) -> None:
        """The order trades as a maker, finally."""
        action, filled = self.book[key]
        self.book[key][1] = filled = filled + size
        if filled == action["size"]:
            del self.book[key]
        sign = 1 if action["side"] == Side.BUY else -1
        place = (int(action["market"]), int(action["outcome"]))
        self.shares[place] = self.shares.get(place, 0) + sign * size
        self.cash -= sign * size * int(action["price"]) // 10_000
        self.tell(EventKind.FILL_CONFIRMED, action, f"t{len(self.fills)}", price=int(action["price"]), size=size,
                  flags=Flag.MAKER)  # fmt: skip
        self.fills.append(None)  # type: ignore[arg-type]

    async def cancel_all(self, market: int = -1) -> None:
        for key in list(self.book):
            self.wire.append(("CANCEL", key))
            self.cancel(key)

    async def open_orders(self) -> list[OpenOrder]:
        return [
            OpenOrder(key, int(a["market"]), int(a["outcome"]), int(a["side"]), int(a["price"]), int(a["size"]), filled)
            for key, (a, filled) in self.book.items()
        ]

    async def trades(self, since: int = 0) -> list[Trade]:
        return []

    async def balances(self) -> Balances:
        return Balances(self.cash, {place: size for place, size in self.shares.items() if size}, 0, 0)

    async def reconcile(self) -> dict[str, Any]:
        return {"differences": []}

    def health(self) -> dict[str, Any]:
        return {"fake": {"up": self.started}}

    async def stop(self) -> None:
        self.started = False
