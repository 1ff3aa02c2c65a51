"""Our orders as the venue's words make them: answers, user events and listings in, event rows out, each once.

Words about an order come from three sides: the answer to its request, the user channel, and what the venue lists.
They overlap, come late, twice, and in any order. Each is only a fact here; rows follow from the facts known.

Invariants
    T1  an order gives one ORDER_ACK or one ORDER_REJECT, and at most one CANCEL
    T2  a trade books its size once, whatever is heard of it how often: FILL_PROVISIONAL and then FILL_CONFIRMED or
        FILL_VOIDED, or FILL_CONFIRMED alone; a trade first heard of as failed books nothing
    T3  CANCEL is told only when every trade that the venue counts for the order has been: no fill comes behind it
    T4  the rows of an order do not depend on the order in which its facts came, but for their own
    T5  what cannot be is not booked: a fill beyond the order's size or its price, of nothing, or at no price. It is
        counted (`doubted`), told in the news' note, and the order is looked up

Pure but for the clock handed in. The same facts again change nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from polytraders.engine.fees import MICRO_PER_FEE_UNIT, fee_nano, fee_units, taker_fee
from polytraders.reasons import Code
from polytraders.rows import EVENT, ActionKind, EventKind, Flag, OrderType, Outcome, Side
from polytraders.units import CENT_SHARE, NS_PER_MS, NS_PER_S, ONE, UnitError, price_pips, size_micro
from polytraders.venue.polymarket.outcomes import end_of
from polytraders.venue.port import Known, News, Trade

FORGOTTEN = 100_000
"""Keys of finished orders that are remembered, so that a late duplicate is not taken for a stranger's."""
MONEY_GRAIN = CENT_SHARE * ONE
"""micro-pUSD x ONE by which the shares of a buy that is named by its money may be rounded: a hundredth of a pUSD."""
TAKING = (OrderType.FOK, OrderType.FAK)
_SETTLED = ("CONFIRMED", "FAILED")


class Phase(IntEnum):
    """How far an order is, as far as is proven."""

    SENDING = 1  # its request is on the way
    UNKNOWN = 2  # the request ended without proof
    OPEN = 3  # the venue has it
    OVER = 4  # all that the step must hear of it but its settlement is told


@dataclass(slots=True)
class Fill:
    """A match of one of our orders, as it was booked."""

    size: int
    price: int
    fee: int  # micro-pUSD
    maker: bool
    status: str
    told: bool  # booked as a row
    ts: int


@dataclass(slots=True)
class Tracked:
    """One order of ours."""

    id: int  # of the step
    key: str  # digest
    market: int
    outcome: int
    side: int
    price: int
    size: int  # micro-shares
    order_type: int
    sent: int  # ns
    phase: Phase = Phase.SENDING
    acked: bool = False
    delayed: bool = False
    end: int = 0  # reason-code number: it has left the book
    matched: int = -1  # micro-shares the venue counts as matched, -1 = not told since it ended
    counted: int = 0  # the most it was ever said to have matched
    expected: set[str] = field(default_factory=set)  # trades that it was said to have
    fills: dict[str, Fill] = field(default_factory=dict)
    trades: set[str] = field(default_factory=set)  # ids of the trades seen
    seen: int = 0  # micro-shares of all trades seen, failed ones too
    told: int = 0  # micro-shares booked as rows
    nano: int = 0  # 1e-9 pUSD, fees of what it took, before rounding
    cancel_asked: bool = False
    cancel_tried: bool = False
    cancel_at: int = 0  # ns, when to send the request to cancel it again, 0 = it is on its way or was answered
    silent_since: int = 0  # ns, when the request ended without proof
    look_at: int = 0  # ns, when to ask the venue about it, 0 = no need
    looks: int = 0
    absent: int = 0  # times in a row that the venue did not know it

    @property
    def taking(self) -> bool:
        return self.order_type in TAKING

    @property
    def settled(self) -> bool:
        return all(fill.status in _SETTLED for fill in self.fills.values())

    @property
    def complete(self) -> bool:
        """Every trade that anybody spoke of is here."""
        return self.seen >= max(self.matched, self.counted) and self.expected <= self.trades


