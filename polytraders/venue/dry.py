"""A dry run: everything up to the network. Orders are built, checked and signed by the live port, and none is sent.

An order that would have left ends at once with a CANCEL of the reason EXEC_DRY_RUN, one that would have been denied is
rejected as it would have been, so that the step goes on as it does with a venue that fills nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polytraders.reasons import REGISTRY, Code
from polytraders.rows import EVENT, ActionKind, EventKind, Flag
from polytraders.venue.port import Balances, Emit, Known, News, OpenOrder, Request, Trade, VenuePort

_TOLD = {
    ActionKind.SUBMIT: EventKind.CANCEL,
    ActionKind.SPLIT: EventKind.SPLIT,
    ActionKind.MERGE: EventKind.MERGE,
    ActionKind.CONVERT: EventKind.CONVERT,
}


class DryPort:
    """`venue.port.VenuePort` around the port that would trade. inner: only its `prepare`, `observe` and `balances` are
    used. asks: whether balances may be asked for, which needs the inner port's credentials. clock: ns."""

    def __init__(self, inner: VenuePort, asks: bool = False, clock: Callable[[], int] = time.time_ns):
        self.inner, self.asks, self._clock, self._now = inner, asks, clock, 0
        self.name = inner.name
        self.signed = 0
        self.stopped: Callable[[int, int], Code | None] = lambda market, order: None
        self.under_way: set[str] = set()  # nothing ever is
        self._emit: Emit = lambda news: None
        self._since = 0

    def _stamp(self) -> int:
        self._now = max(self._now, self._clock())
        return self._now

    async def start(self, emit: Emit, known: Sequence[Known] = ()) -> None:
        """See VenuePort.start. Orders that a former process did send are not touched."""
        self._emit, self._since = emit, self._stamp()

    async def stop(self) -> None:
        """Nothing is connected."""

    def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
        """Build and sign, as for real."""
        requests = self.inner.prepare(actions, now)
        self.signed += sum(bool(r.body) for r in requests)
        return requests

    def observe(self, events: np.ndarray) -> None:
        """The rules in force matter for what is signed."""
        self.inner.observe(events)

    async def send(self, requests: Sequence[Request]) -> None:
        """Send nothing, and tell the end of each order."""
        rows, keys, denied = [], [], {}
        for request in requests:
            action = request.action
            told = _TOLD.get(ActionKind(int(action["kind"])))
            if told is None:
                continue  # what a cancel would have cancelled has ended already
            row = np.zeros(1, EVENT)
            row["ts_recv"] = row["ts_event"] = self._stamp()
            row["kind"], row["aux"], row["market"] = told, action["order_id"], action["market"]
            row["flags"], row["side"] = Flag.LAST, action["side"] if told == EventKind.CANCEL else 0
            if told == EventKind.CANCEL:
                row["size"] = REGISTRY[request.refused or "EXEC_DRY_RUN"].number
                row["kind"] = EventKind.ORDER_REJECT if request.refused else EventKind.CANCEL
            if request.refused:
                denied[str(int(action["order_id"]))] = request.why
            rows.append(row)
            keys.append(request.key)
        if rows:
            self._emit(News(np.concatenate(rows), tuple(keys), {"denied": denied} if denied else {}))

    async def cancel_all(self, market: int = -1) -> None:
        """Nothing rests."""

    async def open_orders(self) -> list[OpenOrder]:
        return []

    async def trades(self, since: int = 0) -> list[Trade]:
        return []

    async def balances(self) -> Balances:
        """The inner port's, where it may be asked; otherwise nothing is known and nothing is there."""
        return await self.inner.balances() if self.asks else Balances(0, {}, 0, self._stamp())

    async def reconcile(self) -> dict[str, Any]:
        return {"whole": True, "strangers": [], "emitted": 0}

    def health(self) -> dict[str, Any]:
        return {"dry": {"up": True, "since": self._since, "signed": self.signed, "errors": 0}}
