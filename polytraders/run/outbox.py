"""What is durable and waits to go to the venue: submits in one lane, cancels in another, so that neither waits long.

While one call of a lane is under way, what comes meanwhile gathers and goes with the next. A cancel waits for its own
order's submit to come back, for nothing else.

Invariants
    B1  a request is handed to the venue at most once
    B2  while the box is shut no submit leaves it: each is denied with the reason it was shut for; nor does one of a
        market that is barred
    B3  what was handed over and waits for the venue's request budget is stopped there: the port asks `stopped` last
    B4  what is denied is told: an order that was decided on always has an end
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from polytraders.reasons import Code
from polytraders.rows import ActionKind
from polytraders.venue.port import Request, VenuePort

Deny = Callable[[Sequence[Request], Code], None]
CANCELS = (ActionKind.CANCEL, ActionKind.CANCEL_ALL)
LARGEST = 64
"""Requests handed over in one call."""


class Outbox:
    """Two lanes to a venue. `deny` is called with what will not be sent."""

    def __init__(self, port: VenuePort, deny: Deny):
        self.port, self._deny = port, deny
        self.shut: Code | None = None
        """Why no submit leaves, None = open."""
        self.sent = 0
        self._submits: deque[Request] = deque()
        self._cancels: deque[Request] = deque()
        self._barred: set[int] = set()  # markets
        self._flying: set[int] = set()  # numbers of the orders whose submit is under way
        self._kick = {"submits": asyncio.Event(), "cancels": asyncio.Event()}
        self._busy = {"submits": False, "cancels": False}
        port.stopped = self.stopped

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._submits or self._cancels or any(self._busy.values()))

    @property
    def waiting(self) -> int:
        return len(self._submits) + len(self._cancels)

    def stopped(self, market: int) -> Code | None:
        """Why no submit of a market may leave, None = it may."""
        return self.shut or (Code.EXEC_NOT_SENT_HALTED if market in self._barred else None)

    def put(self, requests: Iterable[Request]) -> None:
        """Take over requests that are durable."""
        barred = []
        for request in requests:
            if request.action["kind"] in CANCELS:
                self._cancels.append(request)
            elif int(request.action["market"]) in self._barred:
                barred.append(request)
            else:
                self._submits.append(request)
        if barred:
            self._deny(barred, Code.EXEC_NOT_SENT_HALTED)
        self._wake()

    def close(self, why: Code) -> None:
        """Let no submit out any more; what waits is denied at once."""
        self.shut = why
        waiting, self._submits = list(self._submits), deque()
        if waiting:
            self._deny(waiting, why)
        self._wake()

    def bar(self, markets: Collection[int]) -> None:
        """Let no submit out any more in these markets; the others go on. What waits is denied at once."""
        self._barred |= set(markets)
        waiting, self._submits = self._submits, deque()
        gone = []
        for request in waiting:
            (gone if int(request.action["market"]) in self._barred else self._submits).append(request)
        if gone:
            self._deny(gone, Code.EXEC_NOT_SENT_HALTED)
        self._wake()

    def lift(self, markets: Collection[int]) -> None:
        """Let submits out again in these markets."""
        self._barred -= set(markets)

    def reopen(self) -> None:
        """Let submits out again."""
        self.shut = None

    async def submits(self) -> None:
        """The lane of everything but cancels: run as a task."""
        while True:
            await self._work_in("submits")
            batch = [self._submits.popleft() for _ in range(min(len(self._submits), LARGEST))]
            if self.shut is not None:
                self._deny(batch, self.shut)
                continue
            self._flying = {int(request.action["order_id"]) for request in batch}
            await self._send("submits", batch)

    async def cancels(self) -> None:
        """The lane of cancels: run as a task."""
        while True:
            await self._work_in("cancels")
            unsent = self._flying | {int(request.action["order_id"]) for request in self._submits}
            ready, held = [], deque()
            for request in self._cancels:
                free = len(ready) < LARGEST and int(request.action["order_id"]) not in unsent
                (ready if free else held).append(request)
            self._cancels = held
            if ready:
                await self._send("cancels", ready)
            else:  # until the other lane has moved
                await self._kick["cancels"].wait()
                self._kick["cancels"].clear()

    async def _send(self, lane: str, batch: list[Request]) -> None:
        self._busy[lane] = True
        try:
            self.sent += len(batch)
            await self.port.send(batch)
        finally:
            self._busy[lane] = False
            if lane == "submits":
                self._flying = set()
            self._wake()

    async def _work_in(self, lane: str) -> None:
        while not (self._submits if lane == "submits" else self._cancels):
            self._kick[lane].clear()
            await self._kick[lane].wait()

    def _wake(self) -> None:
        for event in self._kick.values():
            event.set()