Schedule = Callable[[int], tuple[int, int]]
"""Market -> (fee rate in ppm, exponent) in force."""


class Tracker:
    """All orders of one port.

    where: token id (decimal text) -> (market, outcome). clock: ns, never steps back. fees: see `Schedule`.
    """

    def __init__(
        self,
        where: dict[str, tuple[int, int]],
        clock: Callable[[], int],
        fees: Schedule,
        emit: Callable[[News], None],
        *,
        patience: int = 400 * NS_PER_MS,
    ):
        self.where, self.clock, self.fees, self.emit, self.patience = where, clock, fees, emit, patience
        self.orders: dict[str, Tracked] = {}
        self.by_id: dict[int, Tracked] = {}
        self.forgotten: OrderedDict[str, None] = OrderedDict()
        self.given_up: dict[str, Tracked] = {}
        self.doubted: Counter[str] = Counter()  # fills that cannot be, by why
        self.strays: list[str] = []  # keys of orders that must be cancelled: given up for lost, and there after all
        self.wake: Callable[[], None] = lambda: None
        self._rows: list[tuple[np.ndarray, str]] = []
        self._note: dict[str, Any] = {}

    # -- what we did -------------------------------------------------------------------------------

    def add(self, action: np.void, key: str, phase: Phase = Phase.SENDING) -> Tracked:
        """An order whose request is about to leave."""
        order = self._tracked(action, key, phase)
        self.orders[key] = self.by_id[order.id] = order
        return order

    def _tracked(self, action: np.void, key: str, phase: Phase) -> Tracked:
        return Tracked(
            int(action["order_id"]), key, int(action["market"]), int(action["outcome"]), int(action["side"]),
            int(action["price"]), int(action["size"]), int(action["order_type"]), self.clock(), phase,
        )  # fmt: skip

    def resume(self, known: Known) -> None:
        """An order of a former process, with what that has booked of it. What became of it must be looked up, unless
        its end is booked, behind all its trades (T3): then only their settlement may still come."""
        if known.over and not known.provisional:
            if known.acked or known.filled:
                self.forgotten[known.key] = None
            else:  # refused, or never found; should it be there after all it is cancelled
                self._give_up(self._tracked(known.action, known.key, Phase.OVER))
            return
        order = self.add(known.action, known.key, Phase.OVER if known.over else Phase.UNKNOWN)
        order.sent = order.silent_since = int(known.action["ts"])
        order.acked = known.acked or known.over
        order.told = order.seen = known.filled
        for key in known.trades:
            status = "MATCHED" if key in known.provisional else "CONFIRMED"
            order.fills[key] = Fill(0, 0, 0, False, status, True, 0)
            order.trades.add(key.partition(":")[0])
        order.look_at = 0 if known.over else self.clock()

    def _give_up(self, order: Tracked) -> None:
        self.given_up[order.key] = order
        while len(self.given_up) > FORGOTTEN:
            self.given_up.pop(next(iter(self.given_up)))

    def deny(self, action: np.void, code: int, why: str) -> None:
        """An action that is not sent. Orders are rejected, complete sets refused; a cancel has nothing to tell."""
        kind = int(action["kind"])
        told = {
            ActionKind.SUBMIT: EventKind.ORDER_REJECT,
            ActionKind.SPLIT: EventKind.SPLIT,
            ActionKind.MERGE: EventKind.MERGE,
            ActionKind.CONVERT: EventKind.CONVERT,
        }.get(ActionKind(kind))
        self._note.setdefault("denied", {})[str(int(action["order_id"]))] = why
        if told is None:
            return
        row = np.zeros(1, EVENT)
        row["ts_recv"] = row["ts_event"] = self.clock()
        row["kind"], row["aux"], row["market"], row["flags"] = told, action["order_id"], action["market"], Flag.LAST
        row["size"] = code if told == EventKind.ORDER_REJECT else 0
        self._rows.append((row, ""))

    # -- what the venue says -------------------------------------------------------------------------

    def accepted(self, key: str, *, delayed: bool = False, ts: int = 0) -> None:
        """The venue has the order."""
        order = self.orders.get(key)
        if order is None:
            self._stranger(key)
            return
        if order.phase < Phase.OPEN:
            order.phase, order.silent_since, order.absent = Phase.OPEN, 0, 0
            if order.cancel_asked:
                self.wake()
        if not order.acked:
            order.acked, order.delayed = True, delayed
            self._tell(order, EventKind.ORDER_ACK, flags=Flag.DELAYED if delayed else 0, ts=ts)
        self._conclude(order)

    def refused(self, key: str, code: int, text: str = "") -> None:
        """Proof that the order is not on the book and never was."""
        order = self.orders.get(key)
        if order is None or order.phase == Phase.OVER:
            return
        if order.acked:  # it was on the book, whatever this is about
            self.ended(key, code)
            return
        order.phase = Phase.OVER
        if text:
            self._note.setdefault("refused", {})[key] = text
        self._tell(order, EventKind.ORDER_REJECT, size=code)
        self._forget(order)

    def withheld(self, key: str, code: int) -> None:
        """It was not sent after all, by our own decision: no error of anybody."""
        order = self.orders.get(key)
        if order is not None and order.phase == Phase.SENDING:
            order.phase = Phase.OVER
            self._tell(order, EventKind.CANCEL, size=int(code))
            self._forget(order)

    def unknown(self, key: str, text: str = "") -> None:
        """The request ended without proof: ask the venue for the digest."""
        order = self.orders.get(key)
        if order is None or order.phase != Phase.SENDING:
            return
        now = self.clock()
        order.phase, order.silent_since, order.look_at = Phase.UNKNOWN, now, now
        self._note.setdefault("unknown", {})[key] = text
        self.wake()

    def gone(self, key: str, code: int) -> None:
        """Looked up often and long enough: the venue does not know the order and lists no trade of it."""
        order = self.orders.get(key)
        if order is None:
            return
        if order.acked or order.fills:
            order.expected &= order.trades
            order.counted = order.seen
            self.ended(key, code, order.seen)
            return
        self.refused(key, Code.EXEC_NOT_ARRIVED)
        self._give_up(order)

    def expect(self, key: str, trades: Sequence[str], matched: int = -1) -> None:
        """The answer to the order names trades, and for one that takes, how many shares they are: that is its end."""
        order = self.orders.get(key)
        if order is None or order.phase == Phase.OVER:
            return
        order.expected.update(trades)
        if order.taking:
            order.end = order.end or int(Code.EXEC_TAKEN)
            order.matched = max(order.matched, matched)
        if not order.complete or (order.taking and matched < 0 and not trades):
            self._look(order, self.patience)
        self._conclude(order)

    def ended(self, key: str, code: int, matched: int = -1, ts: int = 0) -> None:
        """The order has left the book. matched: micro-shares it had traded by then, -1 = not told."""
        order = self.orders.get(key)
        if order is None or order.phase == Phase.OVER:
            return
        if not order.end or order.end == Code.EXEC_TAKEN:
            order.end = int(code)
        order.matched = max(order.matched, matched)
        self.accepted(key, ts=ts)
        if order.phase != Phase.OVER:  # trades of it are still to come
            self._look(order, self.patience)

    def hear_order(self, said: dict[str, Any]) -> None:
        """An `order` event of the user channel, or an order as the venue lists it."""
        key = said.get("id")
        if not isinstance(key, str):
            return
        order = self.orders.get(key)
        if order is None:
            self._stranger(key)
            return
        order.absent = 0
        status, ts = str(said.get("status") or ""), venue_time(said.get("timestamp"))
        matched = _size(said.get("size_matched"))
        code = end_of(status, order.order_type)
        if code is None and said.get("type") == "CANCELLATION":
            code = Code.EXEC_CANCELLED
        if code == Code.EXEC_CANCELLED and not order.cancel_asked and not order.taking:
            code = Code.EXEC_CANCELLED_BY_VENUE
        if code is not None:
            self.accepted(key, delayed=order.delayed, ts=ts)
            self.ended(key, code, max(matched, 0), ts)
            return
        self.accepted(key, delayed=status.upper() == "DELAYED", ts=ts)
        order.counted = max(order.counted, matched)
        if order.phase != Phase.OVER:
            if order.taking and status.upper() == "MATCHED":
                self.ended(key, Code.EXEC_TAKEN, max(matched, 0), ts)
            elif not order.complete:
                self._look(order, self.patience)

    def hear_trade(self, said: dict[str, Any]) -> None:
        """A `trade` event of the user channel, or a trade as the venue lists it. T2."""
        name, status = said.get("id"), str(said.get("status") or "").upper().removeprefix("TRADE_STATUS_")
        if not isinstance(name, str) or not status:
            return
        for key, legs in own_legs(said, self.orders):
            self._book(self.orders[key], name, status, legs, said)
        for key in _order_ids(said):
            if key in self.given_up:
                self._stranger(key)

    def _book(self, order: Tracked, name: str, status: str, legs: list[Leg], said: dict[str, Any]) -> None:
        ts = venue_time(said.get("match_time") or said.get("matchtime") or said.get("timestamp"))
        self.accepted(order.key, ts=ts)
        for number, leg in enumerate(legs):
            key = trade_key(name, order.key, number)
            fill = order.fills.get(key)
            if (fill is None or fill.size == 0) and (why := self._cannot_be(order, leg, fresh=fill is None)):
                self.doubted[why] += 1
                self._note.setdefault("doubted", {})[key] = why
                self._look(order, self.patience)
                return
            if fill is None:
                fill = order.fills[key] = self._new_fill(order, leg, status, ts)
                order.seen += leg.size
                if status != "FAILED":
                    fill.told = True
                    order.told += leg.size
                    kind = EventKind.FILL_CONFIRMED if status == "CONFIRMED" else EventKind.FILL_PROVISIONAL
                    self._tell_fill(order, kind, fill, key)
            elif fill.size == 0:  # booked by a former process: now its terms are known again
                settled = fill.status in _SETTLED
                order.fills[key] = again = self._new_fill(order, leg, fill.status, ts)
                again.told = True
                if not settled:
                    self._settle(order, again, key, status)
            elif fill.status not in _SETTLED:
                self._settle(order, fill, key, status)
        order.trades.add(name)
        self._conclude(order)
        if order.phase == Phase.OVER and order.settled:
            self._forget(order)

    @staticmethod
    def _cannot_be(order: Tracked, leg: Leg, fresh: bool) -> str:
        """Why a fill cannot be one of this order; "" when it can. A price may be off by the pip it was rounded to, and
        an order that buys by its money finds more shares below its price. T5."""
        if leg.size <= 0:
            return "no size"
        if not 0 < leg.price < ONE:
            return "no price"
        buying = order.side == Side.BUY
        if (leg.price > order.price + 1) if buying else (leg.price < order.price - 1):
            return "beyond its price"
        if not fresh:  # a former process has booked it
            return ""
        held = [fill for fill in order.fills.values() if fill.told and fill.status != "FAILED"]
        if buying and order.taking:
            money = leg.price * leg.size + sum(fill.price * fill.size for fill in held)
            return "beyond its money" if money > order.price * order.size + MONEY_GRAIN else ""
        failed = sum(fill.size for fill in order.fills.values() if fill.told and fill.status == "FAILED")
        return "beyond its size" if order.told - failed + leg.size > order.size else ""

    def _new_fill(self, order: Tracked, leg: Leg, status: str, ts: int) -> Fill:
        fee = 0
        if not leg.maker:  # the venue rounds the fee of a whole match once: each fill has its part of the running sum
            before = fee_units(order.nano)
            order.nano += fee_nano(leg.size, leg.price, *self.fees(order.market))
            fee = int(fee_units(order.nano) - before) * MICRO_PER_FEE_UNIT
        return Fill(leg.size, leg.price, fee, leg.maker, status, False, ts)

    def _settle(self, order: Tracked, fill: Fill, key: str, status: str) -> None:
        fill.status = status
        if fill.told and status in _SETTLED:
            kind = EventKind.FILL_CONFIRMED if status == "CONFIRMED" else EventKind.FILL_VOIDED
            self._tell_fill(order, kind, fill, key)

    def _conclude(self, order: Tracked) -> None:
        """Tell the end of an order when nothing of it can come any more. T3."""
        if order.phase != Phase.OPEN:
            return
        if not order.taking and order.told >= order.size:
            order.phase = Phase.OVER  # the step has seen it filled
        elif not order.taking and order.seen >= order.size and order.complete:
            self._end(order, Code.EXEC_FILL_VOIDED)  # whole, but for what the chain refused before we heard of it
        elif order.end and (order.matched >= 0 or order.expected) and order.complete:
            code = order.end
            if order.end == Code.EXEC_TAKEN and order.told < order.size:
                code = Code.EXEC_FAK_NOT_FILLED
            self._end(order, code)
        if order.phase == Phase.OVER:
            order.look_at = 0

    def _end(self, order: Tracked, code: int) -> None:
        order.phase = Phase.OVER
        self._tell(order, EventKind.CANCEL, size=int(code))
        if order.settled:
            self._forget(order)

    def _forget(self, order: Tracked) -> None:
        if self.orders.pop(order.key, None) is None:
            return
        self.by_id.pop(order.id, None)
        self.forgotten[order.key] = None
        if len(self.forgotten) > FORGOTTEN:
            self.forgotten.popitem(last=False)

    def _stranger(self, key: str) -> None:
        if key in self.given_up and key not in self.strays:
            self.strays.append(key)
            self._note.setdefault("stray", []).append(key)
            self.wake()

    def _look(self, order: Tracked, delay: int) -> None:
        at = self.clock() + delay
        if not order.look_at or at < order.look_at:
            order.look_at = at
        self.wake()

    # -- rows ------------------------------------------------------------------------------------------

    def _tell(self, order: Tracked, kind: EventKind, *, size: int = 0, flags: int = 0, ts: int = 0) -> None:
        self._row(order, kind, order.key, size=size, flags=flags, ts=ts, side=order.side)

    def _tell_fill(self, order: Tracked, kind: EventKind, fill: Fill, key: str) -> None:
        flags = (Flag.MAKER if fill.maker else 0) | (Flag.MORE if order.taking else 0)
        self._row(
            order, kind, key, price=fill.price, size=fill.size, ref=fill.fee // MICRO_PER_FEE_UNIT,
            side=order.side, flags=flags, ts=fill.ts,
        )  # fmt: skip

    def _row(self, order: Tracked, kind: EventKind, key: str, *, flags: int, ts: int, **fields: int) -> None:
        row = np.zeros(1, EVENT)
        now = self.clock()
        row["ts_recv"], row["ts_event"] = now, min(ts, now) or now
        row["kind"], row["aux"], row["market"], row["flags"] = kind, order.id, order.market, Flag.LAST | flags
        for name, value in fields.items():
            row[name] = value
        self._rows.append((row, key))

    def flush(self) -> int:
        """Emit what has gathered as one piece of news; the number of rows."""
        if not self._rows and not self._note:
            return 0
        rows, self._rows = self._rows, []
        note, self._note = self._note, {}
        told = np.concatenate([row for row, _ in rows]) if rows else np.zeros(0, EVENT)
        self.emit(News(told, tuple(key for _, key in rows), note))
        return len(rows)

    # -- what is to be asked ---------------------------------------------------------------------------

    def doubtful(self, now: int) -> Iterator[Tracked]:
        """Orders that the venue must be asked about now."""
        return (order for order in list(self.orders.values()) if 0 < order.look_at <= now)

    def next_look(self) -> int:
        """ns when an order must be asked about, 0 = none."""
        return min((order.look_at for order in self.orders.values() if order.look_at), default=0)

    def unsettled_since(self) -> int:
        """ns of the oldest match that the chain has not spoken about, 0 = none."""
        waiting = [
            fill.ts or order.sent
            for order in self.orders.values()
            for fill in order.fills.values()
            if fill.status not in _SETTLED
        ]
        return min(waiting, default=0)


