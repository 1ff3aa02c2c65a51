"""The local venue as one thing: exchange, desk, streams and faults on one clock, and the pump that keeps it going."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from polytraders.data.catalog import Session
from polytraders.units import NS_PER_MS, NS_PER_S
from polytraders.venue.local import tape as tapes
from polytraders.venue.local.desk import Desk
from polytraders.venue.local.exchange import Exchange
from polytraders.venue.local.faults import Faults
from polytraders.venue.local.records import Account, Listing, Order, Trade
from polytraders.venue.local.streams import Streams
from polytraders.venue.local.tape import Tape

LONGEST_NAP = NS_PER_S // 2
"""ns the pump sleeps at most: a heartbeat must be missed in time."""
RECEIVED = 10_000
"""Requests about orders that are kept for `GET /received` of the switches."""


@dataclass(frozen=True)
class Options:
    """How a venue is set up. cash: micro-pUSD of a new account. settlement: ns. speed: of the tape, 0 = it stands."""

    cash: int
    settlement: int
    speed: float
    seed: int
    spare: int = 64
    apart: bool = False  # accounts neither meet nor see each other


@dataclass(slots=True)
class Received:
    """A request that places or cancels orders. at: ns, this machine's clock when it was there in full."""

    at: int
    method: str
    path: str
    body: bytes = field(repr=False)  # holds signatures
    status: int = 0  # HTTP's, 0 = not answered yet


class LocalVenue:
    """Everything behind the ports."""

    def __init__(self, session: Session | None, options: Options):
        """session: what the tape plays; None: no markets but those that are added."""
        self.options, self.faults = options, Faults(options.seed)
        start = time.time_ns()
        rows = session.events if session else np.zeros(0, tapes.EVENT)
        infos = tapes.on_our_clock(session.markets, rows, start, options.speed) if session else ()
        self.exchange = Exchange(
            infos,
            Tape(rows, start, options.speed),
            self.faults,
            cash=options.cash,
            settlement=options.settlement,
            spare=options.spare,
            apart=options.apart,
        )
        self.desk = Desk(self.exchange, options.seed)
        self.streams = Streams(self.exchange, self.desk, self.faults)
        self.exchange.tell_market, self.exchange.tell_user = self._tell_market, self._tell_user
        self.received: deque[Received] = deque(maxlen=RECEIVED)
        """The newest requests that place or cancel orders, as they arrived: before any fault, served or not."""
        self._kick = asyncio.Event()
        self.advance()

    def clock(self) -> int:
        """ns: this machine's clock and the skew that is switched on."""
        skew = self.faults["clock_skew"]
        return time.time_ns() + (skew.value * NS_PER_MS if skew.on() else 0)

    def advance(self) -> None:
        """Let happen what is due. The exchange's own time has no skew."""
        now = time.time_ns()
        self.exchange.advance(now)
        self.desk.sweep(now)

    def wake(self) -> None:
        """Something new may be due earlier than the pump thinks."""
        self._kick.set()

    def _tell_market(self, listing: Listing, what: str, rows: np.ndarray) -> None:
        self.streams.market_moved(listing, what, rows)

    def _tell_user(self, account: Account, subject: Order | Trade, what: str) -> None:
        self.streams.user_event(account, subject, what)

    async def pump(self) -> None:
        """Run until cancelled: advance whenever something is due."""
        while True:
            self.advance()
            nap = min(max(self.exchange.next_due() - time.time_ns(), 0), LONGEST_NAP) / NS_PER_S
            self._kick.clear()
            with contextlib.suppress(TimeoutError):  # not wait_for: of Python 3.11 it can lose a cancellation
                async with asyncio.timeout(max(nap, 0.001)):
                    await self._kick.wait()
