"""The venue port: what a runner asks of a venue, and what it hears from it.

Three venues stand behind it: the simulated one (paper), the local server and Polymarket; one conformance
suite holds for all. The runner's order of work is always the same:

    requests = port.prepare(actions, now)   built and signed; the order id at the venue is known, nothing is sent
    log.append(actions, keys of requests); log.sync()
    await port.send(requests)               outcomes come back through `emit`, now or later

Invariants
    V1  nothing is sent that `prepare` did not return, and no order is sent twice; a cancel, which does no more when it
        comes again, may be
    V2  each outcome of an order is emitted once: one ack or reject, each fill by its trade id, one cancel
    V3  a timeout is not a rejection: an outcome that is not known is looked up by the order's digest, never posted
        again; until it is known nothing is emitted
    V4  rows are emitted on the event loop's thread, in the order in which the venue's news may be applied
    V5  where a taking buy spends its money, and so may trade more shares than were asked for, its fills carry Flag.MORE
        and a CANCEL ends it
    V6  no CANCEL is emitted before every fill of the order
    V7  a venue that cannot be asked says so (`Refused`); no balance or position is ever made up
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from polytraders.reasons import Code


@dataclass(frozen=True, slots=True)
class News:
    """Something the venue told us: event rows for the step, and what of the venue's own names belongs to them."""

    rows: np.ndarray  # EVENT[k], seq not set; ts_recv is ours
    keys: tuple[str, ...] = ()  # venue's key of each row (digest of the order, id of the trade), logged with the rows
    note: dict[str, Any] = field(default_factory=dict)  # more for the log and for people, no secrets; {} = nothing


Emit = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class Request:
    """One action, ready to be sent."""

    action: np.void  # rows.ACTION, a copy
    key: str  # submits: the order's digest, its id at the venue; cancels: that of the order to cancel; else ""
    body: Any = field(default=None, repr=False)  # what the implementation sends; never logged, it holds signatures
    refused: str = ""  # denied locally: reason code; `send` then sends nothing and emits ORDER_REJECT
    why: str = ""  # what was refused and how to mend it


@dataclass(frozen=True, slots=True)
class Known:
    """An order of a former process of this run, as its log knows it."""

    action: np.void  # rows.ACTION of the submit
    key: str  # digest
    filled: int  # micro-shares booked
    trades: tuple[str, ...] = ()  # keys of its fills that are booked
    provisional: tuple[str, ...] = ()  # of those, not confirmed yet
    acked: bool = False  # its ORDER_ACK is booked
    over: bool = False  # its end is booked


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """A resting order as the venue lists it."""

    key: str
    market: int  # index in the run's market table, -1 = not one of ours
    outcome: int  # rows.Outcome
    side: int  # rows.Side
    price: int  # pips, own token
    size: int  # micro-shares
    filled: int  # micro-shares


@dataclass(frozen=True, slots=True)
class Trade:
    """A match of one of our orders as the venue lists it."""

    key: str  # venue's trade id and our order's place in it
    order: str  # digest
    market: int
    outcome: int
    side: int
    price: int  # pips, own token
    size: int  # micro-shares
    fee: int  # micro-pUSD
    maker: bool
    status: str  # MATCHED | MINED | CONFIRMED | RETRYING | FAILED
    ts: int  # ns


@dataclass(frozen=True, slots=True)
class Balances:
    """What the venue says we own."""

    cash: int  # micro-pUSD, with what open orders hold back
    shares: dict[tuple[int, int], int]  # (market, outcome) -> micro-shares; no entry = none
    allowance: int  # micro-pUSD the exchange may move
    ts: int  # ns, when it was asked


@dataclass(frozen=True, slots=True)
class Frozen:
    """A venue of this process as it was at one moment, for a snapshot. books: plain data; arrays: name -> bytes."""

    books: dict[str, Any]
    layout: dict[str, Any]
    arrays: dict[str, bytes]


@runtime_checkable
class Resident(Protocol):
    """A venue that lives in this process: what happens there is in the run's log, so that it outlives the process.

    Everything that a row of the log tells of it was in `journal` before, or in the same batch.
    """

    def journal(self) -> list[list[Any]]:
        """What happened since it was last asked, as JSON has it: with the batch of the rows that were observed last."""

    def freeze(self) -> Frozen:
        """All of it, with an empty journal."""


class VenuePort(Protocol):
    """A venue as the runner sees it."""

    name: str  # simulated | local | polymarket
    stopped: Callable[[int], Code | None]
    """Why no submit of a market may leave now, None = it may. The runner's; asked last before each goes on the wire, as
    what was handed over may have waited for the request budget meanwhile. One that is stopped is not sent: CANCEL with
    this code."""
    under_way: set[str]
    """Keys of submits that are on the wire: sent, and not answered."""

    async def start(self, emit: Emit, known: Sequence[Known] = ()) -> None:
        """Connect, take up the orders of a former process, and reconcile: what happened meanwhile is emitted.

        Raises Refused when trading cannot begin (wrong chain, closed-only account, geoblock, missing allowance ...).
        """

    def prepare(self, actions: np.ndarray, now: int) -> list[Request]:
        """Build and sign. actions: ACTION[k]; now: ns. Sends nothing and does no I/O."""

    def observe(self, events: np.ndarray) -> None:
        """Market-data rows as they are given to the step, in order: rules in force, and what a simulated venue trades
        against."""

    async def send(self, requests: Sequence[Request]) -> None:
        """Send within the rate budget, batched where the venue batches. Returns when each is sent or its end is known.
        Raises nothing for a single request: its outcome is emitted."""

    async def cancel_all(self, market: int = -1) -> None:
        """Ask the venue to cancel every resting order of ours (of one market). Its news are emitted as they come."""

    async def open_orders(self) -> list[OpenOrder]: ...

    async def trades(self, since: int = 0) -> list[Trade]:
        """Our trades since `since` (ns), oldest first."""

    async def balances(self) -> Balances: ...

    async def reconcile(self) -> dict[str, Any]:
        """Compare what we know with what the venue lists, emit what we missed, and tell the differences found."""

    def health(self) -> dict[str, Any]:
        """State of each connection and task: name -> up, since (ns), last message (ns), errors."""

    async def stop(self) -> None:
        """Close connections. Orders stay as they are: whoever stops cancels first."""