# -- the venue's words -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leg:
    """Our part of a trade at one price of our token."""

    price: int  # pips
    size: int  # micro-shares
    maker: bool


def trade_key(trade: str, order: str, leg: int = 0) -> str:
    """The key of a fill: a trade can hold several of our orders, and as a taker several prices."""
    return f"{trade}:{order}" + (f":{leg}" if leg else "")


def _makers(said: dict[str, Any]) -> list[dict[str, Any]]:
    told = said.get("maker_orders")
    return [maker for maker in told if isinstance(maker, dict)] if isinstance(told, list) else []


def _order_ids(said: dict[str, Any]) -> list[str]:
    makers = _makers(said)
    return [str(said.get("taker_order_id")), *(str(m.get("order_id")) for m in makers)]


def own_legs(said: dict[str, Any], ours: Any) -> Iterator[tuple[str, list[Leg]]]:
    """(digest, legs) of each of our orders in a trade. As a taker we traded at the prices of the makers, in our token:
    a maker of the other outcome at q is one of ours at 1 - q."""
    makers = _makers(said)
    key = said.get("taker_order_id")
    if isinstance(key, str) and key in ours:
        yield key, _taker_legs(said, makers)
    by_order: dict[str, dict[int, int]] = {}
    for maker in makers:
        name = maker.get("order_id")
        if isinstance(name, str) and name in ours and (size := _size(maker.get("matched_amount"))) > 0:
            prices = by_order.setdefault(name, {})
            price = _price(maker.get("price"))
            prices[price] = prices.get(price, 0) + size
    for name, prices in by_order.items():
        yield name, [Leg(price, size, True) for price, size in prices.items()]


