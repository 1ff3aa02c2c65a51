"""What became of a run's orders, and of its money, told from the rows of its log alone.

Two runs on the same market data can so be laid side by side, whatever venue answered them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from polytraders.engine.fees import MICRO_PER_FEE_UNIT
from polytraders.rows import ActionKind, EventKind, Flag, Outcome, Side
from polytraders.units import ONE

FILLS = (EventKind.FILL_PROVISIONAL, EventKind.FILL_CONFIRMED, EventKind.FILL_VOIDED)


@dataclass(slots=True)
class Fill:
    """One match of an order."""

    ts: int  # ns, when we heard of it
    venue_ts: int  # ns, when the venue says it was
    price: int  # pips, own token
    size: int  # micro-shares
    fee: int  # micro-pUSD
    maker: bool
    settled: int  # ns, when the chain's word on it came; 0 = not yet
    provisional: bool  # it was told before that


@dataclass(slots=True)
class Life:
    """One order from its submit to its end. Times are ns, 0 = not in this log."""

    id: int
    market: int
    slot: int
    outcome: int
    side: int
    price: int  # pips, own token
    size: int  # micro-shares
    order_type: int
    flags: int
    corr: int
    sent: int
    seq: int
    acked: int = 0
    asked: int = 0  # the step asked for its cancel
    ended: int = 0
    code: int = 0  # reason-code number of its end, 0 = none: filled whole, or open
    rejected: bool = False
    fills: list[Fill] = field(default_factory=list)
    voided: list[Fill] = field(default_factory=list)  # those that the chain refused

    @property
    def shape(self) -> tuple[int, ...]:
        """What two orders have in common that are the same wish."""
        return self.market, self.slot, self.outcome, self.side, self.price, self.size, self.order_type, self.flags

    @property
    def filled(self) -> int:
        """micro-shares."""
        return sum(fill.size for fill in self.fills)

    @property
    def fees(self) -> int:
        """micro-pUSD."""
        return sum(fill.fee for fill in self.fills)

    @property
    def cash(self) -> int:
        """micro-pUSD that its fills brought in, negative when they cost some; fees are taken off."""
        return sum(cash_of(self.side, fill.price, fill.size) - fill.fee for fill in self.fills)


def cash_of(side: int, price: int, size: int) -> int:
    """micro-pUSD that a fill of `size` micro-shares at `price` pips brings in, as the ledger counts it."""
    notional = price * size // ONE
    return -notional if side == Side.BUY else notional


def lives(events: np.ndarray, actions: np.ndarray) -> dict[int, Life]:
    """The orders of a run by number. events: EVENT[n], actions: ACTION[m], each in its order."""
    found: dict[int, Life] = {}
    for row in actions[actions["kind"] == ActionKind.SUBMIT]:
        number = int(row["order_id"])
        names = ("market", "slot", "outcome", "side", "price", "size", "order_type", "flags", "corr")
        found[number] = Life(number, *(int(row[name]) for name in names), int(row["ts"]), int(row["seq"]))
    for row in actions[actions["kind"] == ActionKind.CANCEL]:
        life = found.get(int(row["order_id"]))
        if life is not None:
            life.asked = life.asked or int(row["ts"])
    heard = np.isin(events["kind"], (EventKind.ORDER_ACK, EventKind.ORDER_REJECT, EventKind.CANCEL, *FILLS))
    for row in events[heard]:
        life = found.get(int(row["aux"]))
        if life is None:
            continue
        kind, ts = int(row["kind"]), int(row["ts_recv"])
        if kind == EventKind.ORDER_ACK:
            life.acked = life.acked or ts
        elif kind in FILLS:
            _fill(life, row, kind)
            if life.filled >= life.size and not row["flags"] & Flag.MORE:
                life.ended = life.ended or ts
        else:
            life.ended, life.code = life.ended or ts, life.code or int(row["size"])
            life.rejected |= kind == EventKind.ORDER_REJECT
    return found


def _fill(life: Life, row: np.void, kind: int) -> None:
    fee = int(row["ref"]) * MICRO_PER_FEE_UNIT
    told = (int(row["price"]), int(row["size"]), fee)
    if kind != EventKind.FILL_PROVISIONAL:
        known = next((f for f in life.fills if not f.settled and (f.price, f.size, f.fee) == told), None)
        if known is not None:
            known.settled = int(row["ts_recv"])
            if kind == EventKind.FILL_VOIDED:
                life.fills.remove(known)
                life.voided.append(known)
            return
        if kind == EventKind.FILL_VOIDED:
            return
    ts, provisional = int(row["ts_recv"]), kind == EventKind.FILL_PROVISIONAL
    maker, settled = bool(row["flags"] & Flag.MAKER), 0 if provisional else ts
    life.fills.append(Fill(ts, int(row["ts_event"]), *told, maker, settled, provisional))


@dataclass(slots=True)
class Holding:
    """What a run has of one market: shares in micro-shares, and the cash that it brought in, micro-pUSD."""

    yes: int = 0
    no: int = 0
    traded: int = 0  # fills, fees taken off
    sets: int = 0  # complete sets: merged less split
    paid: int = 0  # at its resolution, in cash or owed

    @property
    def cash(self) -> int:
        return self.traded + self.sets + self.paid


def holdings(events: np.ndarray, orders: dict[int, Life], markets: int) -> list[Holding]:
    """What a run came to by market. events: EVENT[n], with its orders' answers; orders: those of `lives`.

    A fill is taken as it stands at the end: one that was voided is not there. What comes after a resolution is paid
    as the resolution pays.
    """
    found = [Holding() for _ in range(markets)]
    for life in orders.values():
        one, sign = found[life.market], 1 if life.side == Side.BUY else -1
        one.traded += life.cash
        if life.outcome == Outcome.YES:
            one.yes += sign * life.filled
        else:
            one.no += sign * life.filled
    for row in events[np.isin(events["kind"], (EventKind.SPLIT, EventKind.MERGE))]:
        one, sign = found[int(row["market"])], 1 if row["kind"] == EventKind.SPLIT else -1
        one.yes += sign * int(row["size"])
        one.no += sign * int(row["size"])
        one.sets -= sign * int(row["size"])
    for row in events[events["kind"] == EventKind.RESOLUTION]:
        one, payout = found[int(row["market"])], int(row["price"])
        if one.yes or one.no:
            one.paid += (one.yes * payout + one.no * (ONE - payout)) // ONE
            one.yes = one.no = 0
    return found
