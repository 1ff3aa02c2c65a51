"""What the venue keeps of markets, orders, trades and accounts."""

from __future__ import annotations

from dataclasses import dataclass, field

from polytraders.data.markets import MarketInfo
from polytraders.engine.matching import Venue
from polytraders.engine.state import MAX_ORDERS
from polytraders.rows import Outcome, Side, Status
from polytraders.venue.local.intake import Ticket

OUTCOMES = ("Yes", "No")
ENDED = ("CONFIRMED", "FAILED")
"""Statuses of a trade after which none comes."""


@dataclass
class Listing:
    """A market as it is listed. `info` is the recording's, its end on this machine's clock."""

    index: int
    info: MarketInfo
    tick: int
    status: int = Status.OPEN
    payout: int = -1  # pips of one YES share, -1 = not resolved
    last_trade: int = -1  # pips in YES space, -1 = none
    last_side: int = Side.BUY
    changed: int = 0  # ns of the last change of its book
    told: tuple[int, int] = (-2, -2)  # best bid and ask that were told last
    mids: dict[int, int] = field(default_factory=dict)  # unix minute -> pips x 2 at its last change, oldest first

    @property
    def neg_risk(self) -> bool:
        return self.info.neg_risk

    @property
    def min_size(self) -> int:
        return self.info.min_size

    def token(self, outcome: int) -> str:
        return self.info.yes_token if outcome == Outcome.YES else self.info.no_token


@dataclass
class Order:
    """An order of an account, as the venue tells of it."""

    ticket: Ticket
    listing: Listing
    serial: int  # the kernel's id
    created: int  # ns
    owner: str  # API key
    account: str  # address
    size: int  # micro-shares
    status: str = "LIVE"
    filled: int = 0  # micro-shares
    spent: int = 0  # micro-pUSD of those, without fees
    ended: int = 0  # ns, when it was cancelled, 0 = it was not
    trades: list[Trade] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)  # in the kernel's order: its number is the place, from 1

    @property
    def id(self) -> str:
        return self.ticket.id

    @property
    def open(self) -> bool:
        return self.status in ("LIVE", "DELAYED")


@dataclass(eq=False)
class Trade:
    """One fill of one of our orders. other: the same trade as the other account has it, None: it is the tape's."""

    id: str
    order: Order
    price: int  # pips, the order's token
    size: int  # micro-shares
    fee: int  # micro-pUSD
    maker: bool
    matched: int  # ns
    updated: int  # ns
    status: str = "MATCHED"
    hash: str = ""  # of the transaction, once it is mined
    other: Trade | None = None


@dataclass
class Match:
    """What a taker got at one price at one time: the chain accepts or refuses it as one."""

    ghost: bool | None = None  # None: the chain has not spoken


@dataclass(eq=False)
class Fill:
    """A fill as the kernel tells it, and the trades it is made of. match: shared by both sides of a trade of ours."""

    price: int
    size: int
    trades: list[Trade]
    match: Match


@dataclass
class Account:
    """One trader: an address, its API keys (by key), its orders and trades, and its kernel."""

    address: str
    venue: Venue
    allowances: dict[str, int]  # exchange contract -> micro-units
    orders: dict[str, Order] = field(default_factory=dict)  # by id, all there ever were
    trades: dict[str, Trade] = field(default_factory=dict)
    by_serial: dict[int, Order] = field(default_factory=dict)
    rows: list[int] = field(default_factory=lambda: list(range(MAX_ORDERS - 1, -1, -1)))
    cached: dict[str, int] = field(default_factory=dict)  # balances as they were, for the fault of that name
    closed_only: bool = False
    banned: bool = False
    serial: int = 0
    refusal: int = 0  # what the kernel said last
    delayed: bool = False

    def open_orders(self) -> list[Order]:
        return [order for order in self.by_serial.values() if order.open]