def _taker_legs(said: dict[str, Any], makers: list[dict[str, Any]]) -> list[Leg]:
    whole, prices = _size(said.get("size")), {}
    for maker in makers:
        price = _price(maker.get("price"))
        own = price if str(maker.get("asset_id")) == str(said.get("asset_id")) else ONE - price
        prices[own] = prices.get(own, 0) + max(_size(maker.get("matched_amount")), 0)
    if not prices or sum(prices.values()) != whole:  # not all makers are told: the trade's own price
        return [Leg(_price(said.get("price")), max(whole, 0), False)]
    return [Leg(price, size, False) for price, size in sorted(prices.items())]


def _size(value: Any) -> int:
    """A size in the venue's text to micro-shares, -1 when it is none."""
    try:
        return size_micro(str(value))
    except UnitError:
        return -1


def _price(value: Any) -> int:
    """A price in the venue's text to pips; one between two pips is rounded to the nearest."""
    text = str(value)
    try:
        return price_pips(text)
    except UnitError:
        from decimal import Decimal, InvalidOperation

        try:
            number = Decimal(text)
            return min(max(int((number * ONE).to_integral_value()), 0), ONE) if number.is_finite() else 0
        except InvalidOperation:
            return 0


def venue_time(value: Any) -> int:
    """A time of the venue, Unix seconds or milliseconds as text or number, to ns; 0 when it is none."""
    try:
        number = int(str(value))
    except ValueError:
        return 0
    if number <= 0 or number >= 10**16:
        return 0
    return number * NS_PER_S if number < 10**11 else number * NS_PER_MS


def listed_trades(said: dict[str, Any], where: dict[str, tuple[int, int]], ours: Any, fees: Schedule) -> list[Trade]:
    """A listed trade as the port's own records, one for each of our orders and prices in it."""
    status = str(said.get("status") or "").upper().removeprefix("TRADE_STATUS_")
    if status == "MATCHED_NOT_BROADCASTED":
        status = "MATCHED"
    made = []
    makers = {str(m.get("order_id")): m for m in _makers(said)}
    for key, legs in own_legs(said, ours):
        about = makers.get(key, said) if legs and legs[0].maker else said
        market, outcome = where.get(str(about.get("asset_id")), (-1, int(Outcome.YES)))
        side = Side.SELL if str(about.get("side")).upper() == "SELL" else Side.BUY
        for number, leg in enumerate(legs):
            fee = 0 if leg.maker or market < 0 else int(taker_fee(leg.size, leg.price, *fees(market)))
            ts = venue_time(said.get("match_time") or said.get("matchtime"))
            made.append(
                Trade(
                    trade_key(str(said.get("id")), key, number),
                    key,
                    market,
                    outcome,
                    int(side),
                    leg.price,
                    leg.size,
                    fee,
                    leg.maker,
                    status,
                    ts,
                )
            )
    return made
